"""The one reader of the files of tasks (`run_classifier.py` of the original).

Files are tab-separated values without quoting: a quotation mark is a character like any other.
"""

import os

import tensorflow as tf
from absl import logging

from finetuning.tasks import SINGLE, Example, Table, Task
from tokenization.files import read_lines


def read_examples(task: Task, data_dir: str, split: str) -> list[Example]:
    """Reads one of the task's files.

    Args:
      task: row of `TASKS`.
      data_dir: folder with the task's files.
      split: "train", "dev" or "test".

    Returns:
      The examples in the order of the file, at least one.

    Raises:
      FileNotFoundError: no such folder or file.
      ValueError: the task has no such split, the file holds no example or is not UTF-8, or a row is empty, lacks
        columns or has an unknown label. Names the file, and the line counted from 1.
    """
    if split not in task.tables:
        raise ValueError(f"task {task.name} has no {split} set: it has {', '.join(task.tables)}")
    table = task.tables[split]
    path = _existing_file(data_dir, table.file, f"the {split} set of task {task.name}")
    # Without quoting, splitting is all that the original's csv reader does, short of its limit on a field's length.
    rows = [line.split("\t") for line in read_lines(path)]
    _warn(path, task, table, rows)
    examples, short = [], []
    for index in range(table.has_header, len(rows)):
        if table.language not in (None, rows[index][0]):
            continue
        if table.skips_short_rows and len(rows[index]) < table.num_columns:
            short.append(index + 1)
            continue
        try:
            examples.append(_example(task, table, index, rows[index]))
        except ValueError as error:
            raise ValueError(f"{path}, line {index + 1}: {error}") from None
    if not examples:
        rule = f" in language {table.language!r}" if table.language else ""
        raise ValueError(f"{path} holds no example{rule}: check --data_dir and --task_name")
    _tell_left_out(path, len(rows) - table.has_header - len(examples) - len(short), short)
    if split == "train" and len({example.label for example in examples}) < min(2, len(examples)):
        logging.warning("%s: all labels are %s: there is nothing to learn", path, examples[0].label)
    return examples


def _tell_left_out(path: str, other_languages: int, short: list[int]) -> None:
    if other_languages:
        logging.info("%s: %d rows in other languages are left out", path, other_languages)
    if short:
        logging.warning(
            "%s: %d rows that lack columns are left out, the first is line %d",
            path,
            len(short),
            short[0],
        )


def _existing_file(data_dir: str, name: str, meaning: str) -> str:
    if not tf.io.gfile.isdir(data_dir):
        raise FileNotFoundError(f"--data_dir={data_dir} is not a folder")
    path = os.path.join(data_dir, name)
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"there is no file {path} with {meaning}: check --data_dir")
    return path


def _example(task: Task, table: Table, index: int, row: list[str]) -> Example:
    if row == [""]:
        raise ValueError("the line is empty: delete it")
    if len(row) < table.num_columns:
        raise ValueError(
            f"{len(row)} columns where at least {table.num_columns} are expected, separated by tabs"
        )
    label = task.no_label if table.label is None else _label(task, table, row)
    number = index if table.guid_column is None else row[table.guid_column]
    text_b = None if table.text_b is None else row[table.text_b]
    return Example(f"{table.guid}-{number}", row[table.text_a], text_b, label)


def _label(task: Task, table: Table, row: list[str]) -> str | float:
    label = table.synonyms.get(row[table.label], row[table.label])
    try:
        return task.parse_label(label)
    except ValueError as error:
        column = table.label % len(row) + 1
        message = f"column {column}: {error}: does the file belong to another task?"
        raise ValueError(message) from None


def _warn(path: str, task: Task, table: Table, rows: list[list[str]]) -> None:
    """Tells of what the original's rules accept although it is most likely a mistake."""
    if table.has_header and rows and _looks_like_data(task, table, rows[0]):
        logging.warning("%s: line 1 is left out as the header, but looks like an example", path)
    odd = [number for number, row in enumerate(rows, 1) if len(row) > len(rows[0])]
    if odd:
        logging.warning(
            "%s: %d rows have more columns than line 1, the first is line %d: a tab in a text?",
            path,
            len(odd),
            odd[0],
        )


def _looks_like_data(task: Task, table: Table, row: list[str]) -> bool:
    if len(row) < table.num_columns:
        return False
    label = row[0] if table.label is None else row[table.label]
    is_known = task.kind == SINGLE and (label in task.labels or label in table.synonyms)
    return is_known or label.replace(".", "", 1).isdigit()
