"""Activation functions by their name in `bert_config.json`."""

import tensorflow as tf


def gelu(x: tf.Tensor) -> tf.Tensor:
    """The tanh form of the Gaussian error linear unit (Hendrycks and Gimpel 2016), which the original computes."""
    return tf.cast(tf.nn.gelu(_with_range(x), approximate=True), x.dtype)


def gelu_erf(x: tf.Tensor) -> tf.Tensor:
    """The exact form, x * Phi(x): what "gelu" means to weights that come from PyTorch."""
    return tf.cast(tf.nn.gelu(_with_range(x), approximate=False), x.dtype)


def _with_range(x):
    """Powers of what float16 holds leave it: x ** 3 from 41 on, and from 256 on the gradient is not a number."""
    return tf.cast(x, tf.float32) if x.dtype == tf.float16 else x


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_erf": gelu_erf,
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
    "linear": tf.identity,
}
