"""Floating-point operations of the models: a multiplication and an addition are 2, matrix products only.

They are nearly all of the work. Gathers, softmax, normalisation, dropout and the update are not counted, as is usual
where a rate is compared with a device's peak.
Shapes: S sequence, H hidden, I intermediate, L layers, T segment types, P predictions, V vocabulary, C classes.
"""

from typing import NamedTuple

from modeling.config import BertConfig


class Flops(NamedTuple):
    """Operations of the forward pass of one sequence, padding included.

    Attributes:
      embeddings: the segment types, a product with one-hot rows.
      blocks: all encoder blocks.
      head: pooler and output layers.
      frozen: of what is computed but not trained, which the numbers above are without: frozen layers, a teacher.
    """

    embeddings: int
    blocks: int
    head: int
    frozen: int = 0

    @property
    def forward(self) -> int:
        """Operations of the forward pass of one sequence."""
        return sum(self)

    def training(self, rematerialize: bool = False) -> int:
        """Operations of forward and backward pass of one sequence.

        The gradient of a product is one product for each factor; the one-hot rows need none. With `rematerialize` the
        blocks are computed a second time.
        """
        trained = 2 * self.embeddings + (4 if rematerialize else 3) * self.blocks + 3 * self.head
        return trained + self.frozen

    def freeze(self, blocks: int, of: int) -> "Flops":
        """Returns the operations where the embeddings and so many `of` all blocks are not trained."""
        frozen = self.blocks * blocks // of
        return Flops(0, self.blocks - frozen, self.head, self.frozen + self.embeddings + frozen)


def pretraining_flops(
    config: BertConfig, seq_length: int, predictions: int, slots: int = 1
) -> Flops:
    """Returns the operations of `BertPretrainer` for one row: `predictions` masked positions, `slots` sequences."""
    width = config.hidden_size
    masked_lm = predictions * (_product(1, width, width) + _product(1, width, config.vocab_size))
    next_sentence = slots * (_pooler(config) + _product(1, width, 2))
    return _flops(config, seq_length, masked_lm + next_sentence)


def classifier_flops(config: BertConfig, seq_length: int, num_labels: int) -> Flops:
    """Returns the operations of `BertClassifier`."""
    head = _pooler(config) + _product(1, config.hidden_size, num_labels)
    return _flops(config, seq_length, head)


def span_flops(config: BertConfig, seq_length: int) -> Flops:
    """Returns the operations of `BertSpanPredictor`, whose pooler nothing reads."""
    return _flops(config, seq_length, _product(seq_length, config.hidden_size, 2))


def tagger_flops(config: BertConfig, seq_length: int, num_labels: int) -> Flops:
    """Returns the operations of `BertTokenClassifier`, whose pooler nothing reads."""
    return _flops(config, seq_length, _product(seq_length, config.hidden_size, num_labels))


def multiple_choice_flops(config: BertConfig, seq_length: int, num_choices: int) -> Flops:
    """Returns the operations of `BertMultipleChoice` for one question, a sequence for each of its choices."""
    return Flops(*(num_choices * part for part in classifier_flops(config, seq_length, 1)))


def _flops(config: BertConfig, seq_length: int, head: int) -> Flops:
    width = config.hidden_size
    types = _product(seq_length, config.type_vocab_size, width)
    return Flops(types, config.num_hidden_layers * _block(config, seq_length), head)


def _block(config: BertConfig, seq_length: int) -> int:
    width, inner = config.hidden_size, config.intermediate_size
    projections = 4 * _product(seq_length, width, width)  # query, key, value, output
    scores_and_context = 2 * _product(seq_length, width, seq_length)  # of all heads together
    feed_forward = 2 * _product(seq_length, width, inner)
    return projections + scores_and_context + feed_forward


def _pooler(config: BertConfig) -> int:
    return _product(1, config.hidden_size, config.hidden_size)


def _product(rows: int, inner: int, columns: int) -> int:
    """Returns the operations of a product [rows, inner] x [inner, columns]."""
    return 2 * rows * inner * columns
