"""Texts that are too long for a row."""

import logging

import numpy as np
import pytest
from test_features import CLS, SEP, A, B, tokenizer
from tiny_runs import (
    WORDS,
    change_config,
    custom_flags,
    results,
    succeed,
    write_csv,
    write_words,
)

from finetuning.features import encode_examples, row_owners
from finetuning.long_texts import HEAD, HEAD_TAIL, WINDOWS, cut, judge, mean_of_rows
from finetuning.objective import example_scores
from finetuning.tasks import MULTI, REGRESSION, SINGLE, Example


def rows(length_a, length_b, room, truncation):
    """Returns the rows of texts whose tokens are their places, those of the second text negative."""
    texts = list(range(1, length_a + 1)), list(range(-1, -length_b - 1, -1))
    return list(cut(texts, room, truncation))


def test_the_beginning_stays():
    assert rows(5, 2, (3, 2), HEAD) == [([1, 2, 3], [-1, -2])]


def test_a_quarter_is_the_beginning_and_the_rest_the_end():
    assert rows(19, 0, (8, 0), HEAD_TAIL) == [([1, 2, 14, 15, 16, 17, 18, 19], [])]
    assert rows(7, 3, (7, 2), HEAD_TAIL) == [([1, 2, 3, 4, 5, 6, 7], [-2, -3])]
    assert rows(5, 3, (5, 0), HEAD_TAIL) == [([1, 2, 3, 4, 5], [])]


def test_windows_overlap_by_half_and_end_with_the_text():
    assert [a for a, _ in rows(7, 0, (4, 0), WINDOWS)] == [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7]]
    assert rows(3, 0, (4, 0), WINDOWS) == [([1, 2, 3], [])]
    assert rows(0, 0, (4, 0), WINDOWS) == [([], [])]


def test_the_last_window_of_a_shorter_text_stands_with_the_others():
    found = rows(7, 3, (4, 2), WINDOWS)
    assert [b for _, b in found] == [[-1, -2], [-2, -3], [-2, -3]]
    assert {b == (-1, -2) for b in map(tuple, (b for _, b in rows(7, 2, (4, 2), WINDOWS)))} == {
        True
    }


@pytest.mark.parametrize("room", [1, 2, 3, 5, 11])
def test_windows_leave_nothing_out(room):
    for length in range(1, 23):
        found = [a for a, _ in rows(length, 0, (room, 0), WINDOWS)]
        assert {place for a in found for place in a} == {*range(1, length + 1)}
        assert max(map(len, found)) <= room


def test_each_window_has_the_label_of_its_example(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    examples = [Example("", "a", None, "no"), Example("", "a a a b b", None, "yes")]
    arguments = (5, tokenizer())
    found = encode_examples(examples, ["yes", "no"], *arguments, truncation=WINDOWS)
    assert row_owners(examples, *arguments, WINDOWS).tolist() == [0, 1, 1, 1]
    assert found["label_ids"].tolist() == [1, 0, 0, 0]
    assert found["input_ids"].tolist() == [
        [CLS, A, SEP, 0, 0],
        [CLS, A, A, A, SEP],
        [CLS, A, A, B, SEP],
        [CLS, A, B, B, SEP],
    ]
    assert "2 examples, 1 of them truncated" in caplog.text and "they are 4 windows" in caplog.text


KINDS = {
    SINGLE: np.array([2, 0, 1, 1, 2], np.int32),
    MULTI: np.random.default_rng(5).integers(0, 2, [5, 3]).astype(np.int32),
    REGRESSION: np.random.default_rng(5).normal(size=5).astype(np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_are_judged_as_their_logits_are(kind):
    logits = np.random.default_rng(7).normal(size=[5, 1 if kind == REGRESSION else 3])
    batch = {"label_ids": KINDS[kind], "is_real_example": np.ones(5, np.int32)}
    scores = example_scores(kind)(lambda *_, **__: logits.astype(np.float32), batch)
    expected = {name: np.asarray(values) for name, values in scores.items()}
    found = judge(expected["outputs"], KINDS[kind], kind)
    assert found.keys() == expected.keys() - {"is_real_example"}
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, err_msg=name)
        assert values.dtype == expected[name].dtype


def test_the_mean_is_of_the_rows_of_an_example_in_any_order():
    outputs = np.array([[0.25, 0.75], [1.0, 0.0], [0.875, 0.125], [0.5, 0.5]], np.float32)
    scores = {"outputs": outputs, "label_ids": np.array([1, 0, 1, 1], np.int32)}
    found = mean_of_rows(scores, np.array([1, 0, 1, 1]), SINGLE)
    np.testing.assert_allclose(found["outputs"], [[1.0, 0.0], [1.625 / 3, 1.375 / 3]])
    assert found["label_ids"].tolist() == [0, 1] and found["predictions"].tolist() == [0, 0]
    np.testing.assert_allclose(found["loss"], [0.0, -np.log(1.375 / 3)], rtol=1e-6)


@pytest.mark.slow
def test_a_long_text_is_answered_by_the_mean_of_its_windows(files):
    change_config(files / "bert_config.json", initializer_range=0.5)
    rng = np.random.default_rng(19)
    write_words(files / "train.csv", rng, [7] * 11 + [14] * 5)  # in tokens; 5 and 12 words
    words = [*rng.choice(WORDS, 17)]
    windows = [words[first : first + 8] for first in (0, 4, 8, 12)]
    write_csv(files / "long.csv", ["text"], [["red"], [" ".join(words)], ["the boat"]])
    write_csv(files / "cut.csv", ["text"], [[" ".join(window)] for window in windows])
    flags = custom_flags(files, max_seq_length=10, do_predict="true", learning_rate=1e-2)
    flags |= dict(truncation="windows", test_file=files / "long.csv", num_train_epochs=3)
    flags |= dict(length_buckets="5,7", do_eval="true", dev_file=files / "train.csv")
    succeed("run_classifier.py", **flags)
    # 12 words make the windows of words 0-7 and 4-11.
    assert results(files / "run")["global_step"] == int((11 + 2 * 5) / 8 * 3)
    mean = np.loadtxt(files / "run/test_results.tsv")[1]
    flags |= dict(truncation="head", test_file=files / "cut.csv", do_train="false", do_eval="false")
    succeed("run_classifier.py", **flags)
    of_windows = np.loadtxt(files / "run/test_results.tsv")
    assert np.ptp(of_windows[:, 0]) > 1e-3
    np.testing.assert_allclose(mean, of_windows.mean(0), rtol=1e-5)
