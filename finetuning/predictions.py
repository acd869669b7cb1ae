"""The files with what a classifier predicts: the original's, that of GLUE's server, and one with the texts."""

import csv
import io
import os
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from finetuning.findings import (
    Answer,
    Findings,
    compare_classes,
    compare_label_sets,
    compare_numbers,
)
from finetuning.tasks import MULTI, REGRESSION, Example, Task
from tokenization.files import write_text


def answers(task: Task, predictions: np.ndarray) -> list[str | tuple[str, ...] | float]:
    """Returns what `objective.example_scores` predicts as the labels, or numbers, of `Example`."""
    if task.kind == REGRESSION:
        return predictions.tolist()
    if task.kind == MULTI:
        return [tuple(task.labels[i] for i in np.flatnonzero(row)) for row in predictions]
    return [task.labels[i] for i in predictions]


def evaluation_findings(
    task: Task, examples: Sequence[Example], scores: Mapping[str, np.ndarray]
) -> Findings:
    """Returns what an evaluation shows beyond its metrics.

    Args:
      examples: N of them, with their labels.
      scores: outputs [N, C] and predictions [N] or [N, C], see `objective.example_scores`.
    """
    rows = zip(examples, answers(task, scores["predictions"]), scores["outputs"], strict=True)
    found = [_answer(task, *row) for row in rows]
    if task.kind == REGRESSION:
        return compare_numbers(found)
    compare = compare_label_sets if task.kind == MULTI else compare_classes
    return compare(found, task.labels)


def _answer(task: Task, example: Example, predicted, outputs: np.ndarray) -> Answer:
    texts = {"text": example.text_a}
    if example.text_b is not None:
        texts = {"first": example.text_a, "second": example.text_b}
    probabilities = dict(zip(task.labels, outputs.tolist(), strict=True))
    return Answer(
        example.guid,
        texts,
        example.label,
        predicted,
        {} if task.kind == REGRESSION else probabilities,
    )


def write_test_results(output_dir: str, outputs: np.ndarray) -> None:
    """Writes test_results.tsv: the probabilities of the labels, or the number, a line an example in file order."""
    lines = ["\t".join(str(value) for value in row) + "\n" for row in outputs]
    path = os.path.join(output_dir, "test_results.tsv")
    write_text(path, "".join(lines))
    logging.info("***** %d predictions, in %s *****", len(lines), path)


def write_test_metrics(output_dir: str, metrics: Mapping[str, np.float32], step: int) -> None:
    """Writes test_metrics.txt, laid out like eval_results.txt, and prints it.

    Args:
      metrics: of a test set with labels, by name.
      step: updates that the model has had.
    """
    lines = [
        f"{name} = {value}\n" for name, value in sorted({**metrics, "global_step": step}.items())
    ]
    write_text(os.path.join(output_dir, "test_metrics.txt"), "".join(lines))
    print("".join(lines), end="")


def write_submission(output_dir: str, task: Task, predictions: np.ndarray) -> None:
    """Writes the file that the server of the task's benchmark takes: a label, or a number in its range, by index."""
    if task.kind == REGRESSION:
        predictions = predictions.clip(*task.value_range)
    lines = [f"{index}\t{answer}\n" for index, answer in enumerate(answers(task, predictions))]
    write_text(os.path.join(output_dir, task.submission), "index\tprediction\n" + "".join(lines))


def write_full_predictions(
    output_dir: str, task: Task, examples: Sequence[Example], scores: Mapping[str, np.ndarray]
) -> None:
    """Writes test_predictions.csv: id, texts, the label (several with `|` between them) and the probability of each.

    Args:
      examples: N of them.
      scores: outputs [N, C] and predictions [N] or [N, C], see `objective.example_scores`.
    """
    has_pairs = any(example.text_b is not None for example in examples)
    header = ["id", "text_a", *(["text_b"] if has_pairs else []), "label"]
    if task.kind != REGRESSION:
        header += [f"probability_{label}" for label in task.labels]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    made = answers(task, scores["predictions"])
    for example, answer, outputs in zip(examples, made, scores["outputs"], strict=True):
        texts = [example.text_a, *([example.text_b] if has_pairs else [])]
        label = "|".join(answer) if task.kind == MULTI else answer
        probabilities = [] if task.kind == REGRESSION else outputs
        writer.writerow([example.guid, *texts, label, *probabilities])
    write_text(os.path.join(output_dir, "test_predictions.csv"), file.getvalue())
