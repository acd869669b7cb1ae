"""Anyone's data: examples from TSV, CSV or JSONL files with named columns.

The ending of a file's name says how it is read, always as UTF-8:
.tsv   a header, then rows of the same number of fields between tabs. A quotation mark is a character like any other.
.csv   a header, then rows of fields between commas; a field in quotation marks may hold commas, line ends and, doubled,
       quotation marks (RFC 4180).
.jsonl an object a line.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from absl import logging

from finetuning.tasks import MULTI, Example, Task
from tokenization.files import read_lines


class Columns(NamedTuple):
    """Which columns, or fields of an object, hold what.

    Attributes:
      texts: one or two.
      label: of the label or labels, or of the number.
      id: what tells examples apart; None: they are numbered.
      label_separator: what stands between several labels; lists of JSON need none.
    """

    texts: Sequence[str]
    label: str
    id: str | None = None
    label_separator: str = ","


class Row(NamedTuple):
    """What a file says of an example.

    Attributes:
      place: for messages, as "train.csv, line 3".
      guid: its id, or the split and its number from 1.
      text_a, text_b: as in `Example`.
      label: as it is written; a tuple where there may be several; None where labels are not read.
    """

    place: str
    guid: str
    text_a: str
    text_b: str | None
    label: str | tuple[str, ...] | None


def read_rows(path: str, columns: Columns, kind: str, split: str) -> list[Row]:
    """Reads a file; says in the log what is most likely a mistake.

    Args:
      path: TSV, CSV or JSONL.
      columns: that it has.
      kind: of the task, one of `tasks.KINDS`.
      split: "train", "dev" or "test", which is read without labels.

    Returns:
      The rows in the order of the file, at least one.

    Raises:
      OSError: the file cannot be read.
      ValueError: its name has another ending, it lacks a column, a row is broken, or an id is there twice. Names the
        file, and the line counted from 1.
    """
    wanted = [*columns.texts, *([columns.id] if columns.id else [])]
    wanted += [columns.label] if split != "test" else []
    rows, lines = [], {}
    for line, fields in _reader(path)(path, wanted):
        place = f"{path}, line {line}"
        row = _row(place, fields, columns, kind, split, len(rows) + 1)
        if row.guid in lines:
            raise ValueError(
                f"{place}: {columns.id} {row.guid[:40]!r} is that of line {lines[row.guid]} too: "
                "give each row its own, or leave --id_column out"
            )
        lines[row.guid] = line
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} holds no example")
    empty = [row for row in rows if not (row.text_a.strip() or (row.text_b or "").strip())]
    if empty:
        logging.warning("%d examples without text, the first is %s", len(empty), empty[0].place)
    return rows


def label_rows(rows: Sequence[Row], task: Task) -> list[Example]:
    """Returns the examples of rows with the task's labels.

    Raises:
      ValueError: a row has none, or another one.
    """
    return [Example(*row[1:4], _label(row, task)) for row in rows]


def _label(row: Row, task: Task) -> str | tuple[str, ...] | float:
    if row.label is None:
        return task.no_label
    try:
        if task.kind == MULTI:
            return tuple(task.parse_label(label) for label in row.label)
        return task.parse_label(row.label)
    except ValueError as error:
        advice = " (--labels names them all)" if task.labels else ""
        raise ValueError(f"{row.place}: {error}{advice}") from None


def _row(place: str, fields: Mapping, columns: Columns, kind: str, split: str, number: int) -> Row:
    texts = [_text(fields[name], name, place) for name in columns.texts]
    guid = _scalar(fields[columns.id], columns.id, place) if columns.id else f"{split}-{number}"
    label = None
    if split != "test":
        value = fields[columns.label]
        label = (
            _labels(value, columns, place)
            if kind == MULTI
            else _scalar(value, columns.label, place)
        )
    return Row(place, guid, texts[0], texts[1] if len(texts) > 1 else None, label)


def _text(value: object, name: str, place: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{place}: {name} is {_show(value)} where a text is expected")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{place}: {name} has half of a surrogate pair: replace it") from None
    return value


def _scalar(value: object, name: str, place: str) -> str:
    """Returns what identifies a label or an example; numbers and truth values as JSON writes them."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if not _text(value, name, place).strip():
        raise ValueError(f"{place}: {name} is empty")
    return value


def _labels(value: object, columns: Columns, place: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(columns.label_separator) if part.strip()]
    if not isinstance(value, list):
        raise ValueError(f"{place}: {columns.label} is {_show(value)} where a list is expected")
    return tuple(dict.fromkeys(_scalar(label, columns.label, place) for label in value))


def _show(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _reader(path: str):
    for ending, reader in {".tsv": _read_tsv, ".csv": _read_csv, ".jsonl": _read_jsonl}.items():
        if path.lower().endswith(ending):
            return reader
    raise ValueError(f"{path}: name it .tsv, .csv or .jsonl, by what it is")


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix("\ufeff")


def _read_tsv(path: str, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    lines = enumerate(_without_mark(read_lines(path)), 1)
    quoted = []
    for line, fields in _with_header(path, wanted, ((n, text.split("\t")) for n, text in lines)):
        if any(len(f) > 1 and f[0] == f[-1] == '"' for f in fields.values()):
            quoted.append(line)
        yield line, fields
    if quoted:
        logging.warning(
            "%s: %d rows have fields in quotation marks, which stay there in a .tsv, the first is line %d; if they "
            "were put there by a program, write a .csv instead",
            path,
            len(quoted),
            quoted[0],
        )


def _read_csv(path: str, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
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

    yield from _with_header(path, wanted, rows())


def _with_header(path: str, wanted: Sequence[str], rows: Iterator[tuple[int, list[str]]]):
    _, header = next(rows, (1, []))
    twice = {name for name in header if header.count(name) > 1}
    if twice & {*wanted}:
        raise ValueError(f"{path}, line 1: two columns are named {', '.join(sorted(twice))}")
    _check_names(f"{path}, line 1", wanted, header, "column")
    for line, fields in rows:
        if fields in ([], [""]):
            raise ValueError(f"{path}, line {line}: the line is empty: delete it")
        if len(fields) != len(header):
            raise ValueError(
                f"{path}, line {line}: {len(fields)} fields where line 1 names {len(header)} columns"
            )
        yield line, dict(zip(header, fields, strict=True))


def _read_jsonl(path: str, wanted: Sequence[str]) -> Iterator[tuple[int, dict]]:
    for line, text in enumerate(_without_mark(read_lines(path)), 1):
        place = f"{path}, line {line}"
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place} is not JSON: {error}") from None
        if not isinstance(fields, dict):
            raise ValueError(f"{place}: {_show(fields)} where an object is expected")
        _check_names(place, wanted, list(fields), "field")
        yield line, fields


def _check_names(place: str, wanted: Sequence[str], found: Sequence[str], what: str) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(
            f"{place}: there is no {what} {missing[0]!r}, only {', '.join(map(repr, found)) or 'none'}: "
            "see --text_columns, --label_column and --id_column"
        )
