"""Dropout from an explicit seed.

Keras' own dropout draws the same mask on every replica and a new one when a block is rematerialised. Here the mask is
a function of the seed alone, so that resuming, replicas and rematerialisation are exact.
"""

import tensorflow as tf


def dropout(x: tf.Tensor, rate: float, seed: tf.Tensor | None) -> tf.Tensor:
    """Returns `x` with elements zeroed with probability `rate` and the others scaled by 1 / (1 - rate).

    16 random bits decide for an element (half the work of the usual 32), so `rate` is rounded to a multiple of 2^-16;
    the scale uses the rounded rate, which keeps the expectation exact.

    Args:
      x: float [...]. Activations.
      rate: probability of dropping, in [0, 1).
      seed: int32 [2], or None to leave `x` as it is (evaluation).
    """
    threshold = round(rate * 2**16)
    if seed is None or not threshold:
        return x
    size = tf.size(x)
    words = tf.random.stateless_uniform(
        [(size + 1) // 2], seed, minval=None, maxval=None, dtype=tf.uint32
    )
    bits = tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:size]
    keep = tf.reshape(tf.cast(bits, tf.int32) >= threshold, tf.shape(x))
    scale = tf.cast(2**16 / (2**16 - threshold), x.dtype)
    return tf.where(keep, x * scale, tf.zeros([], x.dtype))


def fold_in(seed: tf.Tensor | None, number) -> tf.Tensor | None:
    """Returns a seed of its own for `number` (a layer, a replica, a step); None stays None.

    Args:
      seed: int32 [2], or None.
      number: integer, or integer scalar tensor.
    """
    if seed is None:
        return None
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int32))
