"""Anyone's data: examples from TSV, CSV or JSONL files with named columns, see `finetuning.table_files`."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import logging

from finetuning.table_files import read_table, shown, text_field
from finetuning.tasks import MULTI, REGRESSION, Example, Task

_ADVICE = ": see --text_columns, --label_column and --id_column"


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
    for line, fields in read_table(path, wanted, _ADVICE):
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
    empty = [row for row in rows if "" in (row.text_a.strip(), row.text_b and row.text_b.strip())]
    if empty:
        what = "without text" if rows[0].text_b is None else "with an empty text"
        logging.warning("%d examples %s, the first is %s", len(empty), what, empty[0].place)
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
        advice = "" if task.kind == REGRESSION else " (--labels names them all)"
        raise ValueError(f"{row.place}: {error}{advice}") from None


def _row(place: str, fields: Mapping, columns: Columns, kind: str, split: str, number: int) -> Row:
    texts = [text_field(fields[name], name, place) for name in columns.texts]
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


def _scalar(value: object, name: str, place: str) -> str:
    """Returns what identifies a label or an example; numbers and truth values as JSON writes them."""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = text_field(value, name, place).strip()
    if not text:
        raise ValueError(f"{place}: {name} is empty")
    return text


def _labels(value: object, columns: Columns, place: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(columns.label_separator) if part.strip()]
    if not isinstance(value, list):
        raise ValueError(f"{place}: {columns.label} is {shown(value)} where a list is expected")
    return tuple(dict.fromkeys(_scalar(label, columns.label, place) for label in value))
