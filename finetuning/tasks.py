"""The classification tasks as rows of a table, and the one reader of their files (`run_classifier.py` of the original).

Files are tab-separated values without quoting: a quotation mark is a character like any other.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from tokenization.files import read_lines


class Example(NamedTuple):
    """A sentence or a pair of sentences, and its class."""

    guid: str
    text_a: str
    text_b: str | None
    label: str


class Table(NamedTuple):
    """How a file of a task is laid out; columns are counted from 0, -1 is the last one."""

    file: str
    text_a: int
    text_b: int | None = None
    label: int | None = None  # None: the file has no labels, every example gets the task's first
    has_header: bool = True
    guid: str = ""  # what the guids begin with
    guid_column: int | None = None  # None: they end in the number of the row, counted from 0
    language: str | None = None  # only rows that hold this in column 0 are examples
    synonyms: Mapping[str, str] = {}  # labels that stand for another

    @property
    def num_columns(self) -> int:
        """The least number of columns that a row must have; a label in the last one comes after the texts."""
        texts_end = max(self.text_a, self.text_b or 0) + 1
        return texts_end + 1 if self.label == -1 else max(texts_end, (self.label or 0) + 1)


class Task(NamedTuple):
    """What is asked of a sentence or a pair of sentences."""

    name: str
    labels: tuple[str, ...]  # the id of a label is its place
    tables: Mapping[str, Table]  # of "train", "dev" and "test"


ENTAILMENT = ("contradiction", "entailment", "neutral")

COLA = Table("", text_a=3, label=1, has_header=False)
MNLI = Table("", text_a=8, text_b=9, label=-1, guid_column=0)
MRPC = Table("", text_a=3, text_b=4, label=0)

TASKS = {
    task.name: task
    for task in (
        Task(
            "cola",
            ("0", "1"),
            {
                "train": COLA._replace(file="train.tsv", guid="train"),
                "dev": COLA._replace(file="dev.tsv", guid="dev"),
                "test": Table("test.tsv", text_a=1, guid="test"),
            },
        ),
        Task(
            "mnli",
            ENTAILMENT,
            {
                "train": MNLI._replace(file="train.tsv", guid="train"),
                "dev": MNLI._replace(file="dev_matched.tsv", guid="dev_matched"),
                "test": MNLI._replace(file="test_matched.tsv", guid="test", label=None),
            },
        ),
        Task(
            "mrpc",
            ("0", "1"),
            {
                "train": MRPC._replace(file="train.tsv", guid="train"),
                "dev": MRPC._replace(file="dev.tsv", guid="dev"),
                "test": MRPC._replace(file="test.tsv", guid="test", label=None),
            },
        ),
        # Machine-translated training set and human-translated dev set, both Chinese as in the original.
        Task(
            "xnli",
            ENTAILMENT,
            {
                "train": Table(
                    "multinli/multinli.train.zh.tsv",
                    text_a=0,
                    text_b=1,
                    label=2,
                    guid="train",
                    synonyms={"contradictory": "contradiction"},
                ),
                "dev": Table(
                    "xnli.dev.tsv", text_a=6, text_b=7, label=1, guid="dev", language="zh"
                ),
            },
        ),
    )
}


def find_task(name: str) -> Task:
    """Returns the task of that name, in any case.

    Raises:
      ValueError: there is none; lists those that there are.
    """
    if name.lower() not in TASKS:
        raise ValueError(f"--task_name={name} is none of {', '.join(TASKS)}")
    return TASKS[name.lower()]


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
    _warn(path, table, task.labels, rows)
    examples = []
    for index in range(table.has_header, len(rows)):
        if table.language in (None, rows[index][0]):
            try:
                examples.append(_example(table, task.labels, index, rows[index]))
            except ValueError as error:
                raise ValueError(f"{path}, line {index + 1}: {error}") from None
    if not examples:
        rule = f" in language {table.language!r}" if table.language else ""
        raise ValueError(f"{path} holds no example{rule}: check --data_dir and --task_name")
    left_out = len(rows) - table.has_header - len(examples)
    if left_out:
        logging.info("%s: %d rows in other languages are left out", path, left_out)
    return examples


def _existing_file(data_dir: str, name: str, meaning: str) -> str:
    if not tf.io.gfile.isdir(data_dir):
        raise FileNotFoundError(f"--data_dir={data_dir} is not a folder")
    path = os.path.join(data_dir, name)
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise FileNotFoundError(f"there is no file {path} with {meaning}: check --data_dir")
    return path


def _example(table: Table, labels: tuple[str, ...], index: int, row: list[str]) -> Example:
    if row == [""]:
        raise ValueError("the line is empty: delete it")
    if len(row) < table.num_columns:
        raise ValueError(
            f"{len(row)} columns where at least {table.num_columns} are expected, separated by tabs"
        )
    label = labels[0] if table.label is None else row[table.label]
    label = table.synonyms.get(label, label)
    if label not in labels:
        raise ValueError(
            f"label {label[:40]!r} in column {table.label % len(row) + 1} is none of "
            f"{', '.join(labels)}: does the file belong to another task?"
        )
    number = index if table.guid_column is None else row[table.guid_column]
    text_b = None if table.text_b is None else row[table.text_b]
    return Example(f"{table.guid}-{number}", row[table.text_a], text_b, label)


def _warn(path: str, table: Table, labels: tuple[str, ...], rows: list[list[str]]) -> None:
    """Tells of what the original's rules accept although it is most likely a mistake."""
    if table.has_header and rows and _looks_like_data(table, labels, rows[0]):
        logging.warning("%s: line 1 is left out as the header, but looks like an example", path)
    odd = [number for number, row in enumerate(rows, 1) if len(row) > len(rows[0])]
    if odd:
        logging.warning(
            "%s: %d rows have more columns than line 1, the first is line %d: a tab in a text?",
            path,
            len(odd),
            odd[0],
        )


def _looks_like_data(table: Table, labels: tuple[str, ...], row: list[str]) -> bool:
    if len(row) < table.num_columns:
        return False
    label = row[0] if table.label is None else row[table.label]
    return label.isdigit() or label in labels or label in table.synonyms
