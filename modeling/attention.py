"""Multi-head self-attention (Vaswani et al. 2017, section 3.2.2).

Shapes: B batch, S sequence, H hidden, A heads, D head size.
"""

import math

import keras
import tensorflow as tf

from modeling.config import BertConfig
from modeling.dropout import dropout
from modeling.embeddings import initializer

# -10000, not minus infinity: released weights were trained with it, and a row of only padding stays finite.
MASK_BIAS = -10000.0


class SelfAttention(keras.layers.Layer):
    """Attends from every position to those that its mask allows.

    Call: x float [B*S, H], attention_mask int32 [B, 1 or S, S] (1 = allowed), seed int32 [2] or None -> float [B*S, H].
    """

    def __init__(self, config: BertConfig, name: str = "self"):
        super().__init__(name=name)
        self.config = config
        self.query, self.key, self.value = (
            keras.layers.Dense(
                config.hidden_size, kernel_initializer=initializer(config), name=name
            )
            for name in ("query", "key", "value")
        )

    def build(self):
        for dense in (self.query, self.key, self.value):
            dense.build([None, self.config.hidden_size])

    def call(self, x, attention_mask, seed=None):
        config = self.config
        denses = (self.query, self.key, self.value)
        # One product for the three: it keeps the matrix large. The checkpoint holds them apart.
        kernel = tf.concat([dense.kernel for dense in denses], axis=1)  # [H, 3H]
        bias = tf.concat([dense.bias for dense in denses], axis=0)  # [3H]
        batch, length = tf.shape(attention_mask)[0], attention_mask.shape[2]
        heads = [batch, length, 3, config.num_attention_heads, config.head_size]
        heads = tf.reshape(tf.nn.bias_add(x @ kernel, bias), heads)  # [B, S, 3, A, D]
        query, key, value = tf.unstack(tf.transpose(heads, [2, 0, 3, 1, 4]))  # [B, A, S, D]
        query *= tf.cast(1 / math.sqrt(config.head_size), query.dtype)
        scores = tf.cast(tf.matmul(query, key, transpose_b=True), tf.float32)  # [B, A, S, S]
        blocked = 1.0 - tf.cast(attention_mask[:, tf.newaxis], tf.float32)  # [B, 1, 1 or S, S]
        probs = tf.nn.softmax(scores + blocked * MASK_BIAS)  # [B, A, S, S]
        probs = dropout(tf.cast(probs, x.dtype), config.attention_probs_dropout_prob, seed)
        context = tf.transpose(probs @ value, [0, 2, 1, 3])  # [B, S, A, D]
        return tf.reshape(context, [-1, config.hidden_size])  # [B*S, H]
