"""The pre-training loss where sequences have no next sentence label."""

import numpy as np
import pytest
import tensorflow as tf

from pretraining.objective import (
    MASKED_LM_OBJECTIVE,
    OBJECTIVE,
    evaluation_metrics,
    sequence_scores,
)


def losses(objective, model, batch):
    total, metrics = objective.loss(model, batch, objective.weights(batch), None)
    return {"loss": float(total)} | {name: float(value) for name, value in metrics.items()}


def labelled(batch, *labels):
    return batch | {"next_sentence_labels": tf.constant([[label] for label in labels])}


def row(batch, number):
    return {name: values[number : number + 1] for name, values in batch.items()}


@pytest.mark.parametrize("number, labels", [(0, (1, -1)), (1, (-1, 0))])
def test_the_next_sentence_loss_is_the_mean_over_labelled_sequences(sine_model, number, labels):
    model, batch = sine_model
    batch = labelled(batch, *labels)
    alone = losses(OBJECTIVE, model, row(batch, number))
    both = losses(OBJECTIVE, model, batch)
    assert both["next_sentence_loss"] == pytest.approx(alone["next_sentence_loss"], rel=1e-6)
    assert both["loss"] == pytest.approx(both["masked_lm_loss"] + both["next_sentence_loss"])


def test_without_labels_the_loss_is_that_of_masked_tokens(sine_model):
    model, batch = sine_model
    found = losses(OBJECTIVE, model, labelled(batch, -1, -1))
    assert found["next_sentence_loss"] == 0.0
    assert (
        found["loss"]
        == found["masked_lm_loss"]
        == losses(OBJECTIVE, model, batch)["masked_lm_loss"]
    )


def test_without_labels_the_head_gets_gradients_of_0(sine_model):
    model, batch = sine_model
    batch = labelled(batch, -1, -1)
    with tf.GradientTape() as tape:
        loss, _ = MASKED_LM_OBJECTIVE.loss(model, batch, MASKED_LM_OBJECTIVE.weights(batch), None)
    head = model.next_sentence.output_weights
    assert not tape.gradient(loss, head.value).numpy().any()


def test_records_without_labels_report_no_next_sentence_loss(sine_model):
    model, batch = sine_model
    batch = labelled(batch, -1, -1)
    expected = losses(OBJECTIVE, model, batch)
    del expected["next_sentence_loss"]
    assert losses(MASKED_LM_OBJECTIVE, model, batch) == expected


def scores(model, batch):
    return {name: values.numpy() for name, values in sequence_scores(model, batch).items()}


def test_evaluation_averages_over_labelled_sequences(sine_model):
    model, batch = sine_model
    mixed = [scores(model, labelled(batch, 1, -1)), scores(model, labelled(batch, -1, -1))]
    found, alone = evaluation_metrics(mixed), scores(model, labelled(batch, 1, 0))
    assert found["next_sentence_loss"] == pytest.approx(alone["next_sentence_loss"][0], rel=1e-6)
    assert found["next_sentence_accuracy"] == alone["next_sentence_correct"][0]
    expected = found["masked_lm_loss"] + found["next_sentence_loss"] / 2
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_evaluation_leaves_out_a_task_without_labels(sine_model):
    model, batch = sine_model
    found = evaluation_metrics([scores(model, labelled(batch, -1, -1))])
    assert {*found} == {"loss", "masked_lm_accuracy", "masked_lm_loss"}
    assert all(map(np.isfinite, found.values()))
