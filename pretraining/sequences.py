"""Plans -> rows: `[CLS] A [SEP] B [SEP]`, padded with zeros (paper, figure 2).

Shapes: N sequences, S tokens of a row.
"""

import numpy as np

from pretraining.token_documents import TokenDocuments

_BLOCK = 1 << 10  # rows made at a time, so that they stay in the processor's cache


def sequence_rows(
    documents: TokenDocuments, spans: np.ndarray, cls_id: int, sep_id: int, max_seq_length: int
) -> dict[str, np.ndarray]:
    """Returns the rows of sequences, without masks.

    Args:
      documents: what the plan was made of.
      spans: int64 [N, 5]. See `Plan.spans`; they fit in `max_seq_length`.
      cls_id: id of [CLS].
      sep_id: id of [SEP].
      max_seq_length: S.

    Returns:
      input_ids: int32 [N, S]. Where B is empty, `[CLS] A [SEP]`; a [SEP] also where a document ends within A.
      input_mask: int8 [N, S]. 1 for tokens, 0 for padding.
      segment_ids: int8 [N, S]. 0 for `[CLS] A [SEP]`, 1 for `B [SEP]`.
      next_sentence_labels: int32 [N, 1].
    """
    shape = len(spans), max_seq_length
    rows = {"input_ids": np.zeros(shape, np.int32)}
    rows |= {name: np.zeros(shape, np.int8) for name in ("input_mask", "segment_ids")}
    breaks = documents.sentence_ends[documents.document_ends - 1]
    for first in range(0, len(spans), _BLOCK):
        block = slice(first, first + _BLOCK)
        _fill(
            documents.tokens,
            spans[block],
            breaks,
            cls_id,
            sep_id,
            {name: values[block] for name, values in rows.items()},
        )
    return rows | {"next_sentence_labels": spans[:, 4:].astype(np.int32)}


def _fill(
    tokens: np.ndarray,
    spans: np.ndarray,
    breaks: np.ndarray,
    cls_id: int,
    sep_id: int,
    rows: dict[str, np.ndarray],
) -> None:
    """Writes a block of rows, which are zeros, in place."""
    columns = np.arange(rows["input_ids"].shape[1])
    a_start, a_end, b_start, b_end = (spans[:, n, None] for n in range(4))
    inner = _inner_breaks(breaks, spans, len(columns))
    first_sep = a_end - a_start + 1
    if inner is not None:
        first_sep += inner.sum(axis=1, keepdims=True)
    last_sep = first_sep + np.where(b_end > b_start, b_end - b_start + 1, 0)
    in_a, mask = columns <= first_sep, columns <= last_sep
    where = columns + np.where(in_a, a_start - 1, b_start - first_sep - 1)
    if inner is not None:
        where -= np.cumsum(inner, axis=1)
    ids = rows["input_ids"]
    np.multiply(tokens.take(where, mode="clip"), mask, out=ids)
    if inner is not None:
        ids[inner] = sep_id
    ids[:, 0] = cls_id
    np.put_along_axis(ids, first_sep, sep_id, axis=1)
    np.put_along_axis(ids, last_sep, sep_id, axis=1)
    rows["input_mask"][:] = mask
    np.greater(mask, in_a, out=rows["segment_ids"])


def _inner_breaks(breaks: np.ndarray, spans: np.ndarray, width: int) -> np.ndarray | None:
    """Returns where in its row each A has a [SEP] for the end of a document: bool [N, width], None if nowhere."""
    a_start, a_end = spans[:, 0], spans[:, 1]
    first = np.searchsorted(breaks, a_start, "right")
    count = np.searchsorted(breaks, a_end, "left") - first
    if not count.any():
        return None
    inner = np.zeros((len(spans), width), bool)
    row = np.repeat(np.arange(len(spans)), count)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    inner[row, 1 + breaks[first[row] + rank] - a_start[row] + rank] = True
    return inner
