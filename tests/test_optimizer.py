"""The update rule and the schedule against values recorded from the original."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.optimizer import AdamWeightDecay, learning_rate


def variable(values, path):
    *scopes, name = path.split("/")
    with contextlib.ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        return keras.Variable(np.array(values, np.float32), name=name)


def optimizer(variables, **options):
    settings = dict(peak=0.1, num_train_steps=10, num_warmup_steps=3)
    return AdamWeightDecay(variables, **{**settings, **options})


def test_updates_equal_the_original():
    """Section 3.2 of the specification, while its recording reads the rate before the step moves."""
    x, bias = variable([1, -2], "x"), variable([1, -2], "bias")
    adam = optimizer([x, bias])
    for expected in ([1, -2], [0.8580242, -2.1409786], [0.5274565, -2.4695518]):
        adam.apply([tf.constant([0.3, 0.4]), tf.constant([0.5, 0.5])])
        np.testing.assert_allclose(x, expected, rtol=1e-6)


def test_ten_updates_are_the_formula():
    x, bias = variable([1, -2], "x"), variable([1, -2], "bias")
    adam = optimizer([x, bias])
    expected = {"x": np.array([1.0, -2.0]), "bias": np.array([1.0, -2.0])}
    gradients = {"x": np.array([0.3, 0.4]), "bias": np.array([0.5, 0.5])}
    for step in range(10):
        adam.apply([tf.constant(gradients[name], tf.float32) for name in ("x", "bias")])
        rate = 0.1 * (step / 3 if step < 3 else 1 - step / 10)
        for name, g in gradients.items():
            m, v = g * (1 - 0.9 ** (step + 1)), g**2 * (1 - 0.999 ** (step + 1))
            decay = 0.01 * expected[name] if name == "x" else 0
            expected[name] = expected[name] - rate * (m / (np.sqrt(v) + 1e-6) + decay)
    np.testing.assert_allclose(x, expected["x"], rtol=1e-5)
    np.testing.assert_allclose(bias, expected["bias"], rtol=1e-5)


def test_a_quadratic_is_minimised():
    """The original's own test: three numbers fitted to a target in a hundred steps."""
    x = variable([0.1, -0.2, -0.1], "x")
    adam = optimizer([x], peak=0.2, num_train_steps=100, num_warmup_steps=0)
    target = tf.constant([0.4, 0.2, -0.5])
    for _ in range(100):
        adam.apply([2 / 3 * (x.value - target)])
    np.testing.assert_allclose(x, target, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.0), (1, 0.02), (4, 0.08), (5, 0.1 * (1 - 5 / 20)), (19, 0.1 / 20), (20, 0.0), (23, 0.0)],
)
def test_rate_warms_up_from_zero_and_decays_from_step_zero(step, expected):
    rate = learning_rate(tf.constant(step, tf.int64), 0.1, 20, 5)
    assert float(rate) == pytest.approx(expected, rel=1e-6)


def test_without_warm_up_the_first_rate_is_the_peak():
    assert float(learning_rate(tf.constant(0), 0.1, 20, 0)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "path", ["encoder/LayerNorm/gamma", "encoder/LayerNorm/beta", "dense/bias", "output_bias"]
)
def test_norms_and_biases_are_not_decayed(path):
    excluded = variable([3.0], path)
    optimizer([excluded], num_warmup_steps=0).apply([tf.zeros([1])])
    np.testing.assert_array_equal(excluded, [3.0])


@pytest.mark.parametrize("path", ["bert/embeddings/word_embeddings", "dense/kernel"])
def test_kernels_and_embeddings_are_decayed_without_gradient(path):
    decayed = variable([3.0], path)
    optimizer([decayed], num_warmup_steps=0).apply([tf.zeros([1])])
    np.testing.assert_allclose(decayed, [3.0 * (1 - 0.1 * 0.01)], rtol=1e-6)


def test_gradients_are_clipped_together_to_norm_one():
    x, y = variable([0.0], "x"), variable([0.0], "y")
    adam = optimizer([x, y], num_warmup_steps=0)
    report = adam.apply([tf.constant([3.0]), tf.constant([4.0])])
    assert float(report["gradient_norm"]) == pytest.approx(5.0)
    np.testing.assert_allclose([m.numpy()[0] for m in adam.first], [0.06, 0.08], rtol=1e-6)


def test_bias_correction_makes_the_first_update_one_rate_long():
    plain, corrected = variable([0.0], "bias"), variable([0.0], "bias")
    optimizer([plain], num_warmup_steps=0).apply([tf.constant([0.5])])
    optimizer([corrected], num_warmup_steps=0, bias_correction=True).apply([tf.constant([0.5])])
    np.testing.assert_allclose(plain, [-0.1 * 0.1 / np.sqrt(0.001)], rtol=1e-4)
    np.testing.assert_allclose(corrected, [-0.1], rtol=1e-4)
