"""Sequences packed into rows: which share one, and what the row then holds."""

import numpy as np
import pytest

from pretraining.packing import pack, packed_rows

LENGTH, PREDICTIONS, SLOTS = 23, 7, 5


def random_rows(number, seed=3):
    """Sequences of random length, masks and label, as rows of their own."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, LENGTH + 1, [number, 1])
    num_masked = rng.integers(1, 4, [number, 1])
    real, masked = np.arange(LENGTH) < lengths, np.arange(PREDICTIONS) < num_masked
    first = rng.permuted(np.tile(np.arange(PREDICTIONS), [number, 1]), axis=1) % lengths
    rows = {
        "input_ids": rng.integers(5, 31, real.shape) * real,
        "input_mask": real,
        "segment_ids": rng.integers(0, 2, real.shape) * real,
        "masked_lm_positions": first * masked,
        "masked_lm_ids": rng.integers(5, 31, masked.shape) * masked,
        "next_sentence_labels": rng.integers(-1, 2, [number, 1]),
    }
    rows = {name: values.astype(np.int32) for name, values in rows.items()}
    return rows | {"masked_lm_weights": masked.astype(np.float32)}


def packed_together(lengths, num_masked=None, predictions=PREDICTIONS, slots=SLOTS):
    """The sets of sequences that share a row of `LENGTH` tokens."""
    num_masked = np.zeros_like(lengths) if num_masked is None else np.array(num_masked)
    found = pack(np.array(lengths), num_masked, LENGTH, predictions, slots)
    assert found.shape[1] == slots
    return {frozenset(row[row >= 0].tolist()) for row in found}


def test_every_sequence_is_in_one_row_that_has_room_for_it():
    rows = random_rows(1009)
    lengths, num_masked = rows["input_mask"].sum(1), (rows["masked_lm_weights"] > 0).sum(1)
    slots = pack(lengths, num_masked, LENGTH, PREDICTIONS, SLOTS)
    used = slots >= 0
    np.testing.assert_array_equal(np.sort(slots[used]), np.arange(1009))
    assert np.where(used, lengths[slots], 0).sum(1).max() <= LENGTH
    assert np.where(used, num_masked[slots], 0).sum(1).max() <= PREDICTIONS


def test_a_sequence_goes_where_it_leaves_the_least_space():
    assert packed_together([17, 13, 10, 6]) == {frozenset({0, 3}), frozenset({1, 2})}
    assert packed_together([13, 17, 6]) == {frozenset({1, 2}), frozenset({0})}


def test_masks_beyond_the_room_of_a_row_keep_sequences_apart():
    assert packed_together([17, 6], [5, 2]) == {frozenset({0, 1})}
    assert packed_together([17, 6], [5, 3]) == {frozenset({0}), frozenset({1})}


def test_a_row_has_no_more_sequences_than_slots():
    assert packed_together([3] * 7, slots=7) == {frozenset(range(7))}
    assert sorted(map(len, packed_together([3] * 7, slots=3))) == [1, 3, 3]
    assert sorted(map(len, packed_together([11, 3, 3, 3, 3], slots=3))) == [2, 3]


def test_of_mixed_lengths_hardly_any_padding_is_left():
    lengths = np.random.default_rng(5).integers(5, 513, 4001)
    slots = pack(lengths, np.zeros_like(lengths), 512, 76, 8)
    assert 1.0 - lengths.sum() / (512 * len(slots)) < 0.02


def test_no_sequences_make_no_rows():
    assert pack(np.zeros(0, int), np.zeros(0, int), LENGTH, PREDICTIONS, SLOTS).shape == (0, SLOTS)


def test_the_place_of_a_row_does_not_tell_how_full_it_is():
    lengths = np.random.default_rng(7).integers(3, 24, 5003)
    slots = pack(lengths, np.zeros_like(lengths), LENGTH, PREDICTIONS, SLOTS)
    tokens = np.where(slots >= 0, lengths[slots], 0).sum(1)
    correlation = np.corrcoef(np.arange(len(tokens)), tokens)[0, 1]
    assert abs(correlation) < 4 / np.sqrt(len(tokens))


def test_rows_hold_their_sequences_end_to_end():
    rows = {
        "input_ids": [[11, 12, 13, 0, 0], [21, 22, 0, 0, 0], [31, 32, 33, 34, 0]],
        "input_mask": [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]],
        "segment_ids": [[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]],
        "masked_lm_positions": [[0, 2, 0], [1, 0, 0], [3, 0, 0]],
        "masked_lm_ids": [[14, 15, 0], [0, 0, 0], [35, 0, 0]],
        "next_sentence_labels": [[1], [0], [1]],
    }
    rows = {name: np.array(values, np.int32) for name, values in rows.items()}
    rows["masked_lm_weights"] = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0]], np.float32)
    packed = packed_rows(rows, np.array([[2, -1], [0, 1]]))
    expected = {
        "input_ids": [[31, 32, 33, 34, 0], [11, 12, 13, 21, 22]],
        "input_mask": [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]],
        "segment_ids": [[0, 0, 0, 1, 0], [0, 0, 1, 0, 1]],
        "masked_lm_positions": [[3, 0, 0], [0, 2, 4]],
        "masked_lm_ids": [[35, 0, 0], [14, 15, 0]],
        "masked_lm_weights": [[1, 0, 0], [1, 1, 1]],
        "next_sentence_labels": [[1, -1], [1, 0]],
        "sequence_starts": [[0, 5], [0, 3]],
    }
    assert {name: values.tolist() for name, values in packed.items()} == expected
    dtypes = {name: values.dtype for name, values in packed.items()}
    assert dtypes == {name: rows[name].dtype if name in rows else np.int32 for name in expected}


@pytest.mark.parametrize("masked", [True, False])
def test_nothing_of_a_sequence_is_lost(masked):
    rows = random_rows(211)
    lengths, num_masked = rows["input_mask"].sum(1), (rows["masked_lm_weights"] > 0).sum(1)
    if not masked:
        rows = {name: values for name, values in rows.items() if not name.startswith("masked")}
    slots = pack(lengths, num_masked, LENGTH, PREDICTIONS, SLOTS)
    packed = packed_rows(rows, slots)
    assert packed.keys() == rows.keys() | {"sequence_starts"}
    for row, slot in zip(*np.nonzero(slots >= 0), strict=True):
        sequence, start = slots[row, slot], packed["sequence_starts"][row, slot]
        length, count = lengths[sequence], num_masked[sequence]
        for name in ("input_ids", "input_mask", "segment_ids"):
            found = packed[name][row, start : start + length]
            np.testing.assert_array_equal(found, rows[name][sequence, :length], err_msg=name)
        if masked:
            first = num_masked[slots[row, :slot]].sum()
            for name in ("positions", "ids"):
                found = packed[f"masked_lm_{name}"][row, first : first + count]
                expected = rows[f"masked_lm_{name}"][sequence, :count]
                expected = expected + start if name == "positions" else expected
                np.testing.assert_array_equal(found, expected, err_msg=name)
        label = packed["next_sentence_labels"][row, slot]
        assert label == rows["next_sentence_labels"][sequence, 0]
    assert packed["input_mask"].sum() == lengths.sum()
