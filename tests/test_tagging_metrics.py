"""F1 of entities, counted by hand."""

import numpy as np
import pytest

from finetuning.tagging_metrics import entity_scores, tagging_results


def split(*texts):
    return [text.split() for text in texts]


GOLD = split("B-x I-x O B-y", "O B-x O")
PREDICTED = split("B-x I-x O B-x", "B-y B-x O")  # x: 2 of 3 right, 2 of 2 found; y: 0 of 1, 0 of 1


def results(gold, predicted, scheme, losses=(1.0, 3.0)):
    return tagging_results(gold, predicted, np.array(losses, np.float32), scheme)


def test_entities_count_when_type_and_both_ends_are_right():
    assert results(GOLD, PREDICTED, "iob2") == pytest.approx(
        {
            "eval_accuracy": 5 / 7,
            "eval_loss": 2.0,
            "eval_precision": 2 / 4,
            "eval_recall": 2 / 3,
            "eval_f1": 4 / 7,
        }
    )


def test_scores_of_types():
    scores = entity_scores(GOLD, PREDICTED, "iob2")
    assert list(scores) == ["x", "y"]
    assert scores["x"] == pytest.approx((2 / 3, 1.0, 0.8, 2))
    assert scores["y"] == pytest.approx((0.0, 0.0, 0.0, 1))


def test_entities_without_types_have_one_score():
    scores = entity_scores(split("B I O B"), split("B I O O"), "iob2")
    assert scores == {"entity": pytest.approx((1.0, 1 / 2, 2 / 3, 2))}


def test_what_cannot_be_measured_is_none():
    scores = entity_scores(split("B-x O"), split("O B-y"), "iob2")
    assert scores["x"].precision is None and scores["x"].recall == 0.0
    assert scores["y"].recall is None and scores["y"].precision == 0.0
    assert entity_scores(split("O O"), split("O O"), "iob2") == {}


def test_half_an_entity_is_wrong():
    assert results(split("B-x I-x"), split("B-x O"), "iob2")["eval_f1"] == 0.0


def test_an_entity_that_begins_like_its_continuation_counts_as_one():
    assert results(split("O B-x I-x"), split("O I-x I-x"), "iob2")["eval_f1"] == 1.0


def test_an_entity_does_not_go_on_into_the_next_sentence():
    assert results(split("B-x", "I-x"), split("B-x", "B-x"), "iob1")["eval_f1"] == 1.0


@pytest.mark.parametrize(
    ("scheme", "gold", "predicted", "f1"),
    [
        ("iob1", "I-x B-x O", "I-x B-x O", 1.0),
        ("iob1", "I-x B-x O", "I-x I-x O", 0.0),
        ("iobes", "S-x S-x B-y E-y", "S-x S-x B-y E-y", 1.0),
        ("bilou", "U-x U-x B-y I-y L-y", "U-x U-x B-y I-y L-y", 1.0),
        ("bilou", "U-x U-x O", "U-x O O", 2 / 3),
        ("bilou", "B-x L-x B-x L-x", "B-x L-x O O", 2 / 3),
        ("iob2", "B I B O", "B I O O", 2 / 3),
        ("bilou", "U U B L", "U O B L", 4 / 5),
    ],
)
def test_each_scheme_is_counted_by_its_own_letters(scheme, gold, predicted, f1):
    assert results(split(gold), split(predicted), scheme)["eval_f1"] == pytest.approx(f1)


def test_without_entities_there_is_accuracy_only():
    assert results(split("NOUN B-x"), split("NOUN X"), "plain") == {
        "eval_accuracy": 0.5,
        "eval_loss": 2.0,
    }


def test_a_file_without_any_entity_scores_zero_without_complaint(recwarn):
    assert results(split("O O"), split("O O"), "iob2")["eval_f1"] == 0.0
    assert not recwarn.list


def test_without_a_known_tag_there_is_no_loss():
    assert np.isnan(results(split("B-z"), split("O"), "iob2", losses=())["eval_loss"])
