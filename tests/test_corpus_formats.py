"""Books, JSON lines, WET files and plain text become paragraphs, and what is wrong with them is named."""

import bz2
import gzip
import json
import lzma

import pytest

from pretraining.corpus_counts import CorpusCounts
from pretraining.corpus_formats import read_book, read_jsonl, read_text, read_wet

BOOK = """The Project Gutenberg EBook of Owls, by Strix

Title: Owls

*** START OF THIS PROJECT GUTENBERG EBOOK OWLS ***

OWLS

   The _great_ owl was well-
known in the neigh-
bourhood. Its neighbourhood--
and ours--was dark.

[Illustration: An owl
at night]

A second
paragraph about snake_case_names.
*** END OF THIS PROJECT GUTENBERG EBOOK OWLS ***

Updated editions will replace the previous one.
"""


def read(reader, folder, content, on_bad_utf8="error", name="input", **options):
    path = folder / name
    path.write_bytes(content if type(content) is bytes else content.encode())
    counts = CorpusCounts()
    return list(reader(str(path), counts, on_bad_utf8, **options)), counts


def lines_of(book):
    """Returns the paragraphs that are not empty, as lines."""
    return [" ".join(paragraph.split()) for paragraph in book if paragraph.strip()]


def record(kind, content, length=None, **fields):
    data = content if type(content) is bytes else content.encode()
    header = {
        "WARC-Type": kind,
        "WARC-Target-URI": "http://owls.example/",
        "WARC-Date": "2024-05-01T10:11:12Z",
        "WARC-Record-ID": "<urn:uuid:1>",
        "Content-Type": "text/plain",
        "Content-Length": len(data) if length is None else length,
        **fields,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in header.items())
    return f"WARC/1.0\r\n{head}\r\n".encode() + data + b"\r\n\r\n"


INFO = record("warcinfo", "Software-Info: ia-web-commons\r\n")
WET = [INFO, record("conversion", "Öwls\nfly.\n\nWARC/1.0\n"), record("conversion", "Bats")]


def test_lines_of_a_book_are_joined_to_paragraphs(tmp_path):
    [book], _ = read(read_book, tmp_path, BOOK)
    assert lines_of(book) == [
        "OWLS",
        "The great owl was well-known in the neighbourhood. Its neighbourhood--and ours--was dark.",
        "A second paragraph about snake_case_names.",
    ]


def test_what_is_removed_from_a_book_is_counted(tmp_path):
    _, counts = read(read_book, tmp_path, BOOK)
    assert +counts.removed == {
        "lines of Project Gutenberg's header and footer": 8,
        "illustrations": 1,
        "hyphens at line ends": 1,
    }


def test_books_need_no_marks_of_project_gutenberg(tmp_path):
    [book], counts = read(read_book, tmp_path, "\ufeffOne\r\nline.\r\n\r\n \r\nTwo\r\n")
    assert lines_of(book) == ["One line.", "Two"]
    assert not +counts.removed


@pytest.mark.parametrize(
    "text, joined",
    [
        ("a well-\nknown owl, well-known", "a well-known owl, well-known"),
        ("an owl-\nlike bat", "an owl-like bat"),
        ("Neigh-\nBour neighbour", "NeighBour neighbour"),
        ("it flew--\nfar", "it flew--far"),
        ("it flew \u2014\nfar", "it flew \u2014far"),
        ("exam\u00ad\nple so\u00adft", "example soft"),
        ("it flew -\nfar", "it flew - far"),
    ],
)
def test_hyphens_at_line_ends_go_where_the_book_has_the_word_without(text, joined, tmp_path):
    [book], _ = read(read_book, tmp_path, text)
    assert lines_of(book) == [joined]


def test_blank_lines_divide_documents_of_text(tmp_path):
    found, _ = read(read_text, tmp_path, "\n\na b. c.\nd\n \n\ne")
    assert found == [["a b. c.", "d"], ["e"]]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_files_may_be_packed(pack, tmp_path):
    assert read(read_text, tmp_path, pack(b"a\n\nb\n"))[0] == [["a"], ["b"]]


def test_a_json_line_is_a_document_and_its_lines_are_paragraphs(tmp_path):
    lines = [{"text": "Öwl.\nBat."}, {"text": "\U0001f989", "id": 3}]
    content = "\ufeff" + json.dumps(lines[0]) + "\r\n\n" + json.dumps(lines[1])
    found, _ = read(read_jsonl, tmp_path, content, text_field="text")
    assert found == [["Öwl.", "Bat."], ["\U0001f989"]]


