"""What fine-tuning of a tagger minimises, and what comes out of it (Devlin et al. 2019, section 5.3).

Shapes: B batch, S sequence, C tags, W words of a file.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from finetuning.tagging_features import Feature
from modeling.heads import BertTokenClassifier
from training.train_step import Objective


def loss_weights(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the number of words that count in the batch."""
    return {"words": tf.reduce_sum(tf.cast(batch["label_mask"], tf.float32))}


def loss(model: BertTokenClassifier, batch, weights, seed):
    """Returns the batch's share of the mean cross-entropy over the words of the global batch, in nats."""
    scores = tag_scores(model, batch, seed)
    counts = tf.cast(batch["label_mask"], tf.float32)  # [B, S]
    hits = tf.cast(tf.equal(scores["predictions"], batch["label_ids"]), tf.float32)  # [B, S]
    metrics = {"accuracy": tf.reduce_sum(hits * counts) / weights["words"]}
    return tf.reduce_sum(scores["losses"] * counts) / weights["words"], metrics


OBJECTIVE = Objective(loss_weights, loss)


def tag_scores(model: BertTokenClassifier, batch, seed=None) -> dict[str, tf.Tensor]:
    """Scores every position on its own.

    Args:
      batch: int32 tensors, see `tagging_features.feature_spec`.
      seed: int32 [2] for dropout, or None.

    Returns:
      unique_ids int32 [B]; predictions int32 [B, S], the best tags; losses float32 [B, S], in nats.
    """
    logits = model(batch, seed=seed)  # [B, S, C]
    return {
        "unique_ids": batch["unique_ids"],
        "predictions": tf.argmax(logits, -1, tf.int32),
        "losses": tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label_ids"], logits),
    }


def collect_words(
    batches: Iterable[Mapping[str, np.ndarray]], features: Sequence[Feature]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tag of each word, int32 [W], and its loss, float32 [W], from the scores of all batches.

    Args:
      batches: of `tag_scores`, whatever their order and their lengths.
      features: of the file, each of which is in one of the batches.
    """
    num_words = sum(len(feature.words) for feature in features)
    tags, losses = np.empty(num_words, np.int32), np.empty(num_words, np.float32)
    for batch in batches:
        for row, number in enumerate(batch["unique_ids"]):
            if number:
                feature = features[number - 1]
                tags[feature.words] = batch["predictions"][row, feature.positions]
                losses[feature.words] = batch["losses"][row, feature.positions]
    return tags, losses
