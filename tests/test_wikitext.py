"""Dumps of MediaWiki: which pages are articles, and what of their markup is running text."""

import bz2
from collections import Counter

import pytest

from pretraining.corpus_counts import CorpusCounts
from pretraining.corpus_formats import read_wikipedia
from pretraining.wikitext import WikitextCleaner

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>dewiki</dbname>
    <generator>MediaWiki 1.44.0</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="-1" case="first-letter">Spezial</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""


def revision(text, model="wikitext"):
    return f"""    <revision>
      <id>11</id>
      <timestamp>2024-05-01T10:11:12Z</timestamp>
      <contributor>
        <username>Strix</username>
        <id>7</id>
      </contributor>
      <comment>/* Text */ new</comment>
      <origin>11</origin>
      <model>{model}</model>
      <format>text/x-wiki</format>
      <text bytes="{len(text)}" sha1="abc" xml:space="preserve">{text}</text>
      <sha1>abc</sha1>
    </revision>
"""


def page(title, *revisions, ns=0, redirect=""):
    target = f'    <redirect title="{redirect}" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{title}</title>\n    <ns>{ns}</ns>\n    <id>3</id>\n{target}"
        f"{''.join(revisions)}  </page>\n"
    )


# As in a dump, "<" and "&" of the wikitext are escaped.
OWL = """{{Infobox bird
| name = Owl
| image = {{Photo|{{lc:X.jpg}}|width=[[two]]}}
}}
[[Datei:Owl.jpg|thumb|An [[owl]] at ''night''.]]
&lt;!-- A comment of
two lines. --&gt;
'''Owls''' ({{IPA|aul}}; from [[Old English]] ''ule'') are [[bird of prey|birds of prey]].&lt;ref name="a"&gt;Smith, \
''Owls'', 1999.&lt;/ref&gt; They hunt
mice &amp;amp; voles&amp;nbsp;at night&lt;ref name="a" /&gt;.

== Names ==
The second paragraph&lt;br /&gt;has &lt;small&gt;small&lt;/small&gt; letters and H&lt;sub&gt;2&lt;/sub&gt;O.
* a [[list]] item
*# below it
: indented
; term : its meaning
{| class="wikitext"
|-
! Head !! Other
|-
| cell || {{nested|table}}
|}
After the table; see [https://example.org the site] and [[:Kategorie:Birds]].

=== See also ===
* [[Bat]]

__NOTOC__
[[Kategorie:Birds|Owl]]
[[Category:Night]]
[[fr:Chouette]]
"""
OWL_PARAGRAPHS = [
    "Owls (from Old English ule) are birds of prey. They hunt mice & voles at night.",
    "The second paragraph has small letters and H2O.",
    "After the table; see the site and Kategorie:Birds.",
]
DUMP = (
    HEAD
    + page("Owl", revision(OWL))
    + page("Eule", revision("#WEITERLEITUNG [[Owl]]"), redirect="Owl")
    + page("Diskussion:Owl", revision("Is it?"), ns=1)
    + page("Data", revision('{"a": 1}', model="json"))
    + page("Bat", revision("Old text."), revision("Bats hang &amp;lt; they fly."))
    + "</mediawiki>\n"
)


def read(folder, content, on_bad_utf8="error", name="dump.xml"):
    path = folder / name
    path.write_bytes(content if type(content) is bytes else content.encode())
    counts = CorpusCounts()
    return list(read_wikipedia(str(path), counts, on_bad_utf8)), counts


def clean(wikitext, prefixes=("file", "category")):
    removed = Counter()
    return WikitextCleaner(set(prefixes), removed).paragraphs(wikitext), removed


def test_articles_are_the_running_text_of_their_last_revision(tmp_path):
    articles, _ = read(tmp_path, DUMP)
    assert articles == [OWL_PARAGRAPHS, ["Bats hang < they fly."]]


def test_pages_that_are_no_articles_are_counted(tmp_path):
    _, counts = read(tmp_path, DUMP)
    assert counts.dropped == {"redirect": 1, "outside namespace 0": 1, "no wikitext": 1}


