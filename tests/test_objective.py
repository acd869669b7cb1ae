"""What fine-tuning minimises: one label, several, a number; and what evaluation makes of the scores."""

import numpy as np
import pytest
import tensorflow as tf

from finetuning.objective import (
    classifier_objective,
    evaluation_metrics,
    example_scores,
    in_file_order,
    original_metrics,
)
from finetuning.tasks import MULTI, REGRESSION, SINGLE, TASKS, Task

LOGITS = np.array([[0.5, -1.0, 2.0], [0.0, 1.5, -0.5], [1.0, 1.1, 0.2], [9.0, 9.0, 9.0]])
REAL = [1, 1, 1, 0]
LABELS = {
    SINGLE: [2, 0, 1, 0],
    MULTI: [[0, 0, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]],
    REGRESSION: [1.5, -1.0, 0.25, 0.0],
}
WEIGHTS = [0.5, 3.0, 2.0]


def batch(kind):
    return {
        "input_mask": tf.ones([4, 1], tf.int32),
        "label_ids": tf.constant(LABELS[kind], tf.float32 if kind == REGRESSION else tf.int32),
        "is_real_example": tf.constant(REAL),
    }


def model(batch, seed=None):
    """A model that answers what the tests know."""
    return tf.constant(
        LOGITS if batch["label_ids"].dtype == tf.int32 else LOGITS[:, :1], tf.float32
    )


def loss_of(kind, label_weights=None):
    objective = classifier_objective(kind, label_weights)
    weights = objective.weights(batch(kind))
    loss, metrics = objective.loss(model, batch(kind), weights, None)
    return float(loss), {name: float(value) for name, value in metrics.items()}


def cross_entropies():
    exponentials = np.exp(LOGITS)
    return -np.log(exponentials / exponentials.sum(1, keepdims=True))


def test_one_label_has_the_mean_cross_entropy_of_the_real_examples():
    loss, metrics = loss_of(SINGLE)
    losses = cross_entropies()
    assert loss == pytest.approx((losses[0, 2] + losses[1, 0] + losses[2, 1]) / 3)
    assert metrics == {"accuracy": pytest.approx(2 / 3)}


def test_weights_of_labels_make_a_weighted_mean_and_leave_accuracy_alone():
    loss, metrics = loss_of(SINGLE, WEIGHTS)
    losses = cross_entropies()
    total = 2.0 * losses[0, 2] + 0.5 * losses[1, 0] + 3.0 * losses[2, 1]
    assert loss == pytest.approx(total / (2.0 + 0.5 + 3.0))
    assert metrics == {"accuracy": pytest.approx(2 / 3)}


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_several_labels_have_a_sigmoid_each(weights):
    loss, metrics = loss_of(MULTI, weights)
    probabilities = 1 / (1 + np.exp(-LOGITS[:3]))
    right = np.array(LABELS[MULTI][:3])
    gains = right * np.log(probabilities) * (weights or 1.0)
    losses = -(gains + (1 - right) * np.log(1 - probabilities))
    assert loss == pytest.approx(losses.mean(), rel=1e-5)
    # Wrong: label 0 of the first, 0 of the second, all of the third.
    assert metrics == {"label_accuracy": pytest.approx(4 / 9)}


def test_a_number_has_the_mean_squared_error():
    loss, metrics = loss_of(REGRESSION)
    assert loss == pytest.approx((1.0**2 + 1.0**2 + 0.75**2) / 3)
    assert not metrics


@pytest.mark.parametrize("kind", [SINGLE, MULTI, REGRESSION])
def test_parts_of_a_batch_add_up_to_the_whole(kind):
    objective = classifier_objective(kind, None if kind == REGRESSION else WEIGHTS)
    whole = batch(kind)
    weights = objective.weights(whole)
    parts = [{name: values[i : i + 1] for name, values in whole.items()} for i in range(4)]
    sums = [objective.weights(part) for part in parts]
    assert {name: sum(float(s[name]) for s in sums) for name in weights} == pytest.approx(
        {name: float(value) for name, value in weights.items()}
    )

    def row_of(number):
        return lambda part, seed: model(whole)[number : number + 1]

    losses = [objective.loss(row_of(i), part, weights, None)[0] for i, part in enumerate(parts)]
    expected = objective.loss(model, whole, weights, None)[0]
    assert sum(float(loss) for loss in losses) == pytest.approx(float(expected))


