"""Output layers and the models that carry them (Devlin et al. 2019): pre-training (section 3.1), classification
(4.1), answer spans (4.2), multiple choice (4.4), tags (5.3).

Shapes: B batch, S sequence, K sequences in a packed row, H hidden, P predictions per row, V vocabulary, C classes.
"""

import keras
import tensorflow as tf

from modeling.activations import ACTIVATIONS
from modeling.config import BertConfig
from modeling.dropout import dropout, fold_in
from modeling.encoder import BertModel, BertOutputs, dense
from modeling.layer_norm import LayerNorm

# A constant of the original's run_classifier.py, whatever the configuration says.
CLASSIFIER_DROPOUT = 0.1


class MaskedLMHead(keras.layers.Layer):
    """Predicts the WordPieces at the masked positions; its output table is the input embedding table.

    Call: sequence_output float [B, S, H], masked_lm_positions int32 [B, P], word_embeddings float32 [V, H]
    -> float32 [B, P, V] logits.
    """

    def __init__(self, config: BertConfig, name: str = "predictions"):
        super().__init__(name=name)
        self.config = config
        self.activation = ACTIVATIONS[config.hidden_act]
        self.transform = dense(config, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size)

    def build(self):
        with keras.name_scope("transform"):
            self.transform.build([None, self.config.hidden_size])
            self.norm.build()
        self.output_bias = self.add_weight(
            shape=[self.config.vocab_size], initializer="zeros", name="output_bias", autocast=False
        )

    def call(self, sequence_output, masked_lm_positions, word_embeddings):
        x = tf.gather(sequence_output, masked_lm_positions, batch_dims=1)  # [B, P, H]
        shape = tf.concat([tf.shape(x)[:2], [self.config.vocab_size]], axis=0)
        x = tf.reshape(x, [-1, self.config.hidden_size])  # [B*P, H]
        x = self.norm(self.activation(self.transform(x)))  # [B*P, H]
        logits = tf.matmul(x, word_embeddings, transpose_b=True)  # [B*P, V]
        logits = tf.nn.bias_add(tf.cast(logits, tf.float32), self.output_bias)  # [B*P, V]
        return tf.reshape(logits, shape)  # [B, P, V]


class LinearHead(keras.layers.Layer):
    """A linear layer whose weights are [C, H], as the original's checkpoints have them.

    Call: float [N, H] -> float32 [N, C] logits.
    """

    def __init__(self, num_labels: int, hidden_size: int, stddev: float = 0.02):
        super().__init__(dtype="float32")
        weights = keras.initializers.TruncatedNormal(stddev=stddev)
        # Not `add_weight`, which would put the layer's name before theirs: the classifier's bear none.
        self.output_weights = keras.Variable(
            weights, [num_labels, hidden_size], name="output_weights"
        )
        self.output_bias = keras.Variable("zeros", [num_labels], name="output_bias")

    def call(self, x):
        return tf.matmul(x, self.output_weights, transpose_b=True) + self.output_bias


class BertPretrainer(keras.Model):
    """BERT with the masked LM and the next sentence prediction heads.

    Call: batch, a dict of input_ids, input_mask, segment_ids int32 [B, S], masked_lm_positions int32 [B, P] and, of
    packed rows, sequence_starts int32 [B, K]; seed int32 [2] or None -> (float32 [B, P, V] masked LM logits, float32
    [B, 2] or [B*K, 2] next sentence logits; 1 = random next).
    """

    def __init__(self, config: BertConfig, rematerialize: bool = False):
        super().__init__()
        self.bert = BertModel(config, rematerialize)
        with keras.name_scope("cls"):
            self.masked_lm = MaskedLMHead(config)
            self.masked_lm.build()
            with keras.name_scope("seq_relationship"):
                self.next_sentence = LinearHead(2, config.hidden_size, config.initializer_range)

    def call(self, batch, seed=None):
        outputs = self.bert(
            batch["input_ids"],
            batch["input_mask"],
            batch["segment_ids"],
            seed=seed,
            sequence_starts=batch.get("sequence_starts"),
        )
        masked_lm_logits = self.masked_lm(
            outputs.sequence_output,
            batch["masked_lm_positions"],
            self.bert.embeddings.word_embeddings,
        )
        return masked_lm_logits, self.next_sentence(outputs.pooled_output)