def test_pages_of_a_wet_file_are_its_conversions(tmp_path):
    found, counts = read(read_wet, tmp_path, b"".join(WET))
    assert found == [["Öwls", "fly.", "", "WARC/1.0"], ["Bats"]]
    assert +counts.removed == {"records of type warcinfo": 1}


def test_records_of_a_wet_file_are_packed_one_by_one(tmp_path):
    found, _ = read(read_wet, tmp_path, b"".join(map(gzip.compress, WET)))
    assert found == read(read_wet, tmp_path, b"".join(WET))[0]


def test_zero_bytes_of_a_page_are_blanks(tmp_path):
    assert read(read_wet, tmp_path, record("conversion", "a\0b"))[0] == [["a b"]]


@pytest.mark.parametrize(
    "reader, content, message",
    [
        (read_text, b"a\nb\xffc", "line 2: byte 3 of the file, 0xff, is not UTF-8"),
        (read_text, b"\xef\xbb\xbfb\xff", "line 1: byte 4 of the file, 0xff"),
        (read_text, b"a\nb\0c", "line 2: byte 3 of the file is zero: it is binary"),
        (read_text, "ab".encode("utf-16"), "is text in UTF-16: convert it"),
        (read_text, b"PK\x03\x04abcd", "is a zip archive: unpack it first"),
        (read_text, gzip.compress(b"a" * 999, mtime=0)[:-9], "is damaged or cut off"),
        (read_text, bz2.compress(b"a" * 999)[:-9], "is damaged or cut off"),
        (read_text, bz2.compress(b"a")[:10] + b"\xaa" * 40, "is damaged"),
        (read_text, lzma.compress(b"a" * 999)[:-9], "is damaged or cut off"),
        (read_jsonl, b'{"text": "a"}\n{"text":\n', "line 2: not JSON: "),
        (read_jsonl, b"\n[1]\n", r"line 2: '\[1\]' where a JSON object is expected"),
        (read_jsonl, b'{"b": 1, "a": 2}', r'line 1: no field "text" \(--text_field\), it has a, b'),
        (read_jsonl, b"{}", 'no field "text" .* it has none'),
        (read_jsonl, b'{"text": null}', 'line 1: "text" is null, no text'),
        (read_jsonl, b'{"text": "\\ud800"}', "half of a surrogate pair"),
        (read_wet, b"a\n", "byte 0: .*a.* where WARC/1.0 is expected"),
        (read_wet, b"".join(WET) + b"x", r"byte \d+: b'x' where"),
        (read_wet, record("conversion", "a", length="?"), "record without Content-Length"),
        (
            read_wet,
            record("conversion", "ab", length=99),
            "is cut off: 6 of 99 bytes of the record",
        ),
        (read_wet, record("conversion", b"a\xff"), r"record: byte \d+ of the file, 0xff"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(reader, content, message, tmp_path):
    options = dict(text_field="text") if reader is read_jsonl else {}
    with pytest.raises(ValueError, match=message) as error:
        read(reader, tmp_path, content, **options)
    assert str(error.value).startswith(str(tmp_path / "input"))
    assert "\n" not in str(error.value)


def test_the_byte_of_a_wet_file_is_the_one_that_is_wrong(tmp_path):
    content = b"".join(WET) + record("conversion", b"ab\xffc")
    with pytest.raises(ValueError, match=f"byte {content.index(bytes([255]))} of the file"):
        read(read_wet, tmp_path, content)


BAD = b"a\n\xff b\nc"


@pytest.mark.parametrize(
    "reader, content, replaced, skipped, dropped",
    [
        (read_text, BAD, [["a", "\ufffd b", "c"]], [["a", "c"]], 0),
        (read_book, BAD, [["a\n\ufffd b\nc"]], [["a\nc"]], 0),
        (read_jsonl, b'{"text": "a\xff"}\n{"text": "b"}', [["a\ufffd"], ["b"]], [["b"]], 1),
        (read_wet, WET[2] + record("conversion", b"\xff"), [["Bats"], ["\ufffd"]], [["Bats"]], 1),
    ],
)
def test_bytes_that_are_not_utf_8_are_replaced_or_left_out(
    reader, content, replaced, skipped, dropped, tmp_path
):
    options = dict(text_field="text") if reader is read_jsonl else {}
    found, counts = read(reader, tmp_path, content, "replace", **options)
    assert (found, counts.dropped) == (replaced, {})
    assert sum(counts.removed.values()) == 1
    found, counts = read(reader, tmp_path, content, "skip", **options)
    assert (found, counts.dropped["not UTF-8"]) == (skipped, dropped)
    assert sum(counts.removed.values()) == 1
