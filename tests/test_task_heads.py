"""The models of tagging and multiple choice: what each output depends on, and what their checkpoints hold."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from modeling.heads import BertMultipleChoice, BertTokenClassifier

TAGS, CHOICES, LENGTH = 5, 3, 11


@pytest.fixture
def tagger(tiny_config):
    keras.utils.set_random_seed(3)
    return BertTokenClassifier(tiny_config, TAGS)


@pytest.fixture
def chooser(tiny_config):
    keras.utils.set_random_seed(3)
    return BertMultipleChoice(tiny_config)


def inputs(*shape):
    rng = np.random.default_rng(5)
    lengths = rng.integers(4, LENGTH, shape)[..., None]
    mask = np.arange(LENGTH) < lengths
    return {
        "input_ids": tf.constant(rng.integers(1, 31, [*shape, LENGTH]) * mask, tf.int32),
        "input_mask": tf.constant(mask, tf.int32),
        "segment_ids": tf.constant((np.arange(LENGTH) > 2) & mask, tf.int32),
    }


def test_each_position_is_classified_from_its_own_output(tagger):
    batch = inputs(2)
    outputs = tagger.bert(*batch.values()).sequence_output.numpy()
    weights, bias = (v.numpy() for v in (tagger.classifier.weights))
    np.testing.assert_allclose(tagger(batch), outputs @ weights.T + bias, atol=1e-6)


def test_each_choice_is_scored_by_itself(chooser):
    batch = inputs(2, CHOICES)
    logits = chooser(batch).numpy()
    assert logits.shape == (2, CHOICES)
    for number in range(CHOICES):
        alone = chooser({name: values[:, number : number + 1] for name, values in batch.items()})
        np.testing.assert_allclose(alone[:, 0], logits[:, number], atol=1e-6)


def test_variables_of_the_heads_are_named_and_shaped_as_in_other_checkpoints(tagger, chooser):
    for model, rows in ((tagger, TAGS), (chooser, 1)):
        shapes = {v.path: v.shape for v in model.variables if not v.path.startswith("bert/")}
        assert shapes == {"output_weights": (rows, 15), "output_bias": (rows,)}


def test_only_the_pooler_that_a_tagger_does_not_read_is_not_trained(tagger, chooser):
    trained = {v.path for v in tagger.trainable_variables}
    rest = {v.path for v in tagger.variables} - trained
    assert rest == {"bert/pooler/dense/kernel", "bert/pooler/dense/bias"}
    assert len(chooser.trainable_variables) == len(chooser.variables)


@pytest.mark.parametrize("name", ["tagger", "chooser"])
def test_dropout_is_a_function_of_the_seed(name, request):
    model = request.getfixturevalue(name)
    batch = inputs(2) if name == "tagger" else inputs(2, CHOICES)
    one, same, other = (model(batch, seed=tf.constant([7, n])) for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