def test_what_is_removed_from_articles_is_counted(tmp_path):
    _, counts = read(tmp_path, DUMP)
    assert +counts.removed == {
        "templates": 2,
        "comments": 1,
        "references": 2,
        "headings": 2,
        "lines of lists": 5,
        "<table>": 1,
        "files and categories": 3,
        "links to other languages": 1,
    }


def test_a_dump_may_be_packed_in_several_streams(tmp_path):
    data = DUMP.encode()
    packed = bz2.compress(data[:700]) + bz2.compress(data[700:])
    assert read(tmp_path, packed)[0] == read(tmp_path, DUMP)[0]


def test_other_slots_of_a_revision_are_not_the_text(tmp_path):
    slot = "<content><role>x</role><model>json</model><text>Slot.</text></content></revision>"
    dump = HEAD + page("Bat", revision("Bats hang.").replace("</revision>", slot)) + "</mediawiki>"
    assert read(tmp_path, dump)[0] == [["Bats hang."]]


@pytest.mark.parametrize(
    "wikitext, paragraphs",
    [
        ("a {{unclosed\n\nb", ["b"]),
        ("a [[b|c [[d]] e]] f", ["a c d e f"]),
        ("x<math>a^2</math> y <gallery>\nFile:a.jpg|A\n</gallery>z", ["x y z"]),
        ("<div>a</div><p>b</p>c<hr>d", ["a", "b", "c", "d"]),
        (
            "It is (born {{age}}) 5&nbsp;km ({{x}}) long ( ; old ).",
            ["It is (born) 5 km long (old)."],
        ),
        ("'''''both''''' and ''one''", ["both and one"]),
        ("[http://a.org] b http://c.org d", ["b d"]),
        ("[[FILE:a|x]] [[ category : b]] [[Bat: a life]]", ["Bat: a life"]),
        ("a [[Bild:Owl.JPG|thumb|[[b]]]] c [[A: life.txt]]", ["a c A: life.txt"]),
        ("a<ul><li>b</li></ul> c", ["a c"]),
        ("", []),
    ],
)
def test_markup_becomes_text(wikitext, paragraphs):
    assert clean(wikitext)[0] == paragraphs


def test_paragraphs_with_broken_markup_are_counted():
    assert clean("a {{unclosed\n\nb")[1]["paragraphs with broken markup"] == 1


@pytest.mark.parametrize(
    "content, message",
    [
        (DUMP[: DUMP.index("night&lt;ref")], "is cut off: its XML ends in line .* within <text>"),
        (DUMP[: DUMP.index("<title>Bat") + 3], "is cut off: .* within <page>"),
        ("<html></html>", "line 1: <html> where MediaWiki's export starts"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><mediawiki/>", "line 1: <!DOCTYPE a>, which no dump has"),
        (HEAD + "<page></title>", "line 15, column .*: not XML: mismatched tag"),
        ("", "line 1, column 0: not XML: no element found"),
        (DUMP.encode().replace(b"hang", b"h\xffng"), r"byte \d+ of the file, 0xff, is not UTF-8"),
        (bz2.compress(DUMP.encode())[:-9], "is damaged or cut off"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "is packed with 7z: unpack it first"),
    ],
)
def test_what_is_wrong_with_a_dump_is_said_in_one_line(content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, content)
    assert str(error.value).startswith(str(tmp_path / "dump.xml"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "on_bad_utf8, owls",
    [
        ("replace", [[OWL_PARAGRAPHS[0].replace("mice", "m\ufffdce"), *OWL_PARAGRAPHS[1:]]]),
        ("skip", []),
    ],
)
def test_pages_that_are_not_utf_8_are_mended_or_dropped(on_bad_utf8, owls, tmp_path):
    articles, counts = read(tmp_path, DUMP.encode().replace(b"mice", b"m\xffce"), on_bad_utf8)
    assert articles == [*owls, ["Bats hang < they fly."]]
    assert counts.dropped["not UTF-8"] == 1 - len(owls)
    assert counts.removed["lines with bytes that are not UTF-8"] == 1
