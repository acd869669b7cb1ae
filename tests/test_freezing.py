"""Frozen layers: what is left as it is, what is not computed, and what flags may say."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_flops import batch_of, flat, operations  # noqa: F401

from finetuning.features import feature_spec
from finetuning.freezing import freeze, frozen_blocks
from finetuning.objective import classifier_objective
from modeling.flops import classifier_flops
from modeling.heads import BertClassifier
from training.optimizer import BETA_1, AdamWeightDecay
from training.train_step import train_step
from training.weights import checkpoint_variables

LENGTH, BATCH, LABELS = 11, 5, 3


def made(config, blocks, rematerialize=False, **settings):
    keras.utils.set_random_seed(7)
    model = BertClassifier(config, LABELS, rematerialize)
    freeze(model.bert, blocks)
    return model, AdamWeightDecay(model.trainable_variables, 1e-1, 10, 0, **settings)


def one_batch():
    rng = np.random.default_rng(3)
    ids = rng.integers(1, 31, [BATCH, LENGTH], np.int32)
    return {
        "input_ids": tf.constant(ids),
        "input_mask": tf.ones_like(ids),
        "segment_ids": tf.zeros_like(ids),
        "label_ids": tf.constant([0, 2, 1, 2, 0]),
        "is_real_example": tf.ones([BATCH], tf.int32),
    }


def stepped(model, optimizer):
    before = {name: v.numpy() for name, v in checkpoint_variables(model).items()}
    step = tf.function(lambda batch: train_step(model, classifier_objective(), optimizer, batch, 5))
    report = step(one_batch())
    return before, {n: v.numpy() for n, v in checkpoint_variables(model).items()}, report


def test_what_is_frozen_stays_in_the_checkpoint_and_all_else_is_trained(tiny_config):
    model, optimizer = made(tiny_config, 1)
    before, after, _ = stepped(model, optimizer)
    same = {name for name in before if np.array_equal(before[name], after[name])}
    frozen = ("bert/embeddings/", "bert/encoder/layer_0/")
    assert same == {name for name in before if name.startswith(frozen)}
    slots = {name.rpartition("/")[0] for name in optimizer.checkpoint_variables() if "/" in name}
    assert slots == before.keys() - same


def test_the_norm_is_that_of_what_is_trained(tiny_config):
    model, optimizer = made(tiny_config, 1)
    norm = float(stepped(model, optimizer)[2]["gradient_norm"])
    whole, plain = made(tiny_config, None, clip_norm=0.0)
    stepped(whole, plain)
    # From moments of zero: the first is (1 - beta_1) times the gradient.
    moments = {v.path: m.numpy() for v, m in zip(plain.variables, plain.first, strict=True)}
    squares = [np.sum((moments[v.path] / (1.0 - BETA_1)) ** 2) for v in model.trainable_variables]
    assert norm == pytest.approx(math.sqrt(sum(squares)), rel=1e-5)


@pytest.mark.parametrize(("blocks", "rematerialize"), [(0, False), (1, True), (2, False)])
def test_gradients_of_what_is_frozen_are_not_computed(tiny_config, blocks, rematerialize, flat):  # noqa: F811
    model, optimizer = made(tiny_config, blocks, rematerialize=rematerialize)
    objective = classifier_objective()

    def step(batch):
        return train_step(model, objective, optimizer, batch, seed=0)

    flops = classifier_flops(tiny_config, LENGTH, LABELS).freeze(blocks, 2)
    # The formula counts the gradient by the output of what is frozen, which nothing wants either.
    width = tiny_config.hidden_size
    boundary = 2 * width * width * (1 if blocks == 2 else 3 * LENGTH)
    batch = batch_of(feature_spec(LENGTH))
    size = batch["input_ids"].shape[0]
    assert operations(step, batch) == size * (flops.training(rematerialize) - boundary)


def test_frozen_layers_are_computed_once(tiny_config):
    flops = classifier_flops(tiny_config, LENGTH, LABELS)
    frozen = flops.freeze(1, 2)
    assert frozen.forward == flops.forward
    assert flops.training() - frozen.training() == flops.embeddings + flops.blocks


def test_the_flag_is_embeddings_or_a_number_of_blocks():
    assert frozen_blocks(None, 5) is None
    assert [frozen_blocks(text, 5) for text in ("embeddings", "1", "5")] == [0, 1, 5]


@pytest.mark.parametrize("text", ["0", "6", "-1", "1.5", "", "pooler"])
def test_another_flag_is_refused(text):
    with pytest.raises(ValueError, match=f"--freeze={text}: give embeddings, or .* from 1 to 5"):
        frozen_blocks(text, 5)
