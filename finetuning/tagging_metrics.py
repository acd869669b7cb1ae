"""How well words are tagged: accuracy, and the F1 of whole entities as CoNLL's shared tasks count them."""

from collections.abc import Sequence

import numpy as np
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

from finetuning.findings import LabelScore
from finetuning.tagset import as_iobes

Tags = Sequence[Sequence[str]]

_NO_TYPE = "_"  # seqeval's name of the type of B and I


def tagging_results(gold: Tags, predicted: Tags, losses: np.ndarray, scheme: str) -> dict:
    """Returns the metrics of a file by name: eval_accuracy, eval_loss and, where there are entities, micro-averages of
    eval_precision, eval_recall, eval_f1.

    Args:
      gold, predicted: tags of the words of each sentence.
      losses: float32, of the words that have a loss, in nats.
      scheme: of the tags; where one is not valid there, an entity begins and ends as in CoNLL's evaluation.
    """
    pairs = [pair for each in zip(gold, predicted, strict=True) for pair in zip(*each, strict=True)]
    results = {
        "eval_accuracy": float(np.mean([right == said for right, said in pairs])),
        "eval_loss": float(np.mean(losses)) if len(losses) else float("nan"),
    }
    if scheme != "plain":
        precision, recall, f1, _ = _scores(gold, predicted, scheme, "micro")
        results |= {"eval_precision": precision, "eval_recall": recall, "eval_f1": f1}
    return {name: float(value) for name, value in results.items()}


def metric_names(scheme: str) -> list[str]:
    """Returns what `tagging_results` measures of tags in a scheme, the task's own metric first."""
    entities = [] if scheme == "plain" else ["eval_f1", "eval_precision", "eval_recall"]
    return [*entities, "eval_accuracy", "eval_loss"]


def entity_scores(gold: Tags, predicted: Tags, scheme: str) -> dict[str, LabelScore]:
    """Returns the score of each type of entities, sorted by its name, or that of "entity" where tags have no types.

    Arguments as for `tagging_results`.
    """
    gold_kinds, predicted_kinds = (_kinds(tags, scheme) for tags in (gold, predicted))
    names, found = sorted(gold_kinds | predicted_kinds), {}
    if not names:
        return found
    for name, precision, recall, f1, count in zip(
        names, *_scores(gold, predicted, scheme, None), strict=True
    ):
        found["entity" if name == _NO_TYPE else name] = LabelScore(
            float(precision) if name in predicted_kinds else None,
            float(recall) if name in gold_kinds else None,
            float(f1),
            int(count),
        )
    return found


def _scores(gold: Tags, predicted: Tags, scheme: str, average: str | None):
    pair = ([list(as_iobes(tags, scheme)) for tags in side] for side in (gold, predicted))
    return precision_recall_fscore_support(*pair, average=average, zero_division=0)


def _kinds(sentences: Tags, scheme: str) -> set[str]:
    tags = [list(as_iobes(tags, scheme)) for tags in sentences]
    return {kind for kind, _, _ in get_entities(tags)}
