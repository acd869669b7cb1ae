"""The files with what a classifier predicts."""

import csv

import numpy as np
import pytest

from finetuning.custom_data import Columns, read_rows
from finetuning.predictions import (
    answers,
    evaluation_findings,
    write_full_predictions,
    write_submission,
    write_test_results,
)
from finetuning.tasks import MULTI, REGRESSION, SINGLE, TASKS, Example, Task

PROBABILITIES = np.array([[0.25, 0.1, 0.65], [0.5, 0.375, 0.125]], np.float32)
THREE = Task("", ("x", "y", "z"), {})


def test_test_results_are_the_numbers_between_tabs_without_a_header(tmp_path):
    write_test_results(str(tmp_path), PROBABILITIES)
    assert (tmp_path / "test_results.tsv").read_text() == "0.25\t0.1\t0.65\n0.5\t0.375\t0.125\n"


@pytest.mark.parametrize(
    "name, predictions, expected",
    [
        ("rte", [1, 0], "0\tnot_entailment\n1\tentailment\n"),
        ("mnli-mm", [2, 0], "0\tneutral\n1\tcontradiction\n"),
        ("cola", [1, 1], "0\t1\n1\t1\n"),
        ("sts-b", np.array([5.5, -0.25, 3.5], np.float32), "0\t5.0\n1\t0.0\n2\t3.5\n"),
    ],
)
def test_submissions_have_labels_or_numbers_in_range_by_index(
    name, predictions, expected, tmp_path
):
    write_submission(str(tmp_path), TASKS[name], np.array(predictions))
    path = tmp_path / TASKS[name].submission
    assert path.read_text() == "index\tprediction\n" + expected


@pytest.mark.parametrize(
    "kind, predictions, expected",
    [
        (SINGLE, [2, 0], ["z", "x"]),
        (MULTI, [[1, 0, 1], [0, 0, 0]], [("x", "z"), ()]),
        (REGRESSION, [1.5, -2.0], [1.5, -2.0]),
    ],
)
def test_answers_are_labels_as_in_examples(kind, predictions, expected):
    assert answers(THREE._replace(kind=kind), np.array(predictions)) == expected


def write(folder, kind, labels, predictions, outputs, text_b=None):
    examples = [Example("k1", 'a "b",\nc', text_b, ""), Example("k2", "=d", text_b, "")]
    scores = {"predictions": np.array(predictions), "outputs": np.array(outputs, np.float32)}
    write_full_predictions(str(folder), Task("", labels, {}, kind), examples, scores)
    with open(folder / "test_predictions.csv", newline="") as file:
        return list(csv.reader(file))


def test_full_predictions_have_id_text_label_and_probabilities(tmp_path):
    assert write(tmp_path, SINGLE, ("x", "y", "z"), [2, 0], PROBABILITIES) == [
        ["id", "text_a", "label", "probability_x", "probability_y", "probability_z"],
        ["k1", 'a "b",\nc', "z", "0.25", "0.1", "0.65"],
        ["k2", "=d", "x", "0.5", "0.375", "0.125"],
    ]


def test_full_predictions_name_several_labels_and_both_texts(tmp_path):
    rows = write(tmp_path, MULTI, ("x", "y"), [[1, 1], [0, 0]], [[0.75, 0.625], [0.25, 0]], "e")
    assert rows[0][:4] == ["id", "text_a", "text_b", "label"]
    assert [row[2:] for row in rows[1:]] == [
        ["e", "x|y", "0.75", "0.625"],
        ["e", "", "0.25", "0.0"],
    ]


def test_full_predictions_of_numbers_have_no_probabilities(tmp_path):
    rows = write(tmp_path, REGRESSION, ("value",), [1.5, -2.0], [[1.5], [-2.0]])
    assert rows[0] == ["id", "text_a", "label"]
    assert [row[2] for row in rows[1:]] == ["1.5", "-2.0"]


def test_full_predictions_can_be_trained_on(tmp_path):
    write(tmp_path, SINGLE, ("x", "y", "z"), [2, 0], PROBABILITIES)
    columns = Columns(["text_a"], "label", "id")
    rows = read_rows(str(tmp_path / "test_predictions.csv"), columns, SINGLE, "train")
    assert [row[1:] for row in rows] == [("k1", 'a "b",\nc', None, "z"), ("k2", "=d", None, "x")]


def findings(kind, labels, gold, predictions, outputs):
    examples = [Example(f"k{n}", "a", "b", label) for n, label in enumerate(gold)]
    scores = {"predictions": np.array(predictions), "outputs": np.array(outputs)}
    return evaluation_findings(Task("", labels, {}, kind), examples, scores)


def test_findings_show_confusions_and_errors_with_their_texts():
    found = findings(SINGLE, ("x", "y", "z"), ["z", "y"], [2, 0], PROBABILITIES)
    assert found.confusion == {("z", "z"): 1, ("y", "x"): 1}
    (error,) = found.errors
    assert (error.id, error.gold, error.predicted) == ("k1", "y", "x")
    assert error.texts == {"first": "a", "second": "b"}
    assert error.probabilities == {"x": 0.5, "y": 0.375, "z": 0.125}


def test_findings_of_several_labels_score_each():
    gold, outputs = [("x",), ("x", "y")], [[0.75, 0.25], [0.25, 0.75]]
    found = findings(MULTI, ("x", "y"), gold, [[1, 0], [0, 1]], outputs)
    assert {label: score.recall for label, score in found.label_scores.items()} == {
        "x": 0.5,
        "y": 1,
    }
    assert [error.predicted for error in found.errors] == [("y",)]


def test_findings_of_numbers_are_points():
    found = findings(REGRESSION, ("value",), [1.0, 4.0], [1.5, -2.0], [[1.5], [-2.0]])
    assert found.points == [(1.0, 1.5), (4.0, -2.0)]
    assert [error.id for error in found.errors] == ["k1", "k0"]
