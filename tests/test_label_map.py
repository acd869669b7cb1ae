"""Labels of anyone's task: found, given, kept, weighted."""

import json
import logging

import pytest

from finetuning.custom_data import Row
from finetuning.label_map import custom_task, label_weights, write_label_map
from finetuning.tasks import MULTI, REGRESSION, SINGLE, Example, Task


def rows(*labels):
    return [Row(f"t.csv, line {n}", f"{n}", "a", None, label) for n, label in enumerate(labels, 2)]


def task(kind, labels, train, *folders):
    return custom_task(kind, labels, train, [str(folder) for folder in folders])


@pytest.mark.parametrize(
    "labels, expected",
    [
        (("pear", "Apple", "pear", "fig"), ("Apple", "fig", "pear")),
        (("10", "9", "1", "9"), ("1", "9", "10")),
        (("10", "9", "-1"), ("-1", "10", "9")),
    ],
)
def test_labels_are_found_in_an_order_that_the_rows_do_not_decide(labels, expected, tmp_path):
    for order in (labels, labels[::-1]):
        assert task(SINGLE, [], rows(*order), tmp_path).labels == expected


def test_several_labels_are_found_too(tmp_path):
    found = task(MULTI, [], rows(("b", "a"), (), ("c", "a")), tmp_path)
    assert (found.kind, found.labels) == (MULTI, ("a", "b", "c"))


def test_given_labels_keep_their_order_and_those_not_seen_are_named(tmp_path, caplog):
    assert task(SINGLE, ["z", "x", "y"], rows("x", "z"), tmp_path).labels == ("z", "x", "y")
    assert "no training example has label y" in caplog.text


def test_of_many_labels_some_are_named(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    task(SINGLE, [], rows(*map(str, range(23))), tmp_path)
    assert "Labels: 0 (1), 1 (1), 2 (1)," in caplog.text and "19 (1) and 3 more" in caplog.text


def test_a_message_about_labels_is_one_line_and_does_nothing_to_a_terminal(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    task(SINGLE, [], rows("a\nb", "\x1b[2J"), tmp_path)
    assert "'a\\nb (1)'" in caplog.text and "\x1b" not in caplog.text


def test_a_regression_has_one_output_and_needs_no_labels(tmp_path):
    for train in (rows("1.5", "2"), None):
        assert task(REGRESSION, [], train, tmp_path).labels == ("value",)


@pytest.mark.parametrize(
    "kind, labels", [(SINGLE, ("ü", "v")), (MULTI, ("x",)), (REGRESSION, ("value",))]
)
def test_a_kept_label_map_stands_for_the_training_file(kind, labels, tmp_path):
    write_label_map(str(tmp_path), Task("custom", labels, {}, kind))
    nowhere = tmp_path / "nowhere"
    found = task(kind, [], None, nowhere, tmp_path)
    assert (found.kind, found.labels) == (kind, labels)
    assert json.loads((tmp_path / "label_map.json").read_text())["labels"] == list(labels)


@pytest.mark.parametrize(
    "kind, labels, train, message",
    [
        (SINGLE, [], None, "no label_map.json in .*: give --labels"),
        (SINGLE, ["x", "x"], None, "--labels=x,x names one twice"),
        (SINGLE, [], rows("x", "x"), "t.csv: all labels are x: there is nothing to learn"),
        (SINGLE, ["x", "y"], rows("y", "y"), "t.csv: all labels are y"),
        (MULTI, [], rows((), ()), "t.csv: no labels"),
        (REGRESSION, [], rows("2", "2"), "t.csv: all labels are 2: there is nothing to learn"),
        (REGRESSION, ["x"], None, "--labels are for --label_kind=single and multi"),
    ],
)
def test_labels_that_cannot_be_are_refused(kind, labels, train, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        task(kind, labels, train, tmp_path)


@pytest.mark.parametrize(
    "kind, labels, train",
    [
        (SINGLE, [], rows("x", "z")),
        (SINGLE, ["y", "x"], None),
        (MULTI, [], None),
        (REGRESSION, [], None),
    ],
)
def test_other_labels_than_those_of_the_model_are_refused(kind, labels, train, tmp_path):
    write_label_map(str(tmp_path), Task("custom", ("x", "y"), {}, SINGLE))
    with pytest.raises(ValueError, match="but the model has x, y of kind single"):
        task(kind, labels, train, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"label_kind": "single"}', '{"labels": [3]}'])
def test_a_damaged_label_map_is_named(content, tmp_path):
    (tmp_path / "label_map.json").write_text(content)
    with pytest.raises(ValueError, match="label_map.json is no label map"):
        task(SINGLE, [], None, tmp_path)


def examples(*labels):
    return [Example("", "a", None, label) for label in labels]


def test_balanced_labels_weigh_the_same_in_all():
    several = Task("", ("x", "y", "z"), {})
    weights = label_weights("balanced", several, examples(*"xxxyyzzzzz"))
    assert [3 * weights[0], 2 * weights[1], 5 * weights[2]] == pytest.approx([10 / 3] * 3)


def test_balanced_positives_weigh_as_much_as_the_negatives():
    labelled = examples(("x",), ("x", "y"), (), ("x",), ("x",))
    assert label_weights("balanced", Task("", ("x", "y"), {}, MULTI), labelled) == [1 / 4, 4 / 1]


def test_a_label_of_all_or_of_no_example_has_a_weight_too():
    task = Task("", ("x", "y"), {}, MULTI)
    assert label_weights("balanced", task, examples(("x",), ("x",), ("x",))) == [1 / 3, 3 / 1]


def test_weights_may_be_given():
    assert label_weights("0.5,3", Task("", ("x", "y"), {}), []) == [0.5, 3.0]
    assert label_weights(None, Task("", ("x", "y"), {}), []) is None


@pytest.mark.parametrize(
    "text, kind, message",
    [
        (
            "1",
            SINGLE,
            "--class_weights=1: write 'balanced', or a number above 0 for each of x, y",
        ),
        ("1,-1", SINGLE, "--class_weights=1,-1"),
        ("1,0", SINGLE, "--class_weights=1,0"),
        ("1,nan", MULTI, "--class_weights=1,nan"),
        ("much,more", MULTI, "--class_weights=much,more"),
        ("balanced", REGRESSION, "a regression has none"),
    ],
)
def test_weights_that_cannot_be_are_refused(text, kind, message):
    with pytest.raises(ValueError, match=message):
        label_weights(text, Task("", ("x", "y"), {}, kind), examples("x", "y"))
