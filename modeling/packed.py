"""Rows that hold several sequences, each computed as if it were alone in its row (Krell et al. 2021, arXiv:2107.02027).

`sequence_starts` int32 [B, K] tells where each sequence of a row begins: ascending from 0, and S for an empty slot.
Without it a row is one sequence.
Shapes: B batch, S positions of a row, K sequences in a row at most, H hidden.
"""

import tensorflow as tf


def attention_mask(input_mask: tf.Tensor, sequence_starts: tf.Tensor | None = None) -> tf.Tensor:
    """Returns int32 [B, 1, S] for rows of one sequence, else [B, S, S]: 1 where a position may look at another.

    Args:
      input_mask: int32 [B, S]. 1 = real token.
      sequence_starts: int32 [B, K], or None.
    """
    if sequence_starts is None:
        return input_mask[:, tf.newaxis, :]  # [B, 1, S]
    number = tf.reduce_sum(tf.cast(_begun(sequence_starts, input_mask.shape[1]), tf.int32), 2)
    number *= input_mask  # [B, S], from 1, of padding 0
    return tf.cast(number[:, :, tf.newaxis] == number[:, tf.newaxis, :], tf.int32)  # [B, S, S]


def own_positions(sequence_starts: tf.Tensor, seq_length: int) -> tf.Tensor:
    """Returns int32 [B, S], the position of each token in its own sequence, from 0."""
    starts = tf.where(_begun(sequence_starts, seq_length), sequence_starts[:, tf.newaxis, :], 0)
    return tf.range(seq_length) - tf.reduce_max(starts, 2)  # [B, S]


def first_tokens(x: tf.Tensor, sequence_starts: tf.Tensor | None = None) -> tf.Tensor:
    """Returns float [B, H] of x float [B, S, H], or [B*K, H], of an empty slot a vector that means nothing."""
    if sequence_starts is None:
        return x[:, 0]
    inside = tf.minimum(sequence_starts, x.shape[1] - 1)
    return tf.reshape(tf.gather(x, inside, batch_dims=1), [-1, x.shape[2]])


def _begun(sequence_starts: tf.Tensor, seq_length: int) -> tf.Tensor:
    """Returns bool [B, S, K]: whether a sequence begins at the position or before it."""
    return sequence_starts[:, tf.newaxis, :] <= tf.range(seq_length)[:, tf.newaxis]
