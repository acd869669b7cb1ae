"""The metrics of tasks, against their definitions written out."""

import math
import warnings

import numpy as np
import pytest

from finetuning.metrics import METRICS
from finetuning.tasks import TASKS

RIGHT = np.array([1, 1, 1, 0, 0, 1, 0])
MADE = np.array([1, 0, 1, 1, 0, 1, 0])  # 3 true positives, 1 false one, 1 missed, 2 true negatives


@pytest.mark.parametrize(
    "name, expected",
    [
        ("accuracy", 5 / 7),
        ("f1", 2 * 3 / (2 * 3 + 1 + 1)),
        ("f1_macro", (2 * 3 / 8 + 2 * 2 / 6) / 2),
        ("matthews", (3 * 2 - 1 * 1) / math.sqrt(4 * 4 * 3 * 3)),
    ],
)
def test_answers_of_two_labels_are_scored_by_the_counts(name, expected):
    assert METRICS[name](RIGHT, MADE) == pytest.approx(expected)


def test_matthews_of_three_labels_is_that_of_their_covariances():
    right, made = np.array([0, 1, 2, 2, 1, 0, 1]), np.array([0, 2, 2, 1, 1, 0, 0])
    x, y = np.eye(3)[right], np.eye(3)[made]

    def covariance(a, b):
        return ((a - a.mean(0)) * (b - b.mean(0))).sum()

    expected = covariance(x, y) / math.sqrt(covariance(x, x) * covariance(y, y))
    assert METRICS["matthews"](right, made) == pytest.approx(expected)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("exact_match", 1 / 3),
        ("f1_micro", 2 * 3 / (2 * 3 + 1 + 2)),
        ("f1_macro", (2 / 3 + 1 + 0) / 3),
    ],
)
def test_several_labels_are_scored_one_by_one_or_all_together(name, expected):
    right = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 0]])
    made = np.array([[0, 0, 0], [1, 1, 0], [0, 1, 1]])
    assert METRICS[name](right, made) == pytest.approx(expected)


def test_answers_that_are_all_the_same_have_no_correlation_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert METRICS["matthews"](RIGHT, np.ones(7, int)) == 0
        assert METRICS["f1"](RIGHT, np.zeros(7, int)) == 0
        for name in ("pearson", "spearman"):
            assert math.isnan(METRICS[name](np.arange(3.0), np.full(3, 2.5)))
            assert math.isnan(METRICS[name](np.array([2.0]), np.array([2.5])))


def test_pearson_is_linear_and_spearman_of_ranks():
    right = np.array([0.0, 1.0, 2.0, 5.0, 3.0], np.float32)
    assert METRICS["pearson"](right, 3 - 2 * right) == pytest.approx(-1)
    assert METRICS["spearman"](right, np.exp(right)) == pytest.approx(1)
    made = np.exp(right)
    a, b = right - right.mean(), made - made.mean()
    expected = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    assert METRICS["pearson"](right, made) == pytest.approx(expected, rel=1e-5)


def test_every_metric_of_a_task_exists():
    assert {name for task in TASKS.values() for name in task.metrics} <= METRICS.keys()
