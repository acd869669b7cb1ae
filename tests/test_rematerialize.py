"""Rematerialisation changes memory and nothing else; dropout is on wherever results are compared."""

import dataclasses
import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.rematerialize import in_a_process, measure
from finetuning.objective import classifier_objective
from finetuning.squad_objective import span_objective
from modeling.encoder import BertModel
from modeling.heads import BertClassifier, BertPretrainer, BertSpanPredictor
from pretraining.objective import OBJECTIVE
from training.optimizer import AdamWeightDecay
from training.strategy import set_seed_and_precision
from training.train_step import train_step
from training.weights import checkpoint_variables

BLOCKS = 2  # of tiny_config
LABELS = {
    "label_ids": [0, 1, 2, 1, 0, 1],
    "is_real_example": [1, 1, 1, 1, 1, 0],
    "start_positions": [1, 2, 0, 3, 1, 0],
    "end_positions": [2, 2, 0, 4, 3, 1],
}


@pytest.fixture(autouse=True)
def float32_after():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def as_it_is_written():
    """Without Grappler, which rounds differently by what it can join in a graph."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@pytest.fixture
def batch(pretraining_batches):
    """Six records with the labels of every task."""
    values = {name: values[0] for name, values in pretraining_batches(1, 6).items()}
    return {name: tf.constant(value) for name, value in {**values, **LABELS}.items()}


def loss_and_gradients(model, batch, seed):
    with tf.GradientTape() as tape:
        loss, _ = OBJECTIVE.loss(model, batch, OBJECTIVE.weights(batch), seed)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


@pytest.mark.parametrize("seed", [(3, 5), None])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gradients_are_equal_bit_for_bit(tiny_config, batch, dtype, seed):
    results = []
    for rematerialize in (False, True):
        set_seed_and_precision(7, dtype)
        model = BertPretrainer(tiny_config, rematerialize=rematerialize)
        results.append(loss_and_gradients(model, batch, seed and tf.constant(seed)))
    (loss, gradients), (same_loss, same) = results
    assert same_loss == loss
    for variable, ours, theirs in zip(model.trainable_variables, same, gradients, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=variable.path)


def train(strategy, config, arrays, dtype, num_micro_batches, rematerialize):
    """Trains on arrays [steps, batch, ...] and returns the losses and all variables."""
    set_seed_and_precision(7, dtype)
    with strategy.scope():
        model = BertPretrainer(config, rematerialize=rematerialize)
        adam = AdamWeightDecay(model.trainable_variables, 1e-2, 10, 0)

    @tf.function
    def step(batch):
        part = functools.partial(train_step, model, OBJECTIVE, adam)
        return strategy.run(part, args=(batch, 3, num_micro_batches))["loss"]

    dataset = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(arrays))
    losses = [strategy.experimental_local_results(step(batch))[0].numpy() for batch in dataset]
    variables = checkpoint_variables(model, adam)
    return losses, {name: variable.numpy() for name, variable in variables.items()}


@pytest.mark.parametrize("dtype, num_micro_batches", [("float32", 1), ("bfloat16", 3)])
def test_training_is_equal_bit_for_bit(
    as_it_is_written, strategy, tiny_config, pretraining_batches, dtype, num_micro_batches
):
    arguments = (strategy, tiny_config, pretraining_batches(3, 6), dtype, num_micro_batches)
    (losses, variables), (same_losses, same) = (
        train(*arguments, choice) for choice in (False, True)
    )
    assert same_losses == losses
    for name, values in variables.items():
        np.testing.assert_array_equal(same[name], values, err_msg=name)


def test_training_is_equal_to_rounding_in_optimised_graphs(tiny_config, pretraining_batches):
    arguments = (tf.distribute.get_strategy(), tiny_config, pretraining_batches(5, 6), "float32", 3)
    losses, same_losses = (train(*arguments, choice)[0] for choice in (False, True))
    np.testing.assert_allclose(same_losses, losses, rtol=1e-6)


def gradients_of_a_block(config, batch, seed, rematerialize):
    """Returns a function that XLA compiles, of an encoder with one block."""
    set_seed_and_precision(7, "float32")
    config = dataclasses.replace(config, num_hidden_layers=1)
    model = BertModel(config, rematerialize=rematerialize)
    variables = [variable.value for variable in model.blocks[0].trainable_variables]

    @tf.function(jit_compile=True, autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            y = model(batch["input_ids"], batch["input_mask"], seed=seed).sequence_output
            loss = tf.reduce_sum(y**3)
        return tape.gradient(loss, variables)

    return gradients


def test_gradients_under_xla_are_equal_to_rounding(tiny_config, batch):
    arguments = (tiny_config, batch, tf.constant([3, 5]))
    expected, same = (gradients_of_a_block(*arguments, choice)() for choice in (False, True))
    scale = max(np.abs(gradient).max() for gradient in expected)
    for ours, theirs in zip(same, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * scale)


def test_xla_does_not_merge_the_second_pass_with_the_first(tiny_config, batch):
    plain, again = (
        gradients_of_a_block(tiny_config, batch, None, choice).experimental_get_compiler_ir()
        for choice in (False, True)
    )
    count = [len(re.findall(r" dot\(", program("optimized_hlo"))) for program in (plain, again)]
    assert count[1] >= count[0] + 6  # products of a block


def softmaxes(make_model, objective, batch, **options):
    """Returns how many softmaxes a traced train step computes: one of each block's attention, and others."""
    model = make_model(**options)
    adam = AdamWeightDecay(model.trainable_variables, 1e-2, 10, 0)
    step = tf.function(lambda: train_step(model, objective, adam, batch, 3))
    functions = step.get_concrete_function().graph.as_graph_def().library.function
    return sum(node.op == "Softmax" for function in functions for node in function.node_def)


@pytest.mark.parametrize(
    "model, objective",
    [
        (BertPretrainer, OBJECTIVE),
        (functools.partial(BertClassifier, num_labels=3), classifier_objective()),
        (BertSpanPredictor, span_objective(padding_competes=True)),
    ],
    ids=["pretraining", "classifier", "squad"],
)
def test_every_model_computes_every_block_twice(tiny_config, batch, model, objective):
    make_model = functools.partial(model, tiny_config)
    plain = softmaxes(make_model, objective, batch)
    assert softmaxes(make_model, objective, batch, rematerialize=True) == plain + BLOCKS


@pytest.mark.slow
def test_activation_memory_falls_to_less_than_half():
    plain, again = (
        in_a_process(measure, rematerialize, "float32", 5, 128, 256, 16)
        for rematerialize in (False, True)
    )
    assert again.growth < plain.growth / 2
