"""Pages of a MediaWiki dump -> running text, as the paper took it: without lists, tables and headings (section 3.1).

Templates, references, files and categories go too. What a template would have shown is lost with it: only a wiki can
expand it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.parsers import expat

from pretraining.corpus_files import Line

FILE, CATEGORY = 6, 14  # numbers of namespaces

_REMOVED_TAGS = frozenset(
    "ref references gallery math chem ce timeline score hiero graph mapframe maplink imagemap templatedata "
    "syntaxhighlight source code pre table ul ol dl style script indicator section".split()
)
_ENDS_EARLY = (
    expat.errors.XML_ERROR_NO_ELEMENTS,
    expat.errors.XML_ERROR_UNCLOSED_TOKEN,
    expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
)
_LIST = "\x01"  # stands where a line of a list starts; XML cannot hold it
_LANGUAGE_LINK = re.compile(r"\s*[a-z]{2,3}(?:-[a-z-]+)?\s*:")
# Dumps name a namespace once; its other names, as the older "Bild" for "Datei", are known by what they are put before.
_MEDIA = re.compile(
    r"[^:]+:.+\.(?:jpe?g|png|gif|svg|tiff?|webp|og[agv]|web[am]|mp[34]|wav|flac|mid|pdf|djvu)\s*",
    re.IGNORECASE,
)
_SWITCH = re.compile(r"__[A-Z]+__")
_LEFT_OVER = re.compile(r"\{\{|\}\}|\{\||\|\}|\[\[|\]\]")
_EMPTY_BRACKETS = re.compile(r"\(\s*[,;:]*\s*\)")
_OPENED_BRACKET = re.compile(r"\(\s*[,;:]\s*")
_BLANK_BEFORE = re.compile(r"\s+(?=\)|[,.;:](?:\s|$))")


class Page(NamedTuple):
    """A page as a dump has it."""

    title: str
    namespace: str
    redirect: bool
    model: str
    text: str
    damaged: bool  # a line of it had bytes that are not UTF-8


class DumpParser:
    """Reads the XML of MediaWiki's export, a line at a time; a page with several revisions has its last.

    Attributes:
      dropped_prefixes: lower-case names of the namespaces of files and categories, in English and as the dump has them.
    """

    def __init__(self) -> None:
        self.dropped_prefixes = {"file", "image", "category"}
        self._pages: list[Page] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._fields: dict[str, str] = {}
        self._damaged = False
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        self._parser.StartDoctypeDeclHandler = self._refuse_doctype

    def pages(self, lines: Iterable[Line], path: str) -> Iterator[Page]:
        """Yields the pages of a dump.

        Args:
          lines: of the file.
          path: of the file, for messages.

        Raises:
          ValueError: it is not the XML of a dump, or ends early; names the line.
        """
        number = 0
        try:
            for line in lines:
                number = line.number
                self._damaged = self._damaged or line.damaged
                self._parser.Parse(f"{line.text}\n", False)
                yield from self._pages
                self._pages.clear()
            self._parser.Parse("", True)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code)
            if self._path and reason in _ENDS_EARLY:
                raise ValueError(
                    f"{path} is cut off: its XML ends in line {number} within <{self._path[-1]}>; fetch it again"
                ) from None
            raise ValueError(
                f"{path}: line {error.lineno}, column {error.offset}: not XML: {reason}"
            ) from None
        except _NotADump as error:
            raise ValueError(f"{path}: line {number}: {error}") from None

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path and name != "mediawiki":
            raise _NotADump(f"<{name}> where MediaWiki's export starts with <mediawiki>")
        self._path.append(name)
        self._text.clear()
        if name == "page":
            self._fields, self._damaged = {}, False
        elif name == "redirect":
            self._fields["redirect"] = "yes"
        elif name == "namespace":
            self._fields["key"] = attributes.get("key", "")

    def _end(self, name: str) -> None:
        self._path.pop()
        parent = self._path[-1] if self._path else ""
        # Not the texts of other slots of a revision, which have a parent of their own.
        if (parent, name) in (
            ("page", "title"),
            ("page", "ns"),
            ("revision", "model"),
            ("revision", "text"),
        ):
            self._fields[name] = "".join(self._text)
        elif name == "namespace" and self._fields.get("key") in (str(FILE), str(CATEGORY)):
            self.dropped_prefixes.add("".join(self._text).lower())
        elif name == "page":
            self._pages.append(
                Page(
                    self._fields.get("title", ""),
                    self._fields.get("ns", "0"),
                    "redirect" in self._fields,
                    self._fields.get("model", "wikitext"),
                    self._fields.get("text", ""),
                    self._damaged,
                )
            )
        self._text.clear()

    def _refuse_doctype(self, name: str, *_) -> None:
        raise _NotADump(f"<!DOCTYPE {name}>, which no dump has")


class _NotADump(Exception):
    """The file is XML, but not MediaWiki's."""