def scores_of(kind):
    found = example_scores(kind)(model, batch(kind))
    return [{name: values.numpy() for name, values in found.items()}]


def task_of(kind, *metrics):
    return Task("", ("a", "b", "c"), {}, kind, metrics)


def test_predictions_are_the_likeliest_label_the_likely_ones_or_the_number():
    assert scores_of(SINGLE)[0]["predictions"].tolist()[:3] == [2, 1, 1]
    expected = [[1, 0, 1], [0, 1, 0], [1, 1, 1]]
    assert scores_of(MULTI)[0]["predictions"].tolist()[:3] == expected
    np.testing.assert_allclose(scores_of(REGRESSION)[0]["predictions"], LOGITS[:, 0])


def test_outputs_are_probabilities_or_the_number():
    outputs = {kind: scores_of(kind)[0]["outputs"] for kind in LABELS}
    np.testing.assert_allclose(outputs[SINGLE], np.exp(-cross_entropies()), rtol=1e-5)
    np.testing.assert_allclose(outputs[MULTI], 1 / (1 + np.exp(-LOGITS)), rtol=1e-5)
    np.testing.assert_allclose(outputs[REGRESSION], LOGITS[:, :1])


def test_evaluation_leaves_out_what_fills_a_batch():
    results = evaluation_metrics(scores_of(SINGLE), task_of(SINGLE, "accuracy", "f1_macro"))
    losses = cross_entropies()
    assert results["eval_loss"] == pytest.approx((losses[0, 2] + losses[1, 0] + losses[2, 1]) / 3)
    assert results["eval_accuracy"] == np.float32(2 / 3)
    assert results["eval_f1_macro"] == pytest.approx((0 + 2 / 3 + 1) / 3)
    assert {type(value) for value in results.values()} == {np.float32}


def test_the_loss_of_the_original_is_the_mean_over_batches():
    short = {name: values[2:] for name, values in scores_of(REGRESSION)[0].items()}
    results = evaluation_metrics([*scores_of(REGRESSION), short], task_of(REGRESSION))
    assert results["loss"] == pytest.approx(((1 + 1 + 0.75**2) / 3 + 0.75**2) / 2)
    assert results["eval_loss"] == pytest.approx((1 + 1 + 2 * 0.75**2) / 4)


def test_metrics_are_those_of_the_task():
    multi = evaluation_metrics(scores_of(MULTI), task_of(MULTI, "exact_match"))
    assert (
        multi.keys() == {"eval_exact_match", "eval_loss", "loss"} and not multi["eval_exact_match"]
    )
    number = evaluation_metrics(scores_of(REGRESSION), task_of(REGRESSION, "pearson"))
    expected = np.corrcoef(LABELS[REGRESSION][:3], LOGITS[:3, 0])[0, 1]
    assert number["eval_pearson"] == pytest.approx(expected)


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.is_of_original])
def test_the_results_of_the_original_are_there_for_its_tasks(task):
    right = scores_of(SINGLE)
    binary = [
        {
            **right[0],
            "predictions": right[0]["predictions"] % 2,
            "label_ids": np.array([0, 1, 1, 0]),
        }
    ]
    results = evaluation_metrics(binary, task)
    assert original_metrics(results).keys() == {"eval_accuracy", "eval_loss", "loss"}
    assert {f"eval_{name}" for name in task.metrics} <= results.keys()


def test_scores_of_batches_of_another_order_are_as_of_the_file():
    order = np.array([3, 0, 4, 1, 2])
    real = [[1, 1, 1], [1, 1, 0]]
    batches = [
        {"loss": np.array([0.3, 0.0, 0.4]), "is_real_example": np.array(real[0])},
        {"loss": np.array([0.1, 0.2, 9.0]), "is_real_example": np.array(real[1])},
    ]
    found = in_file_order(batches, order, 2)
    assert [part["loss"].tolist() for part in found] == [[0.0, 0.1], [0.2, 0.3], [0.4]]
    assert all(part["is_real_example"].all() for part in found)
