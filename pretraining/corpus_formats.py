"""What people have -> documents: lists of paragraphs, each a text whose line feeds mean nothing.

Each reader takes (path, counts, on_bad_utf8) and yields the documents of one file, a document in memory at a time.
With on_bad_utf8 "skip" a line that is not UTF-8 is left out of books and plain text, and costs the other formats the
document that it belongs to.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from pretraining.corpus_counts import CorpusCounts
from pretraining.corpus_files import Line, decode, open_text, read_lines
from pretraining.wikitext import DumpParser, WikitextCleaner

Paragraphs = list[str]

NOT_UTF8 = "not UTF-8"
MAX_HEADER_BYTES = 1 << 16  # of a record in a WET file

_GUTENBERG_START = re.compile(
    r"\*\*\*\s*START OF (?:THE|THIS) PROJECT GUTENBERG|\*END\*?\s*THE SMALL PRINT", re.IGNORECASE
)
_GUTENBERG_END = re.compile(
    r"\*\*\*\s*END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg",
    re.IGNORECASE,
)
_ILLUSTRATION = re.compile(r"\[Illustration[^\]]*\]", re.IGNORECASE)
_ITALICS = re.compile(r"(?<!\w)_([^_]+)_(?!\w)")
_WORD = re.compile(r"\w+(?:-\w+)*")
_BROKEN_WORD = re.compile(r"(\w+)-\n(\w+)")


def read_wikipedia(path: str, counts: CorpusCounts, on_bad_utf8: str) -> Iterator[Paragraphs]:
    """Yields the articles of MediaWiki's XML dump: pages of namespace 0 that are no redirects.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged, cut off, or not such a dump.
    """
    parser = DumpParser()
    cleaner = WikitextCleaner(parser.dropped_prefixes, counts.removed)
    for page in parser.pages(_counted(read_lines(path, on_bad_utf8), counts), path):
        if page.namespace.strip() != "0":
            counts.drop("outside namespace 0")
        elif page.redirect:
            counts.drop("redirect")
        elif page.model.strip() != "wikitext":
            counts.drop("no wikitext")
        elif page.damaged and on_bad_utf8 == "skip":
            counts.drop(NOT_UTF8)
        else:
            yield cleaner.paragraphs(page.text)


def read_book(path: str, counts: CorpusCounts, on_bad_utf8: str) -> Iterator[Paragraphs]:
    """Yields the one document of a book with hard line breaks and blank lines between paragraphs.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged, binary or not UTF-8.
    """
    lines = [line.text.rstrip() for line in _undamaged(path, counts, on_bad_utf8)]
    text = "\n".join(_without_license(lines, counts.removed))
    text, illustrations = _ILLUSTRATION.subn("", text)
    counts.removed["illustrations"] += illustrations
    text = _ITALICS.sub(r"\1", text)
    text = _join_broken_words(text, counts.removed)
    # A line that ends in a hyphen or a dash goes on without a blank.
    yield [re.sub(r"(?<=\w-|--|.—)\n", "", part) for part in re.split(r"\n\s*\n", text)]


def _without_license(lines: list[str], removed: Counter[str]) -> list[str]:
    """Leaves out what Project Gutenberg puts around a book."""
    start = next((n + 1 for n, line in enumerate(lines) if _GUTENBERG_START.match(line)), 0)
    ends = (n for n in range(start, len(lines)) if _GUTENBERG_END.match(lines[n]))
    end = next(ends, len(lines))
    removed["lines of Project Gutenberg's header and footer"] += len(lines) - (end - start)
    return lines[start:end]


def _join_broken_words(text: str, removed: Counter[str]) -> str:
    """Joins words that go on in the next line; the hyphen goes where the book has the word without it more often.

    Where the book has it neither way the hyphen stays: Gutenberg's editors joined what the printer had broken.
    """
    text, soft = re.subn("\u00ad\n?", "", text)
    pairs = set(_BROKEN_WORD.findall(text))
    forms = {form for pair in pairs for form in ("".join(pair).lower(), "-".join(pair).lower())}
    known = Counter(w for m in _WORD.finditer(text) if (w := m.group().lower()) in forms)

    def join(match: re.Match) -> str:
        whole, hyphenated = "".join(match.groups()), "-".join(match.groups())
        if known[whole.lower()] > known[hyphenated.lower()]:
            removed["hyphens at line ends"] += 1
            return whole
        return hyphenated

    removed["soft hyphens"] += soft
    return _BROKEN_WORD.sub(join, text)


def read_text(path: str, counts: CorpusCounts, on_bad_utf8: str) -> Iterator[Paragraphs]:
    """Yields the documents of plain text with one paragraph a line and blank lines between documents.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged, binary or not UTF-8.
    """
    document: Paragraphs = []
    for line in _undamaged(path, counts, on_bad_utf8):
        if line.text.strip():
            document.append(line.text)
        elif document:
            yield document
            document = []
    if document:
        yield document


def read_jsonl(
    path: str, counts: CorpusCounts, on_bad_utf8: str, text_field: str
) -> Iterator[Paragraphs]:
    """Yields the texts of a file with one JSON object a line; lines of a text are its paragraphs.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged or not UTF-8, or a line is no object with a text in `text_field`; names the line.
    """
    for line in _counted(read_lines(path, on_bad_utf8), counts):
        if line.damaged and on_bad_utf8 == "skip":
            counts.drop(NOT_UTF8)
        elif line.text.strip():
            yield _text_of(line, f"{path}: line {line.number}", text_field).splitlines()


def _text_of(line: Line, place: str, text_field: str) -> str:
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        reason = str(error).replace("line 1 column", "column")
        raise ValueError(f"{place}: not JSON: {reason}") from None
    if type(value) is not dict:
        raise ValueError(f"{place}: {line.text.strip()[:40]!r} where a JSON object is expected")
    if text_field not in value:
        fields = ", ".join(sorted(value)[:9]) or "none"
        raise ValueError(f'{place}: no field "{text_field}" (--text_field), it has {fields}')
    text = value[text_field]
    if type(text) is not str:
        raise ValueError(f'{place}: "{text_field}" is {json.dumps(text)[:40]}, no text')
    if re.search("[\ud800-\udfff]", text):
        raise ValueError(
            f'{place}: "{text_field}" has half of a surrogate pair, which is no character'
        )
    return text


def read_wet(path: str, counts: CorpusCounts, on_bad_utf8: str) -> Iterator[Paragraphs]:
    """Yields the pages of a WET file of Common Crawl, the records of type `conversion`; lines are paragraphs.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged, cut off or no WET file; names the byte of the unpacked file.
    """
    for offset, kind, data in _warc_records(path):
        if kind != "conversion":
            counts.removed[f"records of type {kind}"] += 1
            continue
        # Pages may have zero bytes, which here do not mean that the file is binary.
        data = data.replace(b"\0", b" ")
        text, damaged = decode(data, f"{path}: record", offset, on_bad_utf8)
        counts.removed["texts with bytes that are not UTF-8"] += damaged
        if damaged and on_bad_utf8 == "skip":
            counts.drop(NOT_UTF8)
        else:
            yield text.splitlines()


def _warc_records(path: str) -> Iterator[tuple[int, str, bytes]]:
    """Yields (offset, type, content) of the records of a WARC file."""
    offset = 0
    with open_text(path) as file:
        while start := file.readline(MAX_HEADER_BYTES):
            if not start.strip():  # two of them end a record
                offset += len(start)
                continue
            if not start.startswith(b"WARC/"):
                raise ValueError(
                    f"{path}: byte {offset}: {start[:20]!r} where WARC/1.0 is expected"
                )
            header, size = _warc_header(file)
            offset += len(start) + size
            length = header.get(b"content-length", b"")
            if not length.isdigit():
                raise ValueError(
                    f"{path}: byte {offset}: a record without Content-Length ends here"
                )
            data = file.read(int(length))
            if len(data) < int(length):
                raise ValueError(
                    f"{path} is cut off: {len(data)} of {int(length)} bytes of the record at byte {offset}"
                )
            yield offset, header.get(b"warc-type", b"").decode("latin-1"), data
            offset += len(data)


def _warc_header(file: BinaryIO) -> tuple[dict[bytes, bytes], int]:
    """Returns the fields of a record's header, their names in lower case, and the bytes that it took."""
    header, size = {}, 0
    while line := file.readline(MAX_HEADER_BYTES):
        size += len(line)
        if not line.strip():
            break
        name, _, value = line.partition(b":")
        header[name.strip().lower()] = value.strip()
    return header, size


def _counted(lines: Iterator[Line], counts: CorpusCounts) -> Iterator[Line]:
    for line in lines:
        counts.removed["lines with bytes that are not UTF-8"] += line.damaged
        yield line


def _undamaged(path: str, counts: CorpusCounts, on_bad_utf8: str) -> Iterator[Line]:
    for line in _counted(read_lines(path, on_bad_utf8), counts):
        if not (line.damaged and on_bad_utf8 == "skip"):
            yield line