class WikitextCleaner:
    """Makes wikitext plain.

    Args:
      dropped_prefixes: see `DumpParser`; the set may grow.
      removed: counts what is taken out, by kind; updated in place.

    Raises:
      ValueError: the parser is not installed.
    """

    def __init__(self, dropped_prefixes: set[str], removed: Counter[str]):
        try:
            import mwparserfromhell
        except ImportError:
            raise ValueError(
                "--input_format=wikipedia needs mwparserfromhell: pip install mwparserfromhell"
            ) from None
        self._parse = mwparserfromhell.parse
        self._nodes = mwparserfromhell.nodes
        self._dropped_prefixes = dropped_prefixes
        self._removed = removed

    def paragraphs(self, wikitext: str) -> list[str]:
        """Returns the paragraphs of running text of a page."""
        text = "".join(self._texts(self._parse(wikitext)))
        lines = [_SWITCH.sub("", line) for line in text.split("\n")]
        self._removed["lines of lists"] += sum(_LIST in line for line in lines)
        # A list ends the paragraph before it.
        joined = "\n".join("" if _LIST in line else line.strip() for line in lines)
        paragraphs = [_tidy(paragraph) for paragraph in re.split(r"\n\n+", joined)]
        kept = [p for p in paragraphs if p and not _LEFT_OVER.search(p)]
        self._removed["paragraphs with broken markup"] += sum(map(bool, paragraphs)) - len(kept)
        return kept

    def _texts(self, code) -> Iterator[str]:
        nodes = self._nodes
        for node in code.nodes:
            if isinstance(node, nodes.Text):
                yield node.value
            elif isinstance(node, nodes.Tag):
                yield from self._of_tag(node)
            elif isinstance(node, nodes.Wikilink):
                yield from self._of_link(node)
            elif isinstance(node, nodes.HTMLEntity):
                yield node.normalize()
            elif isinstance(node, nodes.ExternalLink):
                if node.title is not None:
                    yield from self._texts(node.title)
            elif isinstance(node, nodes.Heading):
                self._removed["headings"] += 1
                yield "\n\n"
            else:
                self._removed[_kind(node)] += 1

    def _of_tag(self, node) -> Iterator[str]:
        name = str(node.tag).strip().lower()
        if node.wiki_markup and name in ("li", "dd", "dt"):
            yield _LIST
        elif name in _REMOVED_TAGS:
            self._removed["references" if name == "ref" else f"<{name}>"] += 1
        elif name in ("br", "hr"):
            yield "\n\n" if name == "hr" else " "
        elif node.contents is not None:
            ends = "\n\n" if name in ("p", "div", "blockquote", "poem") else ""
            yield ends
            yield from self._texts(node.contents)
            yield ends

    def _of_link(self, node) -> Iterator[str]:
        title = str(node.title)
        prefix, colon, _ = title.partition(":")
        if (colon and prefix.strip().lower() in self._dropped_prefixes) or _MEDIA.fullmatch(title):
            self._removed["files and categories"] += 1
        elif node.text is None and _LANGUAGE_LINK.match(title):
            self._removed["links to other languages"] += 1
        elif node.text is not None:
            yield from self._texts(node.text)
        else:
            yield title.strip().removeprefix(":")


def _kind(node) -> str:
    return f"{type(node).__name__.lower()}s"


def _tidy(paragraph: str) -> str:
    """Closes the gaps that templates and references leave."""
    text = _EMPTY_BRACKETS.sub("", paragraph)
    text = _OPENED_BRACKET.sub("(", text)
    return " ".join(_BLANK_BEFORE.sub("", text).split())
