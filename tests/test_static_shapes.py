"""Every step has static shapes: it compiles whole, computes the same then, and is traced once."""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetuning import (
    extraction,
    features,
    multiple_choice,
    objective,
    squad_objective,
    squad_records,
    tagging_features,
    tagging_objective,
)
from finetuning.tasks import MULTI, REGRESSION
from modeling import heads
from modeling.config import BertConfig
from modeling.dropout import dropout
from modeling.encoder import BertModel
from pretraining import objective as pretraining_objective
from pretraining import records
from training.batches import eval_batches, train_batches
from training.loop import predict, train
from training.optimizer import AdamWeightDecay
from training.progress import Progress
from training.record_files import scan_files
from training.run_state import RunState
from training.strategy import set_seed_and_precision
from training.train_step import Objective, train_step
from training.weights import checkpoint_variables, load_weights

LENGTH, PREDICTIONS, LABELS = 11, 2, 3
# What the values of a record's features are below; 2 for the others.
LIMITS = {
    "input_ids": 31,
    "masked_lm_ids": 31,
    "masked_lm_positions": 5,
    "start_positions": 5,
    "end_positions": 5,
    "label_ids": LABELS,
    "sequence_starts": LENGTH + 1,
}


class Task(NamedTuple):
    """What a script trains and predicts."""

    make_model: Callable[[BertConfig], keras.Model]
    objective: Objective
    score: Callable
    record_spec: dict


TASKS = {
    "pretraining": Task(
        heads.BertPretrainer,
        pretraining_objective.OBJECTIVE,
        pretraining_objective.sequence_scores,
        records.feature_spec(LENGTH, PREDICTIONS),
    ),
    "packed rows": Task(
        heads.BertPretrainer,
        pretraining_objective.OBJECTIVE,
        pretraining_objective.sequence_scores,
        records.feature_spec(LENGTH, PREDICTIONS, num_slots=3),
    ),
    "classifier": Task(
        functools.partial(heads.BertClassifier, num_labels=LABELS),
        objective.classifier_objective(),
        objective.example_scores(),
        features.feature_spec(LENGTH),
    ),
    "several labels": Task(
        functools.partial(heads.BertClassifier, num_labels=LABELS),
        objective.classifier_objective(MULTI, [1.5] * LABELS),
        objective.example_scores(MULTI),
        features.feature_spec(LENGTH, MULTI, LABELS),
    ),
    "regression": Task(
        functools.partial(heads.BertClassifier, num_labels=1),
        objective.classifier_objective(REGRESSION),
        objective.example_scores(REGRESSION),
        features.feature_spec(LENGTH, REGRESSION),
    ),
    "tagger": Task(
        functools.partial(heads.BertTokenClassifier, num_labels=LABELS),
        tagging_objective.OBJECTIVE,
        tagging_objective.tag_scores,
        tagging_features.feature_spec(LENGTH),
    ),
    "multiple choice": Task(
        heads.BertMultipleChoice,
        objective.classifier_objective(),
        multiple_choice.question_scores,
        multiple_choice.feature_spec(LENGTH, LABELS),
    ),
    "squad": Task(
        heads.BertSpanPredictor,
        squad_objective.span_objective(padding_competes=False),
        squad_objective.feature_scores(padding_competes=False),
        squad_records.feature_spec(LENGTH, for_training=True),
    ),
}


# The other kinds of labels differ in the loss only.
SLOW = {"several labels", "regression"}


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in TASKS]
)
def task(request):
    return TASKS[request.param]


@pytest.fixture
def config(tiny_config):
    return dataclasses.replace(tiny_config, num_hidden_layers=1)


@pytest.fixture(autouse=True)
def policy():
    yield
    keras.config.set_dtype_policy("float32")


def random_batch(spec, size):
    """Returns the features of `size` records, as they are in files."""
    rng = np.random.default_rng(size)
    batch = {
        name: rng.integers(LIMITS.get(name, 2), size=[size, *feature.shape])
        for name, feature in spec.items()
    }
    lengths = rng.integers(5, LENGTH + 1, batch["input_mask"].shape[:-1])
    batch["input_mask"] = (np.arange(LENGTH) < lengths[..., np.newaxis]).astype(int)
    if "sequence_starts" in batch:
        batch["sequence_starts"][:, 0] = 0
        batch["sequence_starts"].sort(axis=1)
    return {name: values.astype(spec[name].dtype.as_numpy_dtype) for name, values in batch.items()}


def as_tensors(batch):
    """Returns the features as `training.batches` gives them to a step."""
    return {
        name: tf.constant(values, tf.int32 if values.dtype == np.int64 else values.dtype)
        for name, values in batch.items()
    }


def write_records(path, batch):
    """Writes the rows of a batch as records and returns the file's name."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in range(len(batch["input_ids"])):
            example = tf.train.Example()
            for name, values in batch.items():
                feature = example.features.feature[name]
                kind = feature.int64_list if values.dtype == np.int64 else feature.float_list
                kind.value.extend(values[row].ravel().tolist())
            writer.write(example.SerializeToString())
    return str(path)


def make(task, config, dtype="float32"):
    """Returns a model and its optimizer, the same ones every time."""
    set_seed_and_precision(7, dtype)
    model = task.make_model(config)
    return model, AdamWeightDecay(model.trainable_variables, 1e-3, 10, 0)


def one_step(task, config, batch, num_micro_batches, dtype, compiled):
    """Makes a step, XLA's compiler around all of it or nowhere; returns what it reports and the variables after it."""
    model, optimizer = make(task, config, dtype)

    def step(batch):
        return train_step(model, task.objective, optimizer, batch, 3, num_micro_batches)

    reports = (tf.function(step, jit_compile=True) if compiled else step)(batch)
    variables = checkpoint_variables(model, optimizer)
    return tuple({n: v.numpy() for n, v in values.items()} for values in (reports, variables))


