"""The bidirectional Transformer encoder (Devlin et al. 2019, section 3; Vaswani et al. 2017, section 3.1).

Variables are named as in the original's checkpoints: layers and name scopes nest as its variable scopes did.
Activations are [B*S, H] between blocks, which keeps the matrix products large.
Shapes: B batch, S sequence, K sequences in a packed row, H hidden, I intermediate.
"""

import functools
from typing import NamedTuple

import keras
import tensorflow as tf

from modeling.activations import ACTIVATIONS
from modeling.attention import SelfAttention
from modeling.config import BertConfig
from modeling.dropout import dropout, fold_in
from modeling.embeddings import Embeddings, initializer
from modeling.layer_norm import LayerNorm
from modeling.packed import attention_mask, first_tokens
from modeling.rematerialize import rematerialize


class TransformerBlock(keras.layers.Layer):
    """Attention, then a feed-forward network, each with a residual and normalised after (post-LN).

    Call: x float [B*S, H], attention_mask int32 [B, 1 or S, S], seed int32 [2] or None -> float [B*S, H].
    """

    def __init__(self, config: BertConfig, name: str):
        super().__init__(name=name)
        self.config = config
        self.activation = ACTIVATIONS[config.hidden_act]
        self.attention = SelfAttention(config)
        self.attention_output = dense(config, config.hidden_size)
        self.attention_norm = LayerNorm(config.hidden_size)
        self.intermediate = dense(config, config.intermediate_size)
        self.output_dense = dense(config, config.hidden_size)
        self.output_norm = LayerNorm(config.hidden_size)

    def build(self):
        config = self.config
        with keras.name_scope("attention"):
            self.attention.build()
            with keras.name_scope("output"):
                self.attention_output.build([None, config.hidden_size])
                self.attention_norm.build()
        with keras.name_scope("intermediate"):
            self.intermediate.build([None, config.hidden_size])
        with keras.name_scope("output"):
            self.output_dense.build([None, config.intermediate_size])
            self.output_norm.build()

    def call(self, x, attention_mask, seed=None):
        rate = self.config.hidden_dropout_prob
        y = self.attention(x, attention_mask, seed=fold_in(seed, 0))  # [B*S, H]
        y = dropout(self.attention_output(y), rate, fold_in(seed, 1))  # [B*S, H]
        x = self.attention_norm(x + y)  # [B*S, H]
        y = self.activation(self.intermediate(x))  # [B*S, I]
        y = dropout(self.output_dense(y), rate, fold_in(seed, 2))  # [B*S, H]
        return self.output_norm(x + y)  # [B*S, H]


class BertOutputs(NamedTuple):
    """What the encoder computes.

    Attributes:
      embedding_output: float32 [B, S, H]. Embeddings after normalisation and dropout.
      encoder_outputs: one float [B, S, H] for each block.
      pooled_output: float [B, H], of packed rows [B*K, H]. The first position of each sequence through the pooler.
    """

    embedding_output: tf.Tensor
    encoder_outputs: list[tf.Tensor]
    pooled_output: tf.Tensor

    @property
    def sequence_output(self) -> tf.Tensor:
        """float [B, S, H]. The last block's output."""
        return self.encoder_outputs[-1]


class BertModel(keras.layers.Layer):
    """BERT without heads; all variables exist once it is constructed.

    Computes in the precision of Keras' global dtype policy (`keras.config.set_dtype_policy`), with float32 variables,
    softmax and normalisation. With `rematerialize` the backward pass computes the activations inside a block again,
    instead of keeping them: less memory, the same result.

    Call: input_ids int32 [B, S]; input_mask int32 [B, S], 1 = real token (default: all ones); segment_ids int32 [B, S]
    (default: zeros); seed int32 [2] for dropout in training, None in evaluation; sequence_starts int32 [B, K] of packed
    rows, see `modeling.packed` -> BertOutputs.
    """

    def __init__(self, config: BertConfig, rematerialize: bool = False, name: str = "bert"):
        # Its own call reads variables to rematerialise, as they are; the layers inside cast them.
        super().__init__(name=name, autocast=False)
        self.config = config
        self.rematerialize = rematerialize
        self.embeddings = Embeddings(config)
        self.blocks = [
            TransformerBlock(config, name=f"layer_{i}") for i in range(config.num_hidden_layers)
        ]
        self.pooler = dense(config, config.hidden_size)
        self.build()

    def build(self):
        self.embeddings.build()
        with keras.name_scope("encoder"):
            for block in self.blocks:
                block.build()
        with keras.name_scope("pooler"):
            self.pooler.build([None, self.config.hidden_size])

    def call(self, input_ids, input_mask=None, segment_ids=None, seed=None, sequence_starts=None):
        input_mask = tf.ones_like(input_ids) if input_mask is None else input_mask
        segment_ids = tf.zeros_like(input_ids) if segment_ids is None else segment_ids
        mask = attention_mask(input_mask, sequence_starts)  # [B, 1 or S, S]
        embedding_output = self.embeddings(
            input_ids, segment_ids, fold_in(seed, 0), sequence_starts
        )
        shape = tf.shape(embedding_output)
        x = tf.reshape(embedding_output, [-1, self.config.hidden_size])  # [B*S, H]
        x = tf.cast(x, self.compute_dtype)
        encoder_outputs = []
        for number, block in enumerate(self.blocks, start=1):
            call = functools.partial(rematerialize, block) if self.rematerialize else block
            x = call(x, mask, seed=fold_in(seed, number))  # [B*S, H]
            encoder_outputs.append(tf.reshape(x, shape))  # [B, S, H]
        first = first_tokens(encoder_outputs[-1], sequence_starts)  # [B or B*K, H]
        pooled_output = tf.tanh(self.pooler(first))  # [B or B*K, H]
        return BertOutputs(embedding_output, encoder_outputs, pooled_output)


def dense(config: BertConfig, size: int) -> keras.layers.Dense:
    """Returns x W + b with `size` outputs, named as the original's checkpoints name it."""
    return keras.layers.Dense(size, kernel_initializer=initializer(config), name="dense")
