"""What an evaluation shows beyond its metrics: scores of each label, confusions, and the errors, the worst first."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple


class Answer(NamedTuple):
    """What a model made of an example.

    Attributes:
      id: of the example, for people.
      texts: by name, in the order in which they are shown.
      gold: a label, a tuple of labels, or a number; what it should be.
      predicted: of the same type; what the model says.
      probabilities: by label, in [0, 1]; empty for a number.
    """

    id: str
    texts: Mapping[str, str]
    gold: str | tuple[str, ...] | float
    predicted: str | tuple[str, ...] | float
    probabilities: Mapping[str, float] = {}


class TaggedSentence(NamedTuple):
    """A sentence, and a tag for each of its words: what it should be, and what the model says."""

    id: str
    words: Sequence[str]
    gold: Sequence[str]
    predicted: Sequence[str]


class LabelScore(NamedTuple):
    """How well one label is found.

    Attributes:
      precision: right ones among those predicted; None if there is none of these.
      recall: right ones among those that should be; None if there is none of these.
      f1: None if the label is neither predicted nor should be.
      count: how often it should be.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    count: int


class Findings(NamedTuple):
    """What `finetuning.report` writes about an evaluation.

    Attributes:
      num_examples: that were evaluated, or sentences.
      errors: the wrong ones, the worst first; all numbers, as none is quite right.
      baseline: share of the examples, or words, with the commonest label, in [0, 1]; None where there is no such.
      label_scores: by label; empty for numbers.
      confusion: (gold, predicted) -> how often; of single labels and of tags.
      points: (gold, predicted) of numbers.
      num_words: of tagged sentences, in all.
    """

    num_examples: int
    errors: Sequence[Answer | TaggedSentence]
    baseline: float | None = None
    label_scores: Mapping[str, LabelScore] = {}
    confusion: Mapping[tuple[str, str], int] = {}
    points: Sequence[tuple[float, float]] = ()
    num_words: int | None = None

    @property
    def num_errors(self) -> int | None:
        """How many are wrong; None of numbers."""
        return None if self.points else len(self.errors)


def compare_classes(answers: Sequence[Answer], labels: Sequence[str]) -> Findings:
    """Returns the findings about examples with one label each.

    Args:
      answers: at least one; an error is the worse, the less probable its gold label is.
      labels: of the task, in the order of its table.
    """
    pairs = Counter((answer.gold, answer.predicted) for answer in answers)
    return Findings(
        len(answers),
        _worst_first(answers),
        _commonest_share(pairs),
        _scores_of_pairs(pairs, labels),
        pairs,
    )


def compare_label_sets(answers: Sequence[Answer], labels: Sequence[str]) -> Findings:
    """Returns the findings about examples with any number of labels.

    Args:
      answers: at least one; an error is the worse, the farther the probability of one of its labels is off.
      labels: of the task, in the order of its table.
    """
    gold = Counter(label for answer in answers for label in answer.gold)
    predicted = Counter(label for answer in answers for label in answer.predicted)
    right = Counter(label for answer in answers for label in {*answer.gold} & {*answer.predicted})
    scores = {label: _score(right[label], predicted[label], gold[label]) for label in labels}
    return Findings(len(answers), _worst_first(answers), label_scores=scores)


def compare_numbers(answers: Sequence[Answer]) -> Findings:
    """Returns the findings about numbers: an error is the worse, the farther it is off."""
    errors = sorted(answers, key=lambda answer: -abs(answer.predicted - answer.gold))
    points = [(answer.gold, answer.predicted) for answer in answers]
    return Findings(len(answers), errors, points=points)


def compare_tags(
    sentences: Sequence[TaggedSentence], label_scores: Mapping[str, LabelScore] | None = None
) -> Findings:
    """Returns the findings about sentences with a tag for each word.

    Args:
      sentences: at least one word in all; one is the worse, the more of its tags are wrong.
      label_scores: of entities by their type; None: of the tags.
    """
    pairs = Counter(
        pair for each in sentences for pair in zip(each.gold, each.predicted, strict=True)
    )
    if label_scores is None:
        label_scores = _scores_of_pairs(pairs, sorted({tag for pair in pairs for tag in pair}))
    errors = sorted((each for each in sentences if _num_wrong(each)), key=_num_wrong, reverse=True)
    baseline, num_words = _commonest_share(pairs), pairs.total()
    return Findings(len(sentences), errors, baseline, label_scores, pairs, num_words=num_words)


def _num_wrong(sentence: TaggedSentence) -> int:
    return sum(a != b for a, b in zip(sentence.gold, sentence.predicted, strict=True))


def _worst_first(answers: Iterable[Answer]) -> list[Answer]:
    wrong = [answer for answer in answers if _labels(answer.gold) != _labels(answer.predicted)]
    return sorted(wrong, key=_farthest_off, reverse=True)


def _farthest_off(answer: Answer) -> float:
    gold = _labels(answer.gold)
    differences = (abs(p - (label in gold)) for label, p in answer.probabilities.items())
    return max(differences, default=0.0)


def _labels(value: str | tuple[str, ...]) -> set[str]:
    return {value} if isinstance(value, str) else {*value}


def _commonest_share(pairs: Counter) -> float:
    return max(_sums(pairs, 0).values()) / pairs.total()


def _scores_of_pairs(pairs: Counter, labels: Sequence[str]) -> dict[str, LabelScore]:
    gold, predicted = _sums(pairs, 0), _sums(pairs, 1)
    return {label: _score(pairs[label, label], predicted[label], gold[label]) for label in labels}


def _sums(pairs: Counter, side: int) -> Counter:
    sums = Counter()
    for pair, count in pairs.items():
        sums[pair[side]] += count
    return sums


def _score(right: int, predicted: int, gold: int) -> LabelScore:
    return LabelScore(
        right / predicted if predicted else None,
        right / gold if gold else None,
        2 * right / (predicted + gold) if predicted + gold else None,
        gold,
    )