def kind_of(name):
    """What a variable is: a moment of Adam or a weight."""
    return name[-6:] if name.endswith(("adam_m", "adam_v")) else "weight"


def assert_close(ours, theirs, tolerance):
    """Relative to the largest value of all variables of a kind: some gradients are zero but for rounding."""
    scales = {}
    for name, values in theirs.items():
        scales[kind_of(name)] = max(scales.get(kind_of(name), 0.0), np.abs(values).max())
    for name, values in theirs.items():
        limit = tolerance * scales[kind_of(name)]
        np.testing.assert_allclose(ours[name], values, rtol=0, atol=limit, err_msg=name)


def assert_static_and_without_host_calls(function, batch):
    program = function.experimental_get_compiler_ir(batch)(stage="hlo")
    assert "ENTRY" in program
    assert not re.findall(r"\w+\[[^\]]*<=[^\]]*\]", program)
    assert not re.findall(r" (?:infeed|outfeed|send|recv|custom-call)\(.*", program)


@pytest.fixture
def no_dropout(config, monkeypatch):
    """The configuration of a model that is the same on all devices: which units XLA drops is another matter."""
    monkeypatch.setattr(heads, "CLASSIFIER_DROPOUT", 0.0)
    return dataclasses.replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_compiled_train_step_of_micro_batches_computes_the_same(task, no_dropout, dtype):
    tolerance = {"float32": 1e-5, "bfloat16": 3e-2}[dtype]
    batch = as_tensors(random_batch(task.record_spec, 6))
    plain, expected = one_step(task, no_dropout, batch, 1, dtype, compiled=False)
    compiled, variables = one_step(task, no_dropout, batch, 3, dtype, compiled=True)
    for name in (name for name in plain if "accuracy" not in name):
        np.testing.assert_allclose(compiled[name], plain[name], rtol=tolerance, err_msg=name)
    assert_close(variables, expected, tolerance)


def test_a_train_step_is_static(task, config):
    model, optimizer = make(task, config, "bfloat16")

    @tf.function(jit_compile=True, autograph=False)
    def step(batch):
        return train_step(model, task.objective, optimizer, batch, 3, num_micro_batches=3)

    assert_static_and_without_host_calls(step, as_tensors(random_batch(task.record_spec, 6)))


def test_a_predict_step_is_static_and_computes_the_same(task, config):
    model, _ = make(task, config)
    compiled = tf.function(lambda batch: task.score(model, batch), jit_compile=True)
    batch = as_tensors(random_batch(task.record_spec, 5))
    assert_static_and_without_host_calls(compiled, batch)
    expected = task.score(model, batch)
    for name, values in compiled(batch).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("pooling", extraction.POOLINGS)
def test_vectors_of_texts_are_static_and_the_same(config, pooling):
    set_seed_and_precision(7, "float32")
    model = BertModel(config)
    batch = as_tensors(random_batch(features.feature_spec(LENGTH), 5))

    def vectors(batch):
        return extraction.layer_vectors(model, batch, [-1, 0], pooling)

    compiled = tf.function(vectors, jit_compile=True)
    assert_static_and_without_host_calls(compiled, batch)
    np.testing.assert_allclose(compiled(batch), vectors(batch), rtol=1e-5, atol=1e-6)


def test_dropout_keeps_its_rate_when_it_is_compiled():
    """Its random bits may be others then, and on every kind of device."""
    x = tf.ones([997, 1009])
    y = tf.function(lambda: dropout(x, 0.1, tf.constant([3, 5])), jit_compile=True)().numpy()
    np.testing.assert_allclose(np.mean(y == 0.0), 0.1, atol=2e-3)
    np.testing.assert_allclose(np.mean(y), 1.0, atol=2e-3)


def counted(function, seen):
    """Returns the function; when it is traced, the shapes of the batch it gets are appended to `seen`."""

    @functools.wraps(function)
    def traced(model, batch, *arguments):
        seen.append({name: values.shape for name, values in batch.items()})
        return function(model, batch, *arguments)

    return traced


def assert_shapes(shapes, task, size):
    assert shapes == {name: [size, *feature.shape] for name, feature in task.record_spec.items()}


def test_training_traces_once_and_once_more_to_go_on(task, config, tmp_path):
    seen = []
    counting = task.objective._replace(loss=counted(task.objective.loss, seen))
    file = write_records(tmp_path / "records", random_batch(task.record_spec, 17))
    for run, until in enumerate((4, 9), start=1):
        model, optimizer = make(task, config)
        state = RunState(str(tmp_path / "run"))
        step = load_weights(state, None, model, optimizer)
        train(
            model,
            counting,
            optimizer,
            tf.distribute.get_strategy(),
            train_batches(scan_files([file]), task.record_spec, 6, 5, step),
            state,
            Progress(state.output_dir, 9, 6),
            num_train_steps=until,
            seed=3,
            save_checkpoints_steps=3,
            gradient_accumulation_steps=3,
        )
        assert len(seen) == run
    for shapes in seen:
        assert_shapes(shapes, task, 2)


def test_prediction_traces_once_though_the_last_batch_is_short(task, config, strategy, tmp_path):
    seen = []
    file = write_records(tmp_path / "records", random_batch(task.record_spec, 7))
    with strategy.scope():
        model, _ = make(task, config)
    batches = eval_batches(scan_files([file]), task.record_spec, 4)
    scores = list(predict(model, counted(task.score, seen), batches, strategy))
    replicas = strategy.num_replicas_in_sync
    assert len(scores) == 2 and len(seen) == replicas
    for shapes in seen:
        assert_shapes(shapes, task, 4 // replicas)
