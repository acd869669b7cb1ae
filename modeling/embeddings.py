"""Input representation: the sum of token, segment and position embeddings (Devlin et al. 2019, figure 2).

Shapes: B batch, S sequence, K sequences in a packed row, H hidden, V vocabulary, T segment types.
"""

import keras
import tensorflow as tf

from modeling.config import BertConfig
from modeling.dropout import dropout
from modeling.layer_norm import LayerNorm
from modeling.packed import own_positions


def initializer(config: BertConfig) -> keras.initializers.Initializer:
    """Returns the truncated normal that starts every kernel and embedding table."""
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)


class Embeddings(keras.layers.Layer):
    """Embeds WordPieces.

    Call: input_ids, segment_ids int32 [B, S], seed int32 [2] or None, sequence_starts int32 [B, K] or None
    -> float32 [B, S, H], normalised and dropped out.
    """

    def __init__(self, config: BertConfig, name: str = "embeddings"):
        # float32 in any precision: a gather of rows costs less than casting a whole table.
        super().__init__(name=name, dtype="float32")
        self.config = config
        self.norm = LayerNorm(config.hidden_size)

    def build(self):
        tables = {
            "word_embeddings": self.config.vocab_size,
            "token_type_embeddings": self.config.type_vocab_size,
            "position_embeddings": self.config.max_position_embeddings,
        }
        for name, rows in tables.items():
            shape = [rows, self.config.hidden_size]
            table = self.add_weight(shape=shape, initializer=initializer(self.config), name=name)
            setattr(self, name, table)
        self.norm.build()

    def call(self, input_ids, segment_ids, seed=None, sequence_starts=None):
        seq_length = input_ids.shape[1]
        words = tf.gather(self.word_embeddings, input_ids)  # [B, S, H]
        # A product with one-hot rows, as the original: fast for two rows, and an unknown type adds nothing.
        types = tf.one_hot(segment_ids, self.config.type_vocab_size)  # [B, S, T]
        types = tf.tensordot(
            types, tf.convert_to_tensor(self.token_type_embeddings), 1
        )  # [B, S, H]
        positions = tf.convert_to_tensor(self.position_embeddings)[:seq_length]  # [S, H]
        if sequence_starts is not None:
            own = own_positions(sequence_starts, seq_length)  # [B, S]
            positions = tf.gather(positions, own)  # [B, S, H]
        x = self.norm(words + types + positions)  # [B, S, H]
        return dropout(x, self.config.hidden_dropout_prob, seed)