class BertClassifier(keras.Model):
    """BERT with a classifier over the pooled output.

    Call: batch, a dict of input_ids, input_mask, segment_ids int32 [B, S]; seed int32 [2] or None
    -> float32 [B, C] logits.
    """

    def __init__(self, config: BertConfig, num_labels: int, rematerialize: bool = False):
        super().__init__()
        self.bert = BertModel(config, rematerialize)
        self.classifier = LinearHead(num_labels, config.hidden_size)

    def call(self, batch, seed=None):
        return self.logits_and_outputs(batch, seed)[0]

    def logits_and_outputs(self, batch, seed=None) -> tuple[tf.Tensor, BertOutputs]:
        """Returns what a call does, and what the encoder computed for it."""
        outputs = self.bert(
            batch["input_ids"], batch["input_mask"], batch["segment_ids"], seed=seed
        )
        # Past the encoder's own seeds, which are numbered from 0 by layer.
        seed = fold_in(seed, 1 + len(self.bert.blocks))
        logits = self.classifier(dropout(outputs.pooled_output, CLASSIFIER_DROPOUT, seed))
        return logits, outputs


class BertSpanPredictor(keras.Model):
    """BERT that scores every position as the first and as the last of an answer.

    The pooler is there because checkpoints have it; nothing reads it, so it is not trained.

    Call: batch, a dict of input_ids, input_mask, segment_ids int32 [B, S]; seed int32 [2] or None
    -> (float32 [B, S] start logits, float32 [B, S] end logits).
    """

    def __init__(self, config: BertConfig, rematerialize: bool = False):
        super().__init__()
        self.bert = BertModel(config, rematerialize)
        self.bert.pooler.trainable = False
        with keras.name_scope("cls"), keras.name_scope("squad"):
            self.span = LinearHead(2, config.hidden_size)

    def call(self, batch, seed=None):
        outputs = self.bert(
            batch["input_ids"], batch["input_mask"], batch["segment_ids"], seed=seed
        )
        x = tf.reshape(outputs.sequence_output, [-1, self.bert.config.hidden_size])  # [B*S, H]
        logits = tf.reshape(self.span(x), [*batch["input_ids"].shape, 2])  # [B, S, 2]
        return tuple(tf.unstack(logits, axis=-1))


class BertTokenClassifier(keras.Model):
    """BERT with a classifier over every position (section 5.3).

    The pooler is there because checkpoints have it; nothing reads it, so it is not trained.

    Call: batch, a dict of input_ids, input_mask, segment_ids int32 [B, S]; seed int32 [2] or None
    -> float32 [B, S, C] logits.
    """

    def __init__(self, config: BertConfig, num_labels: int, rematerialize: bool = False):
        super().__init__()
        self.bert = BertModel(config, rematerialize)
        self.bert.pooler.trainable = False
        self.classifier = LinearHead(num_labels, config.hidden_size)

    def call(self, batch, seed=None):
        outputs = self.bert(
            batch["input_ids"], batch["input_mask"], batch["segment_ids"], seed=seed
        )
        seed = fold_in(seed, 1 + len(self.bert.blocks))
        x = tf.reshape(outputs.sequence_output, [-1, self.bert.config.hidden_size])  # [B*S, H]
        logits = self.classifier(dropout(x, CLASSIFIER_DROPOUT, seed))  # [B*S, C]
        return tf.reshape(logits, [*batch["input_ids"].shape, logits.shape[-1]])  # [B, S, C]


class BertMultipleChoice(keras.Model):
    """BERT that gives each choice a score, the product of its pooled output with one vector (section 4.4).

    Call: batch, a dict of input_ids, input_mask, segment_ids int32 [B, N, S] for N choices; seed int32 [2] or None
    -> float32 [B, N] logits.
    """

    def __init__(self, config: BertConfig, rematerialize: bool = False):
        super().__init__()
        self.bert = BertModel(config, rematerialize)
        self.classifier = LinearHead(1, config.hidden_size)

    def call(self, batch, seed=None):
        inputs = [batch[name] for name in ("input_ids", "input_mask", "segment_ids")]
        *shape, length = inputs[0].shape
        inputs = [tf.reshape(values, [-1, length]) for values in inputs]  # [B*N, S]
        outputs = self.bert(*inputs, seed=seed)
        seed = fold_in(seed, 1 + len(self.bert.blocks))
        logits = self.classifier(dropout(outputs.pooled_output, CLASSIFIER_DROPOUT, seed))
        return tf.reshape(logits, shape)  # [B, N]
