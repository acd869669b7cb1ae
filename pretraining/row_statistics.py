"""What rows of records hold, counted: numbers that add up, so that the counts of parts are those of the whole.

Shapes: N rows, S positions of a row, P predictions that it has room for, K sequences that it has room for.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def row_statistics(rows: Mapping[str, np.ndarray], vocab: Mapping[str, int]) -> dict:
    """Counts what is in the rows of a part.

    Args:
      rows: features of records, see `records.feature_spec`: input_ids, input_mask, segment_ids int [N, S];
        next_sentence_labels int [N, K]; where they are masked, masked_lm_positions, masked_lm_ids int [N, P] and
        masked_lm_weights float [N, P]; where they are packed, sequence_starts int [N, K].
      vocab: token -> id.

    Returns:
      Numbers and lists of numbers, as JSON has them. A list is a histogram, its index the value that was counted.
      Of all rows: rows; positions (N * S); tokens, special ones included; unknown, tokens that are [UNK]; sequences,
      and of them label_0, label_1 (random next, or swapped) and unlabelled; lengths and b_lengths, tokens of a
      sequence and of its second segment, [S + 1] each; sequences_per_row [K + 1].
      Of masked rows: masked tokens, and of them hidden by [MASK], random, and kept (or replaced by themselves);
      masked_per_row [P + 1]; masked_positions [S], places in the sequence; masked_runs [P + 1], lengths of runs of
      masked neighbours.
    """
    row_tokens = np.count_nonzero(rows["input_mask"], 1)
    num_rows, row_length = rows["input_mask"].shape
    in_row = rows.get("sequence_starts", np.zeros((num_rows, 1), np.int64))
    used = in_row < row_length
    starts, ends = _bounds(in_row, used, row_tokens, row_length)
    statistics = {
        "rows": num_rows,
        "positions": num_rows * row_length,
        "tokens": int(row_tokens.sum()),
        "unknown": int(np.count_nonzero(rows["input_ids"] == vocab["[UNK]"])),
        **_labels(rows["next_sentence_labels"][used]),
        "lengths": _histogram(ends - starts, row_length),
        # Up to the next sequence: padding adds nothing.
        "b_lengths": _histogram(
            np.add.reduceat(rows["segment_ids"].reshape(-1), starts), row_length
        ),
        "sequences_per_row": _histogram(used.sum(1), in_row.shape[1]),
    }
    if "masked_lm_ids" in rows:
        masks = _masks(rows, starts, vocab)
        statistics["unknown"] += masks.pop("unknown")
        statistics |= masks
    return statistics


def merge(parts: Sequence[Mapping]) -> dict:
    """Returns the sum of counts and histograms of the same names and lengths."""
    if not parts:
        return {}
    return {name: np.sum([part[name] for part in parts], 0).tolist() for name in parts[0]}


def summary(statistics: Mapping) -> dict[str, float]:
    """Returns shares and means: of positions that are padding, of tokens that are masked or unknown, and so on.

    Args:
      statistics: of `row_statistics` or `merge`.

    Returns:
      name -> share in [0, 1], or mean number of tokens; without what does not apply to these records.
    """
    shares = {
        "padding": 1 - _ratio(statistics["tokens"], statistics["positions"]),
        "unknown": _ratio(statistics["unknown"], statistics["tokens"]),
    }
    labelled = statistics["label_0"] + statistics["label_1"]
    if labelled:
        shares["label_1"] = _ratio(statistics["label_1"], labelled)
    if "masked" in statistics:
        shares["masked"] = _ratio(statistics["masked"], statistics["tokens"])
        for kind in ("hidden", "random", "kept"):
            shares[kind] = _ratio(statistics[kind], statistics["masked"])
    return {
        **{f"{name}_share": share for name, share in shares.items()},
        "mean_length": _ratio(statistics["tokens"], statistics["sequences"]),
        "sequences_per_row": _ratio(statistics["sequences"], statistics["rows"]),
    }


def _ratio(part: int, whole: int) -> float:
    return part / max(whole, 1)


def _bounds(in_row, used, row_tokens, row_length) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the sequences start and end, counting the positions of all rows one after the other: int64 [n]."""
    ends = np.append(in_row[:, 1:], np.full((len(in_row), 1), row_length), axis=1)
    ends = np.minimum(ends, row_tokens[:, None])
    rows = np.arange(len(in_row))[:, None] * row_length
    return (rows + in_row)[used], (rows + ends)[used]


def _labels(labels: np.ndarray) -> dict[str, int]:
    counts = np.bincount(labels + 1, minlength=3).tolist()
    names = ("unlabelled", "label_0", "label_1")
    return {"sequences": len(labels), **dict(zip(names, counts, strict=True))}


def _histogram(values: np.ndarray, largest: int) -> list[int]:
    return np.bincount(values, minlength=largest + 1).tolist()


def _masks(rows, starts: np.ndarray, vocab) -> dict:
    """Counts masked tokens; "unknown" is what they add to the tokens of the rows that are [UNK]."""
    num_rows, row_length = rows["input_ids"].shape
    chosen = rows["masked_lm_weights"] > 0
    row, _ = np.nonzero(chosen)
    places = row * row_length + rows["masked_lm_positions"][chosen]
    labels, inputs = rows["masked_lm_ids"][chosen], rows["input_ids"].reshape(-1)[places]
    hidden = int(np.count_nonzero(inputs == vocab["[MASK]"]))
    kept = int(np.count_nonzero(inputs == labels))
    own_starts = starts[np.searchsorted(starts, places, "right") - 1]
    room = chosen.shape[1]
    run_starts = np.flatnonzero(np.diff(places, prepend=-2) > 1)  # no run crosses a [SEP]
    unknown = [int(np.count_nonzero(ids == vocab["[UNK]"])) for ids in (labels, inputs)]
    return {
        "unknown": unknown[0] - unknown[1],
        "masked": len(places),
        "hidden": hidden,
        "kept": kept,
        "random": len(places) - hidden - kept,
        "masked_per_row": _histogram(chosen.sum(1), room),
        "masked_positions": _histogram(places - own_starts, row_length - 1),
        "masked_runs": _histogram(np.diff(run_starts, append=len(places)), room),
    }
