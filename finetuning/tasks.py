"""The tasks as rows of a table: those of the original, the rest of GLUE, XNLI in its languages.

GLUE: Wang et al. 2019, section 4.1 of Devlin et al. 2019. XNLI: Conneau et al. 2018.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# What is asked for: one of the labels, any number of them, or a number.
KINDS = SINGLE, MULTI, REGRESSION = "single", "multi", "regression"


class Example(NamedTuple):
    """A sentence or a pair of sentences, and what is to be predicted."""

    guid: str
    text_a: str
    text_b: str | None
    label: str | tuple[str, ...] | float  # by the kind of the task


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
    skips_short_rows: bool = False  # rows that lack columns are left out, and counted

    @property
    def num_columns(self) -> int:
        """The least number of columns that a row must have; a label in the last one comes after the texts."""
        texts_end = max(self.text_a, self.text_b or 0) + 1
        return texts_end + 1 if self.label == -1 else max(texts_end, (self.label or 0) + 1)


class Task(NamedTuple):
    """What is asked of a sentence or a pair of sentences."""

    name: str
    labels: tuple[str, ...]  # the id of a label is its place; of a regression the name of the value
    tables: Mapping[str, Table]  # of "train", "dev" and "test"
    kind: str = SINGLE
    metrics: tuple[str, ...] = (
        "accuracy",
    )  # names in `metrics.METRICS`, the one that counts first
    value_range: tuple[float, float] = (float("-inf"), float("inf"))  # of a regression
    submission: str | None = None  # name of the file that the benchmark's server takes
    is_of_original: bool = False  # its eval_results.txt has the keys that the original wrote

    @property
    def has_labelled_test(self) -> bool:
        """Whether the file of the test set has labels."""
        return "test" in self.tables and self.tables["test"].label is not None

    @property
    def no_label(self) -> str | tuple[str, ...] | float:
        """What stands in the place of a label where there is none."""
        return {SINGLE: self.labels[0], MULTI: (), REGRESSION: 0.0}[self.kind]

    def parse_label(self, text: str) -> str | float:
        """Returns one label, or the number, that a text stands for; raises ValueError if there is none."""
        if self.kind != REGRESSION:
            if text not in self.labels:
                raise ValueError(f"label {text[:40]!r} is none of {listed(self.labels)}")
            return text
        least, most = self.value_range
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and least <= value <= most):
            rule = f" from {least:g} to {most:g}" if math.isfinite(most) else ""
            raise ValueError(f"{text[:40]!r} is no number{rule}")
        return value


def listed(labels: Iterable[str]) -> str:
    """Returns the labels for a message of one line, which names twenty of them."""
    labels = [label if label.isprintable() else repr(label) for label in labels]
    return ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")


def _splits(labelled: Table, test: Table | None = None) -> dict[str, Table]:
    """Returns the tables of files with GLUE's usual names; the test set is laid out like the others if not given."""
    test = test or labelled._replace(label=None, skips_short_rows=False)
    return {
        "train": labelled._replace(file="train.tsv", guid="train"),
        "dev": labelled._replace(file="dev.tsv", guid="dev"),
        "test": test._replace(file="test.tsv", guid="test"),
    }


def _mnli(condition: str) -> dict[str, Table]:
    """Returns the tables of MultiNLI; its development and test sets are of the genres of training, or of others."""
    table = Table("", text_a=8, text_b=9, label=-1, guid_column=0)
    test = "test" if condition == "matched" else f"test_{condition}"
    return {
        "train": table._replace(file="train.tsv", guid="train"),
        "dev": table._replace(file=f"dev_{condition}.tsv", guid=f"dev_{condition}"),
        "test": table._replace(file=f"test_{condition}.tsv", guid=test, label=None),
    }


ENTAILMENT = ("contradiction", "entailment", "neutral")
TWO_WAY_ENTAILMENT = ("entailment", "not_entailment")
XNLI_LANGUAGES = tuple("ar bg de el en es fr hi ru sw th tr ur vi zh".split())


def xnli(language: str) -> Task:
    """Returns XNLI in a language: a machine-translated training set, human-translated development and test sets.

    As in the original, whose language was zh. That a model is trained on one language does not keep it from being
    evaluated on another.
    """
    translated = Table("xnli.dev.tsv", text_a=6, text_b=7, label=1, guid="dev", language=language)
    tables = {
        "train": Table(
            f"multinli/multinli.train.{language}.tsv",
            text_a=0,
            text_b=1,
            label=2,
            guid="train",
            synonyms={"contradictory": "contradiction"},
        ),
        "dev": translated,
        "test": translated._replace(file="xnli.test.tsv", guid="test"),
    }
    return Task("xnli", ENTAILMENT, tables, is_of_original=True)


# The labels of the first rows are in the order of the original, which the outputs of its models have.
TASKS = {
    task.name: task
    for task in (
        Task(
            "cola",
            ("0", "1"),
            _splits(Table("", text_a=3, label=1, has_header=False), Table("", text_a=1)),
            metrics=("matthews",),
            submission="CoLA.tsv",
            is_of_original=True,
        ),
        Task("mnli", ENTAILMENT, _mnli("matched"), submission="MNLI-m.tsv", is_of_original=True),
        Task(
            "mrpc",
            ("0", "1"),
            _splits(Table("", text_a=3, text_b=4, label=0)),
            metrics=("accuracy", "f1"),
            submission="MRPC.tsv",
            is_of_original=True,
        ),
        xnli("zh"),
        Task("mnli-mm", ENTAILMENT, _mnli("mismatched"), submission="MNLI-mm.tsv"),
        Task(
            "sst-2",
            ("0", "1"),
            _splits(Table("", text_a=0, label=1), Table("", text_a=1)),
            submission="SST-2.tsv",
        ),
        Task(
            "sts-b",
            ("score",),
            _splits(Table("", text_a=7, text_b=8, label=9)),
            kind=REGRESSION,
            metrics=("pearson", "spearman"),
            value_range=(0.0, 5.0),
            submission="STS-B.tsv",
        ),
        Task(
            "qqp",
            ("0", "1"),
            # Some rows of the published training set are cut off.
            _splits(
                Table("", text_a=3, text_b=4, label=5, skips_short_rows=True),
                Table("", text_a=1, text_b=2),
            ),
            metrics=("accuracy", "f1"),
            submission="QQP.tsv",
        ),
        Task(
            "qnli",
            TWO_WAY_ENTAILMENT,
            _splits(Table("", text_a=1, text_b=2, label=3)),
            submission="QNLI.tsv",
        ),
        Task(
            "rte",
            TWO_WAY_ENTAILMENT,
            _splits(Table("", text_a=1, text_b=2, label=3)),
            submission="RTE.tsv",
        ),
        Task(
            "wnli",
            ("0", "1"),
            _splits(Table("", text_a=1, text_b=2, label=3)),
            submission="WNLI.tsv",
        ),
        # Sentences to see what a model of MultiNLI knows; there is nothing to train on.
        Task(
            "ax",
            ENTAILMENT,
            {
                "dev": Table("diagnostic-full.tsv", text_a=5, text_b=6, label=7, guid="dev"),
                "test": Table("diagnostic.tsv", text_a=1, text_b=2, guid="test"),
            },
            metrics=("matthews",),
            submission="AX.tsv",
        ),
    )
}


def find_task(name: str, xnli_language: str = "zh") -> Task:
    """Returns the task of that name, one of `TASKS`."""
    return xnli(xnli_language) if name == "xnli" else TASKS[name]
