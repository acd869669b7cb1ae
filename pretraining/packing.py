"""Several sequences in one row, so that less of it is padding (Krell et al. 2021, arXiv:2107.02027).

Shapes: N sequences, R rows, K sequences in a row at most, S tokens of a row, P masked tokens of a row.
"""

import bisect
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class _Rows(NamedTuple):
    """Rows filled alike so far: with one sequence of each of the same kinds. They sort by the space left."""

    free: int  # tokens
    room: int  # masked tokens
    kinds: tuple[int, ...]
    number: int


def pack(
    lengths: np.ndarray,
    num_masked: np.ndarray,
    max_seq_length: int,
    max_predictions_per_seq: int,
    max_sequences_per_row: int,
) -> np.ndarray:
    """Returns int64 [R, K]: which sequences share a row, the longest first, -1 for empty slots.

    Every sequence is in one row. The longest are placed first, each where it leaves the least space; sequences of the
    same length and number of masks are one kind, and all of a kind are placed at once. The rows come in an order that
    has nothing to do with their content.

    Args:
      lengths: int [N]. Tokens of each sequence, 1 to S.
      num_masked: int [N]. Masked tokens of each, at most P; zeros where training draws them.
      max_seq_length: S.
      max_predictions_per_seq: P, of a row.
      max_sequences_per_row: K.
    """
    kind_of = np.asarray(lengths, np.int64) * (max_predictions_per_seq + 1) + num_masked
    kinds, counts = np.unique(kind_of, return_counts=True)
    sizes = np.stack(np.divmod(kinds, max_predictions_per_seq + 1), 1).tolist()
    empty = _Rows(max_seq_length, max_predictions_per_seq, (), 0)
    filled = _fill(sizes, counts.tolist(), empty, max_sequences_per_row)
    # The members of a kind are end to end in this order; rows take them from the front.
    members, taken = np.argsort(kind_of, kind="stable"), np.cumsum(counts) - counts
    slots = np.full([sum(rows.number for rows in filled), max_sequences_per_row], -1, np.int64)
    start = 0
    for rows in filled:
        for slot, kind in enumerate(rows.kinds):
            chosen = members[taken[kind] : taken[kind] + rows.number]
            slots[start : start + rows.number, slot] = chosen
            taken[kind] += rows.number
        start += rows.number
    return np.random.default_rng(0).permutation(slots)


def _fill(
    sizes: list[list[int]], counts: list[int], empty: _Rows, max_sequences_per_row: int
) -> list[_Rows]:
    """Returns rows that hold `counts[kind]` sequences of `sizes[kind]` (tokens, masked tokens); kinds ascend."""
    filled, unfilled = [], []
    for kind in reversed(range(len(sizes))):
        length, masked = sizes[kind]
        left = counts[kind]
        while left:
            rows = _take_best_fit(unfilled, length, masked) or empty._replace(number=left)
            fitting = min(rows.free // length, max_sequences_per_row - len(rows.kinds))
            each = min(left, fitting, rows.room // masked if masked else fitting)
            number = min(rows.number, left // each)
            left -= number * each
            fuller = _Rows(
                rows.free - each * length,
                rows.room - each * masked,
                rows.kinds + each * (kind,),
                number,
            )
            if len(fuller.kinds) == max_sequences_per_row:
                filled.append(fuller)
            else:
                bisect.insort(unfilled, fuller)
            if rows.kinds and rows.number > number:
                bisect.insort(unfilled, rows._replace(number=rows.number - number))
    return filled + unfilled


def _take_best_fit(unfilled: list[_Rows], length: int, masked: int) -> _Rows | None:
    """Removes and returns the rows with the least space that is enough, or None; `unfilled` is sorted."""
    for index in range(bisect.bisect_left(unfilled, (length,)), len(unfilled)):
        if unfilled[index].room >= masked:
            return unfilled.pop(index)
    return None


def packed_rows(rows: Mapping[str, np.ndarray], slots: np.ndarray) -> dict[str, np.ndarray]:
    """Joins the sequences that share a row.

    Args:
      rows: input_ids, input_mask, segment_ids int [N, S] and next_sentence_labels int32 [N, 1], each row one
        sequence; perhaps masked_lm_positions, masked_lm_ids int32 [N, P] and masked_lm_weights float32 [N, P].
      slots: int [R, K]. Of `pack`.

    Returns:
      The same features for R rows, and sequence_starts int32 [R, K]: where each sequence begins, S for an empty slot.
      next_sentence_labels is [R, K], -1 for an empty slot.
    """
    used = slots >= 0  # [R, K]
    sequences = slots[used]  # [N]
    lengths = np.where(used, rows["input_mask"].sum(1)[slots], 0)  # [R, K]
    starts = np.where(used, np.cumsum(lengths, 1) - lengths, rows["input_mask"].shape[1])
    real = rows["input_mask"][sequences] > 0  # [N, S]
    packed = {
        name: _joined(rows[name][sequences], real, lengths.sum(1))
        for name in ("input_ids", "input_mask", "segment_ids")
    }
    if "masked_lm_weights" in rows:
        masked = rows["masked_lm_weights"] > 0  # [N, P]
        num_masked = np.where(used, masked.sum(1)[slots], 0).sum(1)  # [R]
        moved = rows["masked_lm_positions"][sequences] + starts[used][:, np.newaxis]
        features = {
            "masked_lm_positions": moved.astype(np.int32),
            "masked_lm_ids": rows["masked_lm_ids"][sequences],
            "masked_lm_weights": rows["masked_lm_weights"][sequences],
        }
        for name, values in features.items():
            packed[name] = _joined(values, masked[sequences], num_masked)
    labels = np.where(used, rows["next_sentence_labels"][slots, 0], -1)
    packed["next_sentence_labels"] = labels.astype(np.int32)
    packed["sequence_starts"] = starts.astype(np.int32)
    return packed


def _joined(values: np.ndarray, chosen: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns [R, W]: `lengths[r]` of the chosen values [N, W] in row r, and zeros after them."""
    joined = np.zeros([len(lengths), values.shape[1]], values.dtype)
    joined[np.arange(values.shape[1]) < lengths[:, np.newaxis]] = values[chosen]
    return joined
