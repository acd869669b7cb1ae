"""Layer normalisation as the original computes it (Ba et al. 2016; `layer_norm` of the original's modeling.py)."""

import keras
import tensorflow as tf

EPSILON = 1e-12


class LayerNorm(keras.layers.Layer):
    """Normalises the last axis, then scales by `gamma` and shifts by `beta`; statistics are float32 in any precision.

    Call: x float [N, H] -> same dtype [N, H].
    """

    def __init__(self, size: int, name: str = "LayerNorm"):
        # float32 variables, and inputs are not cast: the statistics need float32, the result keeps the input's dtype.
        super().__init__(name=name, dtype="float32", autocast=False)
        self.size = size

    def build(self):
        self.beta = self.add_weight(shape=[self.size], initializer="zeros", name="beta")
        self.gamma = self.add_weight(shape=[self.size], initializer="ones", name="gamma")

    def call(self, x):
        y = tf.cast(x, tf.float32)  # [N, H]
        mean, variance = tf.nn.moments(y, axes=[-1], keepdims=True)  # [N, 1]
        scale = tf.math.rsqrt(variance + EPSILON) * self.gamma  # [N, H]
        return tf.cast(y * scale + (self.beta - mean * scale), x.dtype)  # [N, H]
