"""What fine-tuning on SQuAD minimises (Devlin et al. 2019, section 4.2; the original's run_squad.py).

Shapes: B batch, S sequence.
"""

from functools import cache

import tensorflow as tf

from modeling.heads import BertSpanPredictor
from training.train_step import Objective

# Its exponential is 0 in float32: as if the position were not there.
NOT_A_POSITION = -1e9


def span_logits(model: BertSpanPredictor, batch, padding_competes: bool, seed=None):
    """Returns the float32 [B, S] logits of an answer's first and last position.

    Args:
      batch: input_ids, input_mask, segment_ids int32 [B, S].
      padding_competes: leave the logits at padding as they are: the original's softmax and n-best lists run over all S
        positions. False makes the result independent of how far a batch is padded.
      seed: int32 [2] for dropout, or None.
    """
    logits = model(batch, seed=seed)
    if padding_competes:
        return logits
    real = batch["input_mask"] > 0  # [B, S]
    return tuple(tf.where(real, scores, NOT_A_POSITION) for scores in logits)


def span_objective(padding_competes: bool) -> Objective:
    """Returns the objective: the mean over start and end of the cross-entropy of the right position, in nats."""

    def weights(batch):
        return {"features": tf.cast(tf.shape(batch["input_ids"])[0], tf.float32)}

    def loss(model, batch, weights, seed):
        total, metrics = 0.0, {}
        logits = span_logits(model, batch, padding_competes, seed)
        for name, scores in zip(("start", "end"), logits, strict=True):
            positions = batch[f"{name}_positions"]  # [B]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(positions, scores)  # [B]
            hits = tf.equal(tf.argmax(scores, -1, tf.int32), positions)  # [B]
            total += tf.reduce_sum(losses) / 2.0
            hits = tf.reduce_sum(tf.cast(hits, tf.float32))
            metrics[f"{name}_accuracy"] = hits / weights["features"]
        return total / weights["features"], metrics

    return Objective(weights, loss)


@cache  # `training.loop.predict` knows the same function again, and does not trace it anew
def feature_scores(padding_competes: bool):
    """Returns the function (model, batch) -> unique_ids int32 [B], start_logits and end_logits float32 [B, S]."""

    def scores(model, batch):
        start_logits, end_logits = span_logits(model, batch, padding_competes)
        return {
            "unique_ids": batch["unique_ids"],
            "start_logits": start_logits,
            "end_logits": end_logits,
        }

    return scores
