"""Activation functions by their name in `bert_config.json`."""

import tensorflow as tf


def gelu(x: tf.Tensor) -> tf.Tensor:
    """The tanh form of the Gaussian error linear unit (Hendrycks and Gimpel 2016), which the original computes."""
    return tf.nn.gelu(x, approximate=True)


def gelu_erf(x: tf.Tensor) -> tf.Tensor:
    """The exact form, x * Phi(x): what "gelu" means to weights that come from PyTorch."""
    return tf.nn.gelu(x, approximate=False)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_erf": gelu_erf,
    "relu": tf.nn.relu,
    "tanh": tf.tanh,
    "linear": tf.identity,
}
