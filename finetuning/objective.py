"""What fine-tuning of a classifier minimises and how it is measured (Devlin et al. 2019, section 4.1).

Shapes: B batch, S sequence, C classes.
"""

import numpy as np
import tensorflow as tf

from modeling.heads import BertClassifier
from training.train_step import Objective


def loss_weights(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the number of real examples in the batch."""
    return {"examples": tf.reduce_sum(tf.cast(batch["is_real_example"], tf.float32))}


def loss(model: BertClassifier, batch, weights, seed):
    """Returns the batch's share of the mean cross-entropy over the global batch."""
    scores = example_scores(model, batch, seed)
    real = tf.cast(batch["is_real_example"], tf.float32)  # [B]
    metrics = {"accuracy": tf.reduce_sum(scores["correct"] * real) / weights["examples"]}
    return tf.reduce_sum(scores["loss"] * real) / weights["examples"], metrics


OBJECTIVE = Objective(loss_weights, loss)


def example_scores(model: BertClassifier, batch, seed=None) -> dict[str, tf.Tensor]:
    """Scores every example on its own.

    Args:
      batch: input_ids, input_mask, segment_ids int32 [B, S]; label_ids int32 [B]; is_real_example int32 [B], 0 for
        the examples that only fill a batch.
      seed: int32 [2] for dropout, or None.

    Returns:
      probabilities float32 [B, C]; loss (nats) and correct float32 [B]; is_real_example int32 [B].
    """
    logits = model(batch, seed=seed)  # [B, C]
    labels = batch["label_ids"]
    hits = tf.equal(tf.argmax(logits, -1, tf.int32), labels)
    return {
        "probabilities": tf.nn.softmax(logits),
        "loss": tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits),
        "correct": tf.cast(hits, tf.float32),
        "is_real_example": batch["is_real_example"],
    }


def evaluation_metrics(batches: list[dict[str, np.ndarray]]) -> dict[str, np.float32]:
    """Returns the metrics of the original from the `example_scores` of every batch.

    `eval_loss` and `eval_accuracy` are means over examples; `loss` is the mean over batches of the batch's mean, in
    which the examples of a short last batch count for more, as in the original.
    """
    real = [batch["is_real_example"] > 0 for batch in batches]
    losses = [batch["loss"][mask] for batch, mask in zip(batches, real, strict=True)]
    correct = [batch["correct"][mask] for batch, mask in zip(batches, real, strict=True)]
    return {
        "eval_accuracy": np.float32(np.concatenate(correct).mean()),
        "eval_loss": np.float32(np.concatenate(losses).mean()),
        "loss": np.float32(np.mean([values.mean() for values in losses])),
    }
