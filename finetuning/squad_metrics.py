"""Exact match and F1 of answers, as the official evaluation scripts of SQuAD 1.1 and 2.0 define them.

Rajpurkar et al. 2016, section 6.1, and 2018, section 5. Both scripts compare normalised texts and take the best over
the gold answers; they differ in what an answer without words is worth. Scores of a question lie between 0 and 1,
scores of a data set are percentages.
"""

import collections
import math
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from finetuning.squad_examples import Paragraph

_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


class Score(NamedTuple):
    """How well a question was answered: 0 to 1."""

    exact: float
    f1: float


def normalize_answer(text: str) -> str:
    """Lower-cases, drops ASCII punctuation and then English articles, and leaves one blank between words."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def score_v1(text: str, golds: Sequence[str]) -> Score:
    """Scores an answer as SQuAD 1.1 does: without a common word F1 is 0, even between two texts without words.

    Args:
      text: the answer.
      golds: at least one gold answer.
    """
    return _best_score(text, golds, f1_of_nothing=False)


def score_v2(text: str, golds: Sequence[str]) -> Score:
    """Scores an answer as SQuAD 2.0 does: "" is right where there is no gold answer.

    Args:
      text: the answer, "" for none.
      golds: the gold answers, none for an unanswerable question. Those without a word do not count.
    """
    return _best_score(
        text, [gold for gold in golds if normalize_answer(gold)] or [""], f1_of_nothing=True
    )


def _best_score(text: str, golds: Sequence[str], f1_of_nothing: bool) -> Score:
    answer = normalize_answer(text)
    normalized = {normalize_answer(gold) for gold in golds}
    return Score(
        float(answer in normalized),
        max(_f1(answer.split(), gold.split(), f1_of_nothing) for gold in normalized),
    )


def _f1(words: list[str], gold: list[str], f1_of_nothing: bool) -> float:
    if f1_of_nothing and not (words and gold):
        return float(words == gold)
    common = (collections.Counter(words) & collections.Counter(gold)).total()
    if not common:
        return 0.0
    precision, recall = common / len(words), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def gold_answers(paragraphs: Iterable[Paragraph]) -> dict[str, list[str]]:
    """Returns the texts of the gold answers by the question's id, in the order of the files.

    Raises:
      ValueError: there are questions that cannot be evaluated; counts them and names the first.
    """
    golds, missing = {}, []
    for paragraph in paragraphs:
        for number, question in enumerate(paragraph.questions):
            golds[question.qas_id] = [answer.text for answer in question.answers]
            if not question.has_answers:
                missing.append(f"{paragraph.place}.qas[{number}]: question {question.qas_id!r}")
    if missing:
        raise ValueError(
            f"{missing[0]} has no answer to evaluate with, like {len(missing)} of {len(golds)} questions: leave "
            "--do_eval out or, if the data are SQuAD 2.0, give --version_2_with_negative"
        )
    return golds


def evaluate_v1(
    golds: Mapping[str, Sequence[str]], texts: Mapping[str, str]
) -> dict[str, float | int]:
    """Returns `exact_match`, `f1` (percent) and `total` (questions) of SQuAD 1.1.

    Args:
      golds: at least one gold answer for every question, by its id; no question left out.
      texts: the answers by the same ids.
    """
    mean = _mean([score_v1(texts[name], golds[name]) for name in golds])
    return {"exact_match": mean.exact, "f1": mean.f1, "total": len(golds)}


def evaluate_v2(
    golds: Mapping[str, Sequence[str]],
    best_texts: Mapping[str, str],
    null_odds: Mapping[str, float],
    threshold: float,
) -> dict[str, float | int]:
    """Returns the scores of SQuAD 2.0 at a null threshold and at the best ones there are.

    Args:
      golds: the gold answers by the question's id, none for an unanswerable question.
      best_texts: the best answer that is not "", or "" where there is none, by the same ids.
      null_odds: how far the null answer scores above it, by the same ids; finite.
      threshold: a question is answered "" if its null odds are above it.

    Returns:
      `exact`, `f1` (percent) and `total` (questions); the same with `HasAns_` and `NoAns_` in front for the questions
      that have, and have not, an answer, if there are such; `best_exact` and `best_f1`, which no threshold exceeds,
      with `best_exact_thresh` and `best_f1_thresh`, which reach them.
    """
    choices = _choices(golds, best_texts)
    scores = _thresholded(choices, null_odds, threshold)
    results = _summary("", scores.values())
    for prefix, answerable in (("HasAns_", True), ("NoAns_", False)):
        part = [scores[name] for name, gold in golds.items() if bool(gold) == answerable]
        results |= _summary(prefix, part) if part else {}
    for metric in Score._fields:
        best = _best_threshold(choices, null_odds, metric)
        mean = _mean(_thresholded(choices, null_odds, best).values())
        results[f"best_{metric}"] = getattr(mean, metric)
        results[f"best_{metric}_thresh"] = best
    return results


def metric_names(version_2_with_negative: bool) -> list[str]:
    """Returns which of an evaluation's results may choose among checkpoints, the one that counts first."""
    return ["f1", "exact" if version_2_with_negative else "exact_match"]


def best_threshold(
    golds: Mapping[str, Sequence[str]],
    best_texts: Mapping[str, str],
    null_odds: Mapping[str, float],
    metric: str = "f1",
) -> float:
    """Returns the lowest null threshold at which no other scores better.

    It is the official search, with the difference that questions of equal null odds are answered or not together,
    that a text without words counts as what it scores, and that a threshold at which no question is answered lies
    below all null odds. So the score found is the score that the threshold gives.

    Args:
      golds, best_texts, null_odds: as for `evaluate_v2`.
      metric: "exact" or "f1".
    """
    return _best_threshold(_choices(golds, best_texts), null_odds, metric)


def _choices(
    golds: Mapping[str, Sequence[str]], best_texts: Mapping[str, str]
) -> dict[str, tuple[Score, Score]]:
    """Returns what "" and what the other text scores, by the question's id."""
    return {
        name: (score_v2("", gold), score_v2(best_texts[name], gold)) for name, gold in golds.items()
    }


def _best_threshold(
    choices: Mapping[str, tuple[Score, Score]], null_odds: Mapping[str, float], metric: str
) -> float:
    gains: dict[float, float] = collections.defaultdict(float)
    for name, (null, answered) in choices.items():
        gains[null_odds[name]] += getattr(answered, metric) - getattr(null, metric)
    lowest = min(gains)
    threshold = 0.0 if lowest > 0 else math.nextafter(lowest, -math.inf)
    gain = best = 0.0
    for odds in sorted(gains):
        gain += gains[odds]
        if gain > best:
            best, threshold = gain, odds
    return threshold


def _thresholded(
    choices: Mapping[str, tuple[Score, Score]], null_odds: Mapping[str, float], threshold: float
) -> dict[str, Score]:
    """Returns the score of "" where the null odds are above the threshold, that of the other text elsewhere."""
    return {
        name: null if null_odds[name] > threshold else answered
        for name, (null, answered) in choices.items()
    }


def _summary(prefix: str, scores: Iterable[Score]) -> dict[str, float | int]:
    scores = list(scores)
    mean = _mean(scores)
    return {f"{prefix}exact": mean.exact, f"{prefix}f1": mean.f1, f"{prefix}total": len(scores)}


def _mean(scores: Iterable[Score]) -> Score:
    """Returns the means in percent."""
    exact, f1 = zip(*scores, strict=True)
    return Score(100.0 * sum(exact) / len(exact), 100.0 * sum(f1) / len(f1))
