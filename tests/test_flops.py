"""The formula for operations counts what the models compute: compared with the matrix products in their graphs."""

import functools
import math

import pytest
import tensorflow as tf

from finetuning import (
    features,
    multiple_choice,
    objective,
    squad_objective,
    squad_records,
    tagging_features,
    tagging_objective,
)
from modeling import flops, heads
from modeling.config import BertConfig
from pretraining import objective as pretraining_objective
from pretraining import records
from training.optimizer import AdamWeightDecay
from training.train_step import train_step

BATCH, LENGTH, PREDICTIONS, SLOTS, LABELS, CHOICES = 3, 11, 2, 7, 5, 13
TASKS = {
    "pretraining": (
        heads.BertPretrainer,
        pretraining_objective.OBJECTIVE,
        records.feature_spec(LENGTH, PREDICTIONS),
        lambda config: flops.pretraining_flops(config, LENGTH, PREDICTIONS),
    ),
    "packed rows": (
        heads.BertPretrainer,
        pretraining_objective.OBJECTIVE,
        records.feature_spec(LENGTH, PREDICTIONS, num_slots=SLOTS),
        lambda config: flops.pretraining_flops(config, LENGTH, PREDICTIONS, SLOTS),
    ),
    "classifier": (
        functools.partial(heads.BertClassifier, num_labels=LABELS),
        objective.classifier_objective(),
        features.feature_spec(LENGTH),
        lambda config: flops.classifier_flops(config, LENGTH, LABELS),
    ),
    "tagger": (
        functools.partial(heads.BertTokenClassifier, num_labels=LABELS),
        tagging_objective.OBJECTIVE,
        tagging_features.feature_spec(LENGTH),
        lambda config: flops.tagger_flops(config, LENGTH, LABELS),
    ),
    "multiple choice": (
        heads.BertMultipleChoice,
        objective.classifier_objective(),
        multiple_choice.feature_spec(LENGTH, CHOICES),
        lambda config: flops.multiple_choice_flops(config, LENGTH, CHOICES),
    ),
    "squad": (
        heads.BertSpanPredictor,
        squad_objective.span_objective(padding_competes=False),
        squad_records.feature_spec(LENGTH, for_training=True),
        lambda config: flops.span_flops(config, LENGTH),
    ),
}


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


@pytest.fixture
def flat():
    """Puts inner functions into the graph of the outermost one."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def batch_of(spec):
    specs = {
        name: tf.float32 if feature.dtype.is_floating else tf.int32
        for name, feature in spec.items()
    }
    return {name: tf.TensorSpec([BATCH, *spec[name].shape], dtype) for name, dtype in specs.items()}


def operations(function, batch):
    """Returns the multiplications and additions of the matrix products that a function's result or variables need."""
    graph = tf.function(function).get_concrete_function(batch).graph
    wanted = [node.op.name for node in tf.nest.flatten(graph.structured_outputs)]
    wanted += [node.name for node in graph.control_outputs]
    needed = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), wanted).node
    operators = [graph.get_operation_by_name(node.name) for node in needed]
    products = [operator for operator in operators if "MatMul" in operator.type]
    assert products
    return sum(map(multiplied_and_added, products))


def multiplied_and_added(product):
    transposed = product.get_attr("transpose_a" if product.type == "MatMul" else "adj_x")
    inner = product.inputs[0].shape[-2 if transposed else -1]
    return 2 * inner * math.prod(product.outputs[0].shape)


def test_forward_pass(task, tiny_config):
    make_model, _, spec, formula = task
    model = make_model(tiny_config)
    counted = operations(lambda batch: model(batch), batch_of(spec))
    assert BATCH * formula(tiny_config).forward == counted


@pytest.mark.parametrize("rematerialize", [False, True])
def test_train_step(task, tiny_config, rematerialize, flat):
    make_model, objective, spec, formula = task
    model = make_model(tiny_config, rematerialize=rematerialize)
    optimizer = AdamWeightDecay(model.trainable_variables, 1e-3, 10, 2)

    def step(batch):
        return train_step(model, objective, optimizer, batch, seed=0)

    assert BATCH * formula(tiny_config).training(rematerialize) == operations(step, batch_of(spec))


def test_a_token_takes_two_operations_for_each_weight_of_the_blocks_beside_attention():
    base = BertConfig(vocab_size=30522, type_vocab_size=2)
    weights = 12 * (4 * 768**2 + 2 * 768 * 3072)
    attention = 12 * 2 * 2 * 128 * 768  # scores and context over 128 positions
    assert flops.span_flops(base, 128).blocks == 128 * (2 * weights + attention)
