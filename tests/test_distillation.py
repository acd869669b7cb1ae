"""A student learns from its teacher what the formulas say, and nothing else changes."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_static_shapes import assert_static_and_without_host_calls

from finetuning.distillation import (
    add_projection,
    check_teacher_checkpoint,
    distillation_objective,
    hidden_state_errors,
    load_teacher,
    soft_label_losses,
)
from finetuning.objective import classifier_objective
from finetuning.tasks import KINDS, MULTI, REGRESSION, SINGLE
from modeling import heads
from modeling.bundle import write_bundle
from modeling.heads import BertClassifier
from training.optimizer import AdamWeightDecay
from training.train_step import train_step
from training.weights import checkpoint_variables

LABELS, LENGTH = 3, 11
RNG = np.random.default_rng(5)
LOGITS, TARGETS = (RNG.normal(0, 2, [5, LABELS]).astype(np.float32) for _ in range(2))


@pytest.fixture(autouse=True)
def policy():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def no_dropout(tiny_config, monkeypatch):
    monkeypatch.setattr(heads, "CLASSIFIER_DROPOUT", 0.0)
    return dataclasses.replace(
        tiny_config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


@pytest.fixture
def teacher_config(tiny_config):
    """Deeper and wider than the student, and with much dropout if it were used."""
    return dataclasses.replace(
        tiny_config,
        hidden_size=21,
        num_hidden_layers=3,
        hidden_dropout_prob=0.5,
        attention_probs_dropout_prob=0.5,
    )


def random_batch(size, kind=SINGLE, first_is_real=1):
    rng = np.random.default_rng(size)
    lengths = rng.integers(3, LENGTH + 1, size)
    labels = {
        SINGLE: rng.integers(LABELS, size=size),
        MULTI: rng.integers(2, size=[size, LABELS]),
        REGRESSION: rng.normal(size=size),
    }[kind]
    batch = {
        "input_ids": rng.integers(31, size=[size, LENGTH]),
        "input_mask": np.arange(LENGTH) < lengths[:, np.newaxis],
        "segment_ids": rng.integers(2, size=[size, LENGTH]),
        "is_real_example": [first_is_real] + [1] * (size - 1),
    }
    batch = {name: tf.constant(np.asarray(values, np.int32)) for name, values in batch.items()}
    kind_of_label = np.float32 if kind == REGRESSION else np.int32
    return batch | {"label_ids": tf.constant(labels.astype(kind_of_label))}


def make(config, seed, num_labels=LABELS):
    """Returns a model whose answers differ widely between examples."""
    keras.utils.set_random_seed(seed)
    model = BertClassifier(config, num_labels)
    for variable in model.variables:
        if "LayerNorm" not in variable.path:
            variable.assign((5.0 if "bert/" in variable.path else 50.0) * variable)
    return model


def softmax(logits):
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_soft_labels_have_the_cross_entropy_against_the_teacher(temperature):
    p, q = softmax(TARGETS / temperature), softmax(LOGITS / temperature)
    expected = -(temperature**2) * (p * np.log(q)).sum(-1)
    losses = soft_label_losses(LOGITS, TARGETS, SINGLE, temperature)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_each_of_several_labels_has_a_soft_label(temperature):
    p, q = (1 / (1 + np.exp(-logits / temperature)) for logits in (TARGETS, LOGITS))
    expected = -(temperature**2) * (p * np.log(q) + (1 - p) * np.log(1 - q)).mean(-1)
    losses = soft_label_losses(LOGITS, TARGETS, MULTI, temperature)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_a_number_is_to_be_the_teachers():
    losses = soft_label_losses(LOGITS[:, :1], TARGETS[:, :1], REGRESSION)
    np.testing.assert_allclose(losses, ((LOGITS - TARGETS) ** 2)[:, 0], rtol=1e-6)


def test_hidden_states_have_the_error_to_the_block_at_their_share_of_the_depth():
    states = [RNG.normal(size=[2, 5, 3]).astype(np.float32) for _ in range(3)]
    examples = [RNG.normal(size=[2, 5, 7]).astype(np.float32) for _ in range(5)]
    projection = RNG.normal(size=[3, 7]).astype(np.float32)
    errors = hidden_state_errors(states, examples, projection)
    pairs = zip(states, (examples[1], examples[2], examples[4]), strict=True)
    expected = sum(((s @ projection - e) ** 2).mean(-1) for s, e in pairs)
    np.testing.assert_allclose(errors, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_mean_with_that_of_the_labels_over_real_examples(
    no_dropout, teacher_config, kind
):
    num_labels = 1 if kind == REGRESSION else LABELS
    temperature = 1.0 if kind == REGRESSION else 1.7
    student, teacher = make(no_dropout, 3, num_labels), make(teacher_config, 7, num_labels)
    projection = add_projection(student, teacher)
    batch = random_batch(5, kind, first_is_real=0)
    labels = classifier_objective(kind)
    objective = distillation_objective(labels, teacher, kind, 0.3, temperature, True, projection)
    loss, metrics = objective.loss(student, batch, objective.weights(batch), None)

    logits, outputs = student.logits_and_outputs(batch)
    targets, examples = teacher.logits_and_outputs(batch)
    soft = soft_label_losses(logits, targets, kind, temperature).numpy()[1:].mean()
    errors = hidden_state_errors(outputs.encoder_outputs, examples.encoder_outputs, projection)
    hidden = errors.numpy()[1:][batch["input_mask"].numpy()[1:] == 1].mean()
    hard, _ = labels.loss(student, batch, labels.weights(batch), None)
    assert float(loss) == pytest.approx(0.3 * (soft + hidden) + 0.7 * float(hard), rel=1e-5)
    assert float(metrics["soft_label_loss"]) == pytest.approx(soft, rel=1e-5)
    assert float(metrics["hidden_state_loss"]) == pytest.approx(hidden, rel=1e-5)
    if kind == SINGLE:
        same = np.argmax(logits, -1) == np.argmax(targets, -1)
        assert float(metrics["teacher_agreement"]) == pytest.approx(same[1:].mean())


def test_labels_are_not_read_where_the_teacher_has_all_weight(no_dropout, teacher_config):
    student, teacher = make(no_dropout, 3), make(teacher_config, 7)
    objective = distillation_objective(classifier_objective(), teacher)
    batch = random_batch(5)
    others = batch | {"label_ids": (batch["label_ids"] + 1) % LABELS}
    reports = [objective.loss(student, b, objective.weights(b), None) for b in (batch, others)]
    assert reports[0] == reports[1]
    assert "accuracy" not in reports[0][1]


def test_the_teacher_has_no_dropout_and_no_gradient(no_dropout, teacher_config):
    student, teacher = make(no_dropout, 3), make(teacher_config, 7)
    projection = add_projection(student, teacher)
    objective = distillation_objective(
        classifier_objective(), teacher, with_hidden_states=True, projection=projection
    )
    batch = random_batch(5)
    weights = objective.weights(batch)
    with tf.GradientTape() as tape:
        tape.watch([variable.value for variable in teacher.variables])
        loss, _ = objective.loss(student, batch, weights, tf.constant([3, 5]))
    variables = [variable.value for variable in (*teacher.variables, projection)]
    *of_teacher, of_projection = tape.gradient(loss, variables)
    assert of_teacher == [None] * len(teacher.variables)
    assert np.abs(of_projection).max() > 0
    assert float(objective.loss(student, batch, weights, None)[0]) == float(loss)


def train(strategy, configs, steps, make_objective, micro_batches=1, compiled=False, hidden=True):
    """Trains a student on one batch; returns its losses and variables."""
    with strategy.scope():
        student, teacher = make(configs[0], 3), make(configs[1], 7)
        projection = add_projection(student, teacher) if hidden else None
        objective = make_objective(teacher, projection)
        optimizer = AdamWeightDecay(student.trainable_variables, 1e-2, 1000, 0)

    @tf.function
    def run(batch):
        def step(batch):
            return train_step(student, objective, optimizer, batch, 3, micro_batches, compiled)

        return strategy.run(step, args=(batch,))

    data = tf.data.Dataset.from_tensors(random_batch(12)).unbatch().batch(12, True).repeat(steps)
    losses = [
        float(strategy.experimental_local_results(run(batch)["loss"])[0])
        for batch in strategy.experimental_distribute_dataset(data)
    ]
    values = {n: v.numpy() for n, v in checkpoint_variables(student, optimizer).items()}
    return losses, values, (student, teacher)


def learn_all(teacher, projection):
    return distillation_objective(
        classifier_objective(), teacher, SINGLE, 0.6, 2.0, True, projection
    )


def divergence(student, teacher):
    batch = random_batch(12)
    p, q = (softmax(model(batch).numpy()) for model in (teacher, student))
    return (p * np.log(p / q)).sum(-1).mean()


def test_training_brings_the_student_near_the_teacher(no_dropout, teacher_config):
    def soft_labels(teacher, _):
        return distillation_objective(classifier_objective(), teacher)

    configs, one = (no_dropout, teacher_config), tf.distribute.get_strategy()
    before = divergence(make(no_dropout, 3), make(teacher_config, 7))
    *_, models = train(one, configs, 30, soft_labels, hidden=False)
    assert divergence(*models) < 0.1 * before


def test_training_makes_hidden_states_alike(no_dropout, teacher_config):
    configs, one = (no_dropout, teacher_config), tf.distribute.get_strategy()
    losses, values, _ = train(one, configs, 30, learn_all)
    assert losses[-1] < 0.8 * losses[0]
    assert "distillation_projection/adam_m" in values


def test_without_weight_of_the_teacher_training_is_bit_for_bit_ordinary(
    tiny_config, teacher_config
):
    def nothing_of_the_teacher(teacher, _):
        return distillation_objective(classifier_objective(), teacher, alpha=0.0)

    configs, one = (tiny_config, teacher_config), tf.distribute.get_strategy()
    ours, ordinary = (
        train(one, configs, 3, make_objective, hidden=False)
        for make_objective in (nothing_of_the_teacher, lambda *_: classifier_objective())
    )
    assert ours[0] == ordinary[0]
    for name, values in ordinary[1].items():
        np.testing.assert_array_equal(ours[1][name], values, err_msg=name)


@pytest.mark.parametrize(
    "replicas, micro_batches, compiled",
    [(2, 3, False), pytest.param(1, 2, True, marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_replicas_micro_batches_and_xla_change_nothing(
    no_dropout, teacher_config, replicas, micro_batches, compiled
):
    configs, one = (no_dropout, teacher_config), tf.distribute.get_strategy()
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    strategy = two if replicas == 2 else one
    losses, values, _ = train(one, configs, 3, learn_all)
    found = train(strategy, configs, 3, learn_all, micro_batches, compiled)
    np.testing.assert_allclose(found[0], losses, rtol=1e-5)
    for name in (name for name in values if name.endswith("adam_m")):
        limit = 1e-4 * np.abs(values[name]).max() + 1e-6
        np.testing.assert_allclose(found[1][name], values[name], rtol=0, atol=limit, err_msg=name)


def test_a_step_in_mixed_precision_is_static(tiny_config, teacher_config):
    keras.config.set_dtype_policy("mixed_bfloat16")
    student, teacher = make(tiny_config, 3), make(teacher_config, 7)
    objective = learn_all(teacher, add_projection(student, teacher))
    optimizer = AdamWeightDecay(student.trainable_variables, 1e-2, 10, 0)

    @tf.function(jit_compile=True, autograph=False)
    def step(batch):
        return train_step(student, objective, optimizer, batch, 3, num_micro_batches=3)

    assert_static_and_without_host_calls(step, random_batch(6))


def test_models_of_one_width_need_no_projection(no_dropout):
    student = make(no_dropout, 3)
    assert add_projection(student, make(no_dropout, 7)) is None
    assert not any("projection" in variable.path for variable in student.variables)


def test_a_teacher_is_loaded_from_the_checkpoint_of_a_training(teacher_config, tmp_path):
    teacher = make(teacher_config, 7)
    path = str(tmp_path / "model.ckpt-5")
    write_bundle(path, checkpoint_variables(teacher))
    check_teacher_checkpoint(path, LABELS)
    loaded = load_teacher(teacher_config, LABELS, path)
    np.testing.assert_array_equal(loaded(random_batch(5)), teacher(random_batch(5)))
    assert not loaded.trainable_variables


def test_a_teacher_of_other_labels_or_of_none_is_refused(teacher_config, tmp_path):
    path = str(tmp_path / "model.ckpt-5")
    variables = checkpoint_variables(make(teacher_config, 7))
    write_bundle(path, variables)
    with pytest.raises(ValueError, match="fine-tuned with 3 labels, and the task has 2"):
        check_teacher_checkpoint(path, 2)
    write_bundle(path, {name: v for name, v in variables.items() if name.startswith("bert/")})
    with pytest.raises(ValueError, match="fine-tune the teacher for the task first"):
        check_teacher_checkpoint(path, LABELS)
