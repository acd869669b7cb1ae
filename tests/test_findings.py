"""What an evaluation shows beyond its metrics."""

import pytest

from finetuning.findings import (
    Answer,
    LabelScore,
    TaggedSentence,
    compare_classes,
    compare_label_sets,
    compare_numbers,
    compare_tags,
)


def answer(name, gold, predicted, **probabilities):
    return Answer(name, {"text": name}, gold, predicted, probabilities)


CLASSES = [
    answer("right", "a", "a", a=0.9, b=0.1, c=0.0),
    answer("sure", "a", "b", a=0.1, b=0.9, c=0.0),
    answer("unsure", "b", "a", a=0.4, b=0.3, c=0.3),
    answer("close", "c", "a", a=0.5, b=0.01, c=0.49),
    answer("fine", "a", "a", a=0.6, b=0.4, c=0.0),
]


def test_confusions_of_classes_are_counted():
    assert compare_classes(CLASSES, "abc").confusion == {
        ("a", "a"): 2, ("a", "b"): 1, ("b", "a"): 1, ("c", "a"): 1
    }  # fmt: skip


def test_scores_of_classes_are_those_of_the_definition():
    scores = compare_classes(CLASSES, "abcd").label_scores
    assert list(scores) == ["a", "b", "c", "d"]
    assert scores["a"] == pytest.approx((2 / 4, 2 / 3, 2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3), 3))
    assert scores["b"] == (0, 0, 0, 1)
    assert scores["c"] == LabelScore(None, 0, 0, 1)  # never predicted
    assert scores["d"] == LabelScore(None, None, None, 0)


def test_the_worst_error_has_the_least_probable_gold_label():
    findings = compare_classes(CLASSES, "abc")
    assert [error.id for error in findings.errors] == ["sure", "unsure", "close"]
    assert (findings.num_examples, findings.num_errors) == (5, 3)


def test_the_baseline_is_the_share_of_the_commonest_gold_label():
    assert compare_classes(CLASSES, "abc").baseline == 3 / 5


def test_label_sets_are_scored_label_by_label():
    answers = [
        answer("right", ("a", "b"), ("b", "a"), a=0.9, b=0.8),
        answer("missing", ("a",), (), a=0.45, b=0.2),
        answer("added", (), ("b",), a=0.1, b=0.7),
        answer("none", (), (), a=0.1, b=0.1),
    ]
    findings = compare_label_sets(answers, ["a", "b"])
    assert findings.label_scores == {
        "a": LabelScore(1, 1 / 2, 2 / 3, 2),
        "b": LabelScore(1 / 2, 1, 2 / 3, 1),
    }
    assert [error.id for error in findings.errors] == ["added", "missing"]
    assert not findings.confusion and findings.num_errors == 2


def test_numbers_come_by_their_difference():
    answers = [answer("near", 1.0, 1.5), answer("far", 4.0, 1.0), answer("exact", 2.0, 2.0)]
    findings = compare_numbers(answers)
    assert [error.id for error in findings.errors] == ["far", "near", "exact"]
    assert findings.points == [(1.0, 1.5), (4.0, 1.0), (2.0, 2.0)]
    assert findings.num_errors is None


SENTENCES = [
    TaggedSentence("one wrong", ("x", "y"), ("O", "B"), ("O", "O")),
    TaggedSentence("right", ("x",), ("O",), ("O",)),
    TaggedSentence("two wrong", ("x", "y", "z"), ("B", "I", "O"), ("O", "O", "O")),
]


def test_sentences_come_by_their_number_of_wrong_tags():
    findings = compare_tags(SENTENCES)
    assert [error.id for error in findings.errors] == ["two wrong", "one wrong"]
    assert findings.confusion == {("O", "O"): 3, ("B", "O"): 2, ("I", "O"): 1}
    assert findings.baseline == 3 / 6


def test_tags_are_scored_unless_entities_are():
    assert compare_tags(SENTENCES).label_scores["O"] == pytest.approx((3 / 6, 1, 2 / 3, 3))
    entities = {"person": LabelScore(0.5, 0.25, 1 / 3, 7)}
    assert compare_tags(SENTENCES, entities).label_scores == entities
