"""The classifier that the flags ask for, and how much work it is."""

from absl import flags

from finetuning.freezing import freeze, frozen_blocks
from modeling.config import BertConfig
from modeling.flops import Flops, classifier_flops
from modeling.heads import BertClassifier

FLAGS = flags.FLAGS


def define_freeze() -> None:
    """Defines the flag."""
    flags.DEFINE_string(
        "freeze",
        None,
        "Train the upper layers alone: 'embeddings' stay as they are, or they and so many encoder blocks "
        "(default: all is trained).",
    )


def make_classifier(config: BertConfig, num_labels: int) -> BertClassifier:
    """Returns the model; call it in the strategy's scope.

    Raises:
      ValueError: `--freeze` does not fit it.
    """
    model = BertClassifier(config, num_labels, FLAGS.rematerialize)
    freeze(model.bert, frozen_blocks(FLAGS.freeze, config.num_hidden_layers))
    return model


def make_flops(config: BertConfig, num_labels: int, length: int) -> Flops:
    """Returns the operations of the model for one sequence of that length."""
    flops, layers = classifier_flops(config, length, num_labels), config.num_hidden_layers
    blocks = frozen_blocks(FLAGS.freeze, layers)
    return flops if blocks is None else flops.freeze(blocks, layers)
