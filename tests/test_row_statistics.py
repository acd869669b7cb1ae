"""What is counted in rows of records."""

import numpy as np

from pretraining.row_statistics import merge, row_statistics, summary

VOCAB = {token: index for index, token in enumerate("[PAD] [UNK] [CLS] [SEP] [MASK]".split())}


def rows(**changed):
    """[CLS] 5 6 7 [SEP] [UNK] 8 [SEP] with 6 hidden, 7 kept and [UNK] replaced by 9; [CLS] 5 [SEP] with 5 hidden."""
    made = {
        "input_ids": [[2, 5, 4, 7, 3, 9, 8, 3, 0], [2, 4, 3, 0, 0, 0, 0, 0, 0]],
        "input_mask": [[1] * 8 + [0], [1] * 3 + [0] * 6],
        "segment_ids": [[0] * 5 + [1] * 3 + [0], [0] * 9],
        "masked_lm_positions": [[2, 3, 5, 0], [1, 0, 0, 0]],
        "masked_lm_ids": [[6, 7, 1, 0], [5, 0, 0, 0]],
        "masked_lm_weights": [[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]],
        "next_sentence_labels": [[1], [-1]],
    }
    return {name: np.array(values) for name, values in (made | changed).items()}


def unmasked():
    return {name: values for name, values in rows().items() if not name.startswith("masked")}


def packed():
    """The two rows of `rows` in one, with an empty slot."""
    first, second = rows()["input_ids"]
    return {
        "input_ids": np.array([[*first[:8], *second[:3], 0, 0]]),
        "input_mask": np.array([[1] * 11 + [0] * 2]),
        "segment_ids": np.array([[0] * 5 + [1] * 3 + [0] * 5]),
        "masked_lm_positions": np.array([[2, 3, 5, 9, 0]]),
        "masked_lm_ids": np.array([[6, 7, 1, 5, 0]]),
        "masked_lm_weights": np.array([[1.0] * 4 + [0.0]]),
        "next_sentence_labels": np.array([[1, -1, -1]]),
        "sequence_starts": np.array([[0, 8, 13]]),
    }


def histogram(values, largest):
    return [values.count(value) for value in range(largest + 1)]


def test_rows_tokens_and_labels_are_counted():
    found = row_statistics(rows(), VOCAB)
    assert (found["rows"], found["positions"], found["tokens"]) == (2, 18, 11)
    assert found["sequences"] == 2
    assert (found["label_0"], found["label_1"], found["unlabelled"]) == (0, 1, 1)
    assert found["lengths"] == histogram([8, 3], 9)
    assert found["b_lengths"] == histogram([3, 0], 9)


def test_masked_tokens_are_counted_by_what_stands_for_them():
    found = row_statistics(rows(), VOCAB)
    assert (found["masked"], found["hidden"], found["random"], found["kept"]) == (4, 2, 1, 1)
    assert found["masked_per_row"] == histogram([3, 1], 4)
    assert found["masked_positions"] == histogram([2, 3, 5, 1], 8)
    assert found["masked_runs"] == histogram([2, 1, 1], 4)


def test_unknown_tokens_are_those_of_the_text_not_of_the_masked_row():
    assert row_statistics(rows(), VOCAB)["unknown"] == 1
    put_in = rows()
    put_in["input_ids"][0, 3] = 1  # in place of 7, which is masked
    assert row_statistics(put_in, VOCAB)["unknown"] == 1


def test_rows_without_masks_have_no_counts_of_masks():
    found = row_statistics(unmasked(), VOCAB)
    assert not [name for name in found if "mask" in name or name in ("hidden", "random", "kept")]
    assert found["tokens"] == 11


def test_sequences_of_a_packed_row_are_counted_as_those_of_rows_of_their_own():
    apart, together = row_statistics(rows(), VOCAB), row_statistics(packed(), VOCAB)
    assert together["sequences_per_row"] == histogram([2], 3)
    for name in ("lengths", "b_lengths", "masked_positions"):  # rows of 13 positions, not of 9
        assert together[name][: len(apart[name])] == apart[name]
    same = "tokens sequences label_0 label_1 unlabelled unknown masked hidden random kept".split()
    assert {name: together[name] for name in same} == {name: apart[name] for name in same}


def test_parts_add_up_to_the_whole():
    whole = rows()
    parts = [{name: values[half] for name, values in whole.items()} for half in ([0], [1])]
    assert merge([row_statistics(part, VOCAB) for part in parts]) == row_statistics(whole, VOCAB)


def test_the_summary_gives_shares_and_means():
    assert summary(row_statistics(rows(), VOCAB)) == {
        "padding_share": 1 - 11 / 18,
        "unknown_share": 1 / 11,
        "label_1_share": 1.0,
        "masked_share": 4 / 11,
        "hidden_share": 0.5,
        "random_share": 0.25,
        "kept_share": 0.25,
        "mean_length": 5.5,
        "sequences_per_row": 1.0,
    }


def test_the_summary_leaves_out_what_does_not_apply():
    alone = unmasked() | {"next_sentence_labels": np.array([[-1], [-1]])}
    found = summary(row_statistics(alone, VOCAB))
    assert set(found) == {"padding_share", "unknown_share", "mean_length", "sequences_per_row"}
