"""Rows of TSV, CSV or JSONL files with named columns.

The ending of a file's name says how it is read, always as UTF-8:
.tsv   a header, then rows of the same number of fields between tabs. A quotation mark is a character like any other.
.csv   a header, then rows of fields between commas; a field in quotation marks may hold commas, line ends and, doubled,
       quotation marks (RFC 4180).
.jsonl an object a line.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence

from absl import logging

from tokenization.files import read_lines

# How a field begins whose quotation marks are not what they look like, and what is to be said of them.
_TRAPS = {
    ".tsv": (
        re.compile('"'),
        "in a .tsv they are part of the text; if a program put them there, write a .csv",
    ),
    ".csv": (
        re.compile('\\s+"'),
        "after a blank they are part of the text; put none between the comma and them",
    ),
}


def read_table(
    path: str, wanted: Sequence[str], advice: str = ""
) -> Iterator[tuple[int, dict[str, object]]]:
    """Yields (number of the line from 1, all fields of the row by name); in TSV and CSV these are texts.

    Args:
      path: TSV, CSV or JSONL.
      wanted: columns that must be there.
      advice: what to look at where one is not.

    Raises:
      OSError: the file cannot be read.
      ValueError: its name has another ending, it lacks a column, or a row is broken. Names the file and the line.
    """
    for ending, reader in {".tsv": _read_tsv, ".csv": _read_csv, ".jsonl": _read_jsonl}.items():
        if path.lower().endswith(ending):
            return reader(path, wanted, advice)
    raise ValueError(f"{path}: name it .tsv, .csv or .jsonl, by what it is")


def text_field(value: object, name: str, place: str) -> str:
    """Returns a field; raises ValueError, naming it and its place, unless it is a text that UTF-8 has."""
    if not isinstance(value, str):
        raise ValueError(f"{place}: {name} is {shown(value)} where a text is expected")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place}: {name} has half of a surrogate pair: replace it") from None
    return value


def shown(value: object) -> str:
    """Returns JSON's value for a message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")


def _read_tsv(
    path: str, wanted: Sequence[str], advice: str
) -> Iterator[tuple[int, dict[str, str]]]:
    lines = enumerate(_without_mark(read_lines(path)), 1)
    yield from _with_header(
        path, wanted, advice, ((number, text.split("\t")) for number, text in lines)
    )


def _read_csv(
    path: str, wanted: Sequence[str], advice: str
) -> Iterator[tuple[int, dict[str, str]]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader((f"{line}\n" for line in _without_mark(read_lines(path))), strict=True)

    def rows():
        while True:
            line = reader.line_num + 1
            try:
                yield line, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ValueError(
                    f"{path}, line {line}: {error}: is a quotation mark not closed, or not doubled within others?"
                ) from None

    yield from _with_header(path, wanted, advice, rows())


def _with_header(
    path: str, wanted: Sequence[str], advice: str, rows: Iterator[tuple[int, list[str]]]
) -> Iterator[tuple[int, dict[str, str]]]:
    _, header = next(rows, (1, []))
    twice = {name for name in header if header.count(name) > 1}
    if twice & {*wanted}:
        raise ValueError(f"{path}, line 1: two columns are named {', '.join(sorted(twice))}")
    _check_names(f"{path}, line 1", wanted, header, "column", advice)
    mark, trap = _TRAPS[path.lower()[-4:]]
    quoted = []
    for line, fields in rows:
        if fields in ([], [""]):
            raise ValueError(f"{path}, line {line}: the line is empty: delete it")
        if len(fields) != len(header):
            why = f"; of quotation marks: {trap}" if any(map(mark.match, fields)) else ""
            raise ValueError(
                f"{path}, line {line}: {len(fields)} fields where line 1 names {len(header)} columns{why}"
            )
        if any(mark.match(f) and len(f.strip()) > 1 and f.rstrip()[-1] == '"' for f in fields):
            quoted.append(line)
        yield line, dict(zip(header, fields, strict=True))
    if quoted:
        logging.warning(
            "%s: %d rows have fields in quotation marks, the first is line %d: %s",
            *(path, len(quoted), quoted[0], trap),
        )


def _read_jsonl(path: str, wanted: Sequence[str], advice: str) -> Iterator[tuple[int, dict]]:
    for line, text in enumerate(_without_mark(read_lines(path)), 1):
        place = f"{path}, line {line}"
        if not text.strip():
            raise ValueError(f"{place}: the line is empty: delete it")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place} is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise ValueError(f"{place}: {shown(fields)} where an object is expected")
        _check_names(place, wanted, list(fields), "field", advice)
        yield line, fields


def _check_names(
    place: str, wanted: Sequence[str], found: Sequence[str], what: str, advice: str
) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{place}: there is no {what} {missing[0]!r}, only {', '.join(map(repr, found)) or 'none'}{advice}"
        )
