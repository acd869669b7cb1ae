"""What fine-tuning of a classifier minimises and how it is measured (Devlin et al. 2019, section 4.1).

Besides one label of several, any number of them (a sigmoid for each), or a number (the squared error of one output).
Shapes: B batch, S sequence, C labels, N examples.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from finetuning.metrics import METRICS
from finetuning.tasks import MULTI, REGRESSION, SINGLE, Task
from modeling.heads import BertClassifier
from training.train_step import Objective


def classifier_objective(
    kind: str = SINGLE, label_weights: Sequence[float] | None = None
) -> Objective:
    """Returns the objective: the mean over the real examples of the global batch of their loss.

    Args:
      kind: of the task, one of `tasks.KINDS`.
      label_weights: [C] for a task with labels. With one label an example, the mean is weighted by that of its label;
        with any number of them, the loss of a label that applies is multiplied by its weight.
    """
    score = example_scores(kind, label_weights if kind == MULTI else None)
    is_weighted = kind == SINGLE and label_weights is not None

    def weighted(real, batch):
        if not is_weighted:
            return real
        return real * tf.gather(tf.constant(label_weights, tf.float32), batch["label_ids"])  # [B]

    def weights(batch):
        real = tf.cast(batch["is_real_example"], tf.float32)  # [B]
        sums = {"examples": tf.reduce_sum(real)}
        return sums | ({"weight": tf.reduce_sum(weighted(real, batch))} if is_weighted else {})

    def loss(model, batch, weights, seed):
        scores = score(model, batch, seed)
        real = tf.cast(batch["is_real_example"], tf.float32)  # [B]
        metrics = {
            name: tf.reduce_sum(scores["correct"] * real) / weights["examples"]
            for name in _ACCURACIES[kind]
        }
        total = tf.reduce_sum(scores["loss"] * weighted(real, batch))
        return total / weights["weight" if is_weighted else "examples"], metrics

    return Objective(weights, loss)


# What training reports beside the loss.
_ACCURACIES = {SINGLE: ["accuracy"], MULTI: ["label_accuracy"], REGRESSION: []}


def example_scores(kind: str = SINGLE, positive_weights: Sequence[float] | None = None) -> Callable:
    """Returns the function (model, batch, seed for dropout or None) that scores every example on its own.

    Its batch is input_ids, input_mask, segment_ids int32 [B, S]; label_ids as in `features.feature_spec`;
    is_real_example int32 [B], 0 for the examples that only fill a batch. It returns
      outputs: float32 [B, C]. Probabilities of the labels; the number, C = 1, for a regression.
      predictions: like label_ids. What is answered: the most probable label; all that are more probable than not.
      correct: float32 [B]. Whether that is right; with any number of labels the share of them; not for a regression.
      loss: float32 [B]. In nats, with any number of labels the mean over them; the squared error for a regression.
      label_ids, is_real_example: of the batch.

    Args:
      kind: of the task.
      positive_weights: [C] that the losses of the labels that apply are multiplied by, with any number of them.
    """

    def scores(model: BertClassifier, batch, seed=None) -> dict[str, tf.Tensor]:
        logits = model(batch, seed=seed)  # [B, C]
        found = _SCORES[kind](logits, batch["label_ids"], positive_weights)
        return found | {name: batch[name] for name in ("label_ids", "is_real_example")}

    return scores


def _single(logits, labels, _):
    predictions = tf.argmax(logits, -1, tf.int32)
    return {
        "outputs": tf.nn.softmax(logits),
        "predictions": predictions,
        "correct": tf.cast(tf.equal(predictions, labels), tf.float32),
        "loss": tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits),
    }


def _multi(logits, labels, positive_weights):
    targets = tf.cast(labels, tf.float32)  # [B, C]
    weights = tf.ones_like(logits) if positive_weights is None else tf.constant(positive_weights)
    losses = tf.nn.weighted_cross_entropy_with_logits(targets, logits, weights)  # [B, C]
    predictions = tf.cast(logits > 0.0, tf.int32)
    return {
        "outputs": tf.sigmoid(logits),
        "predictions": predictions,
        "correct": tf.reduce_mean(tf.cast(tf.equal(predictions, labels), tf.float32), -1),
        "loss": tf.reduce_mean(losses, -1),
    }


def _regression(logits, labels, _):
    predictions = logits[:, 0]
    return {
        "outputs": logits,
        "predictions": predictions,
        "loss": tf.math.squared_difference(predictions, labels),
    }


_SCORES = {SINGLE: _single, MULTI: _multi, REGRESSION: _regression}


def evaluation_metrics(batches: list[dict[str, np.ndarray]], task: Task) -> dict[str, np.float32]:
    """Returns the metrics of the original and those of the task from the `example_scores` of every batch.

    `eval_loss` is the mean over examples, like all that begins so; `loss` is the mean over batches of the batch's mean,
    in which the examples of a short last batch count for more, as in the original.
    """
    scores = real_examples(batches)
    losses = [batch["loss"][batch["is_real_example"] > 0].mean() for batch in batches]
    results = {"eval_loss": np.float32(scores["loss"].mean()), "loss": np.float32(np.mean(losses))}
    for name in _measured(task):
        value = METRICS[name](scores["label_ids"], scores["predictions"])
        results[f"eval_{name}"] = np.float32(value)
    return results


def _measured(task: Task) -> list[str]:
    return [*dict.fromkeys((*task.metrics, *(["accuracy"] if task.kind == SINGLE else [])))]


def metric_names(task: Task) -> list[str]:
    """Returns what `evaluation_metrics` measures over all examples, the task's own metric first."""
    return [f"eval_{name}" for name in (*_measured(task), "loss")]


def original_metrics(results: dict[str, np.float32]) -> dict[str, np.float32]:
    """Returns those of the `evaluation_metrics` that the original wrote."""
    return {name: results[name] for name in ("eval_accuracy", "eval_loss", "loss")}


def in_file_order(
    batches: list[dict[str, np.ndarray]], order: np.ndarray, batch_size: int
) -> list[dict[str, np.ndarray]]:
    """Returns the scores of all batches as if they had been made of the examples in another order.

    Args:
      batches: scores by name.
      order: int [N]. Which example the n-th of the real ones is.
      batch_size: examples in a batch of the result, but for the last.
    """
    scores, rows = real_examples(batches), np.argsort(order)
    parts = [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return [{name: values[part] for name, values in scores.items()} for part in parts]


def real_examples(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the scores of all batches as one, [N, ...] by name, without the examples that fill a batch."""
    return {
        name: np.concatenate([batch[name][batch["is_real_example"] > 0] for batch in batches])
        for name in batches[0]
    }
