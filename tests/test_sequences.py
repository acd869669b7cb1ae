"""Rows of sequences."""

import numpy as np
import pytest

from pretraining.sequences import sequence_rows
from pretraining.token_documents import TokenDocuments

CLS, SEP = 2, 3
# Documents of 5, 1 and 7 tokens, with the ids 10 to 22.
DOCUMENTS = TokenDocuments(
    np.arange(10, 23, dtype=np.uint16), np.array([2, 5, 6, 13]), np.array([2, 3, 4])
)


def rows(*spans, max_seq_length=11):
    made = sequence_rows(DOCUMENTS, np.array(spans, np.int64), CLS, SEP, max_seq_length)
    types = {name: values.dtype for name, values in made.items()}
    assert types == dict.fromkeys(types, np.int32) | dict.fromkeys(
        ("input_mask", "segment_ids"), np.int8
    )
    return {name: values.tolist() for name, values in made.items()}


def test_a_pair_is_cls_a_sep_b_sep():
    assert rows([0, 3, 8, 10, 1]) == {
        "input_ids": [[CLS, 10, 11, 12, SEP, 18, 19, SEP, 0, 0, 0]],
        "input_mask": [[1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0]],
        "segment_ids": [[0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0]],
        "next_sentence_labels": [[1]],
    }


def test_without_b_there_is_one_segment():
    assert rows([6, 13, 0, 0, -1]) == {
        "input_ids": [[CLS, 16, 17, 18, 19, 20, 21, 22, SEP, 0, 0]],
        "input_mask": [[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]],
        "segment_ids": [[0] * 11],
        "next_sentence_labels": [[-1]],
    }


@pytest.mark.parametrize(
    "a_start, a_end, expected",
    [
        (3, 8, [CLS, 13, 14, SEP, 15, SEP, 16, 17, SEP, 0, 0]),
        (4, 6, [CLS, 14, SEP, 15, SEP, 0, 0, 0, 0, 0, 0]),
        (0, 5, [CLS, 10, 11, 12, 13, 14, SEP, 0, 0, 0, 0]),
        (5, 12, [CLS, 15, SEP, 16, 17, 18, 19, 20, 21, SEP, 0]),
    ],
)
def test_a_document_that_ends_within_a_has_a_sep(a_start, a_end, expected):
    made = rows([a_start, a_end, 0, 0, -1])
    assert made["input_ids"] == [expected]
    assert sum(made["input_mask"][0]) == np.count_nonzero(expected)
    assert made["segment_ids"] == [[0] * 11]


def test_rows_are_independent_of_their_neighbours():
    spans = [[0, 3, 8, 10, 1], [3, 8, 0, 0, -1], [5, 6, 6, 13, 0], [12, 13, 0, 1, 1]]
    together = rows(*spans)
    for n, span in enumerate(spans):
        assert rows(span) == {name: [values[n]] for name, values in together.items()}


def test_more_rows_than_a_block_keep_their_order():
    labels = np.arange(1031)
    spans = np.stack([labels % 13, labels % 13 + 1, labels * 0, labels % 5 + 1, labels], axis=1)
    made = rows(*spans)
    assert [row[1] for row in made["input_ids"]] == (10 + labels % 13).tolist()
    assert [sum(row) for row in made["input_mask"]] == (5 + labels % 5).tolist()
    assert made["next_sentence_labels"] == labels[:, None].tolist()


def test_a_row_can_be_full_to_the_last_place():
    assert rows([6, 9, 9, 11, 0], max_seq_length=8)["input_ids"] == [
        [CLS, 16, 17, 18, SEP, 19, 20, SEP]
    ]


def test_no_spans_are_no_rows():
    made = sequence_rows(DOCUMENTS, np.zeros((0, 5), np.int64), CLS, SEP, 11)
    assert {name: values.shape for name, values in made.items()} == {
        "input_ids": (0, 11),
        "input_mask": (0, 11),
        "segment_ids": (0, 11),
        "next_sentence_labels": (0, 1),
    }
