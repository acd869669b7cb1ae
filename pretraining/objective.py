"""What pre-training minimises and how it is measured (Devlin et al. 2019, section 3.1).

Shapes: B batch, S sequence, K sequences in a packed row (otherwise 1), P predictions per row, V vocabulary.
"""

import numpy as np
import tensorflow as tf

from modeling.heads import BertPretrainer
from pretraining.records import NO_LABEL
from training.train_step import Objective

# Of the original: keeps the mean defined for a batch without masked tokens.
WEIGHT_EPSILON = 1e-5


def loss_weights(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the number of masked tokens and of sequences with a next sentence label in the batch."""
    labelled = tf.not_equal(batch["next_sentence_labels"], NO_LABEL)
    return {
        "masked_lm": tf.reduce_sum(batch["masked_lm_weights"]),
        "next_sentence": tf.reduce_sum(tf.cast(labelled, tf.float32)),
    }


def loss(model: BertPretrainer, batch, weights, seed):
    """Returns the batch's share of the masked LM loss plus the next sentence loss, both means over the global batch.

    The next sentence loss is the mean over the sequences that have a label, and 0 if none has. Of packed rows the
    number of sequences is reported, too.
    """
    scores = sequence_scores(model, batch, seed)
    masked_lm = weights["masked_lm"] + WEIGHT_EPSILON
    next_sentence = tf.maximum(weights["next_sentence"], 1.0)
    metrics = {
        "masked_lm_loss": tf.reduce_sum(scores["masked_lm_loss"]) / masked_lm,
        "masked_lm_accuracy": tf.reduce_sum(scores["masked_lm_correct"]) / masked_lm,
        "next_sentence_loss": tf.reduce_sum(scores["next_sentence_loss"]) / next_sentence,
    }
    if (starts := batch.get("sequence_starts")) is not None:
        used = starts < batch["input_ids"].shape[1]
        metrics["sequences"] = tf.reduce_sum(tf.cast(used, tf.float32))
    return metrics["masked_lm_loss"] + metrics["next_sentence_loss"], metrics


def masked_lm_loss(model: BertPretrainer, batch, weights, seed):
    """Returns the same for records without next sentence labels, and does not report what is 0 then."""
    # The head computes in vain, so that its variables have gradients, of 0, and checkpoints stay as they are.
    total, metrics = loss(model, batch, weights, seed)
    del metrics["next_sentence_loss"]
    return total, metrics


OBJECTIVE = Objective(loss_weights, loss)
MASKED_LM_OBJECTIVE = Objective(loss_weights, masked_lm_loss)


def sequence_scores(model: BertPretrainer, batch, seed=None) -> dict[str, tf.Tensor]:
    """Scores every row, and every sequence of packed rows, on its own.

    Args:
      batch: input_ids, input_mask, segment_ids int32 [B, S]; masked_lm_positions, masked_lm_ids int32 [B, P];
        masked_lm_weights float32 [B, P], 0 = padding; next_sentence_labels int32 [B, K], 1 = random next, -1 = none;
        of packed rows also sequence_starts int32 [B, K].
      seed: int32 [2] for dropout, or None.

    Returns:
      float32 [B] each, sums over the masked tokens of a row: masked_lm_loss (negative log-likelihood, nats),
      masked_lm_correct, masked_lm_weight; and float32 [B*K] each: next_sentence_loss, next_sentence_correct,
      next_sentence_weight (1 if there is a label).
    """
    masked_lm_logits, next_sentence_logits = model(batch, seed=seed)
    ids, weights = batch["masked_lm_ids"], batch["masked_lm_weights"]
    labels = tf.reshape(batch["next_sentence_labels"], [-1])  # [B*K]
    labelled = tf.cast(tf.not_equal(labels, NO_LABEL), tf.float32)  # [B*K]
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
    hits = tf.equal(tf.argmax(masked_lm_logits, -1, tf.int32), ids)  # [B, P]
    next_hits = tf.equal(tf.argmax(next_sentence_logits, -1, tf.int32), labels)  # [B*K]
    return {
        "masked_lm_loss": tf.reduce_sum(weights * cross_entropy(ids, masked_lm_logits), 1),
        "masked_lm_correct": tf.reduce_sum(weights * tf.cast(hits, tf.float32), 1),
        "masked_lm_weight": tf.reduce_sum(weights, 1),
        "next_sentence_loss": labelled * cross_entropy(tf.maximum(labels, 0), next_sentence_logits),
        "next_sentence_correct": tf.cast(next_hits, tf.float32),
        "next_sentence_weight": labelled,
    }


def evaluation_metrics(batches: list[dict[str, np.ndarray]]) -> dict[str, np.float32]:
    """Returns the metrics of the original from the `sequence_scores` of every batch.

    `loss` is the mean over batches of the batch's loss, as the original's Estimator reports it; the others are means
    over masked tokens and over sequences with a label. Where no sequence has one, those of the task are left out.
    """
    totals = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    losses = [
        batch["masked_lm_loss"].sum() / (batch["masked_lm_weight"].sum() + WEIGHT_EPSILON)
        + batch["next_sentence_loss"].sum() / max(batch["next_sentence_weight"].sum(), 1)
        for batch in batches
    ]
    masked = max(totals["masked_lm_weight"].sum(), WEIGHT_EPSILON)
    metrics = {
        "loss": np.float32(np.mean(losses)),
        "masked_lm_accuracy": np.float32(totals["masked_lm_correct"].sum() / masked),
        "masked_lm_loss": np.float32(totals["masked_lm_loss"].sum() / masked),
    }
    if labelled := totals["next_sentence_weight"].sum():
        metrics["next_sentence_accuracy"] = totals["next_sentence_correct"].sum() / labelled
        metrics["next_sentence_loss"] = totals["next_sentence_loss"].sum() / labelled
    return metrics
