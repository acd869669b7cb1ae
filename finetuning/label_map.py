"""The labels of anyone's task: found in its training file or given, kept beside the checkpoints, and weighted."""

import json
import os
from collections import Counter
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from finetuning.custom_data import Row
from finetuning.tasks import KINDS, MULTI, REGRESSION, SINGLE, Example, Task, listed
from tokenization.files import write_text

LABEL_MAP_FILE = "label_map.json"

_METRICS = {
    SINGLE: ("accuracy", "f1_macro"),
    MULTI: ("f1_micro", "f1_macro", "exact_match"),
    REGRESSION: ("pearson", "spearman"),
}


def custom_task(
    kind: str, labels: Sequence[str], train: Sequence[Row] | None, folders: Sequence[str]
) -> Task:
    """Returns the task of anyone's data.

    Args:
      kind: one of `tasks.KINDS`.
      labels: in the order of their ids; empty: those of the training file or of a label map.
      train: the training file, if one is read.
      folders: where a label map may be, looked through in this order; the first one must agree with all else.

    Raises:
      ValueError: there are no labels, too few, or others than those of the run.
    """
    if len({*labels}) < len(labels):
        raise ValueError(f"--labels={','.join(labels)} names one twice")
    if kind == REGRESSION:
        if labels:
            raise ValueError("--labels are for --label_kind=single and multi")
        labels = ("value",)
    known = first_label_map(folders)
    if train is not None:
        labels = labels or _found_labels(train)
        _check_training_labels(kind, labels, train)
    elif not labels and not known:
        raise ValueError(
            f"there is no {LABEL_MAP_FILE} in {' or '.join(folders)}: give --labels, in the order of training"
        )
    task = Task("custom", tuple(labels) or known[1], {}, kind, _METRICS[kind])
    if known and known != (task.kind, task.labels):
        raise ValueError(
            f"--label_kind={task.kind} with labels {listed(task.labels)}, but the model has {listed(known[1])} of kind "
            f"{known[0]}: give those, or another --output_dir"
        )
    return task


def write_label_map(output_dir: str, task: Task) -> None:
    """Writes `label_map.json`: {"label_kind": one of `tasks.KINDS`, "labels": names in the order of their ids}."""
    content = json.dumps({"label_kind": task.kind, "labels": task.labels}, ensure_ascii=False)
    write_text(os.path.join(output_dir, LABEL_MAP_FILE), content + "\n")


def folder_of(checkpoint: str) -> str:
    """Returns the folder that a checkpoint is in, where its labels or tags may be."""
    return checkpoint if tf.io.gfile.isdir(checkpoint) else os.path.dirname(checkpoint)


def first_label_map(folders: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Returns kind and labels of the first of the folders that has a label map, None if none has.

    Raises:
      ValueError: it cannot be read.
    """
    paths = [os.path.join(folder, LABEL_MAP_FILE) for folder in folders]
    path = next(filter(tf.io.gfile.exists, paths), None)
    if path is None:
        return None
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            found = json.loads(file.read())
        kind, labels = found["label_kind"], found["labels"]
        if kind in KINDS and labels and all(isinstance(label, str) for label in labels):
            return kind, tuple(labels)
    except (ValueError, TypeError, KeyError):
        pass
    raise ValueError(f"{path} is no label map: restore it, or remove it and give --labels")


def _counts(rows: Sequence[Row | Example]) -> Counter:
    return Counter(
        label
        for row in rows
        for label in (row.label if isinstance(row.label, tuple) else [row.label])
    )


def _found_labels(train: Sequence[Row]) -> tuple[str, ...]:
    """Returns the labels of a training file: numbers by size, anything else by code points."""
    found = sorted(_counts(train))
    return tuple(sorted(found, key=int) if all(map(str.isdecimal, found)) else found)


def _check_training_labels(kind: str, labels: Sequence[str], train: Sequence[Row]) -> None:
    counts = _counts(train)
    if len(counts) < (1 if kind == MULTI else 2):
        raise ValueError(
            f"{train[0].place.rpartition(',')[0]}: {f'all labels are {listed(counts)}' if counts else 'no labels'}: "
            "there is nothing to learn; see --label_column"
        )
    if kind == REGRESSION:
        return
    unseen = [label for label in labels if label not in counts]
    if unseen:
        logging.warning("no training example has label %s", listed(unseen))
    logging.info("Labels: %s", listed([f"{label} ({counts[label]})" for label in labels]))


def label_weights(text: str | None, task: Task, examples: Sequence[Example]) -> list[float] | None:
    """Returns what `--class_weights` says, a weight for each label, None for none.

    Args:
      text: None; "balanced", so that labels weigh the same in all, whatever their number of examples; or a number for
        each label, with commas between them.
      task: with labels.
      examples: of training.

    Raises:
      ValueError: it is something else, or there are no labels.
    """
    if text is None:
        return None
    if task.kind == REGRESSION:
        raise ValueError("--class_weights are of labels, and a regression has none")
    if text == "balanced":
        counts, n = _counts(examples), len(examples)
        if task.kind == MULTI:  # those with a label weigh as much as those without it
            return [max(n - counts[label], 1) / max(counts[label], 1) for label in task.labels]
        return [n / (len(task.labels) * max(counts[label], 1)) for label in task.labels]
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if len(weights) != len(task.labels) or not all(0 < w < float("inf") for w in weights):
        raise ValueError(
            f"--class_weights={text}: write 'balanced', or a number above 0 for each of {listed(task.labels)}"
        )
    return weights
