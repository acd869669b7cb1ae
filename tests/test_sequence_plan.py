"""Which stretches of the text become sequences."""

import random

import numpy as np
import pytest

from benchmarks import original_pretraining_data
from pretraining.recipe import OBJECTIVES, Recipe
from pretraining.sequence_plan import plan_pass
from pretraining.token_documents import TokenDocuments


def documents_of(*sentence_lengths):
    """Documents whose token ids count on from 0, so that an id is a place in the text."""
    lengths = np.concatenate(sentence_lengths)
    return TokenDocuments(
        np.arange(lengths.sum(), dtype=np.int32),
        np.cumsum(lengths),
        np.cumsum([len(document) for document in sentence_lengths]),
    )


def random_documents(number=41, mean=7, seed=1):
    rng = np.random.default_rng(seed)
    return documents_of(
        *(rng.geometric(1 / mean, rng.integers(1, 23)).tolist() for _ in range(number))
    )


DOCUMENTS = random_documents()
PASSES = range(29)


def plan(documents=DOCUMENTS, seed=1, objective="next_sentence", max_seq_length=31, **options):
    recipe = Recipe("", objective=objective, max_seq_length=max_seq_length, **options)
    return plan_pass(documents, recipe, np.random.default_rng(seed))


def document_of(documents, offset):
    return np.searchsorted(
        documents.sentence_ends[documents.document_ends - 1], offset, side="right"
    )


def spans_of_passes(documents=DOCUMENTS, **options):
    """Returns (a_start, a_end, b_start, b_end, label) of many passes, each [sequences]."""
    return np.concatenate([plan(documents, seed, **options).spans for seed in PASSES]).T


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_generator_gives_the_same_plan_and_another_another(objective):
    first, same, other = (plan(seed=seed, objective=objective).spans for seed in (3, 3, 5))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_sequences_fit_and_are_not_empty(objective):
    a_start, a_end, b_start, b_end, _ = spans_of_passes(objective=objective)
    assert np.all(a_end > a_start)
    if objective in ("next_sentence", "sentence_order"):
        assert np.all(b_end > b_start)
        assert np.max(a_end - a_start + b_end - b_start) == 31 - 3
    else:
        assert not np.any(b_end - b_start)
        breaks = document_of(DOCUMENTS, a_end - 1) - document_of(DOCUMENTS, a_start)
        assert np.max(a_end - a_start + breaks) == 31 - 2


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("block", [1, 7])
def test_blocks_of_sentences_join_without_a_seam(objective, block, monkeypatch):
    monkeypatch.setattr("pretraining.sequence_plan._BLOCK", block)
    assert_every_token_is_used_or_counted(objective)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_token_is_used_once_in_a_pass_or_counted(objective):
    assert_every_token_is_used_or_counted(objective)


def assert_every_token_is_used_or_counted(objective):
    for seed in PASSES:
        spans, counts = plan(seed=seed, objective=objective)
        used = np.zeros(len(DOCUMENTS.tokens), int)
        for a_start, a_end, b_start, b_end, label in spans.tolist():
            used[a_start:a_end] += 1
            if (objective, label) != ("next_sentence", 1):
                used[b_start:b_end] += 1
        assert used.max() == 1
        assert used.sum() + counts["tokens_cut"] + counts["tokens_without_pair"] == len(used)
        assert counts["sequences"] == len(spans)


def test_pairs_of_spans_lie_within_documents():
    for objective in ("next_sentence", "sentence_order"):
        a_start, a_end, b_start, b_end, _ = spans_of_passes(objective=objective)
        for start, end in ((a_start, a_end), (b_start, b_end)):
            assert np.array_equal(document_of(DOCUMENTS, start), document_of(DOCUMENTS, end - 1))


def test_a_true_next_follows_in_the_document_and_a_random_one_is_of_another():
    a_start, a_end, b_start, _, label = spans_of_passes()
    other = document_of(DOCUMENTS, a_start) != document_of(DOCUMENTS, b_start)
    assert np.array_equal(other, label == 1)
    assert np.all(b_start[label == 0] >= a_end[label == 0])


def test_a_pair_that_fits_is_cut_at_a_sentence_and_goes_on_without_a_gap():
    a_start, a_end, b_start, b_end, label = spans_of_passes(max_seq_length=997)
    assert np.array_equal(a_end[label == 0], b_start[label == 0])
    assert np.all(np.isin(np.concatenate([a_end, b_end]), DOCUMENTS.sentence_ends))


def test_random_nexts_come_from_all_other_documents_alike():
    documents = documents_of(*[[2, 3]] * 5)
    a_start, _, b_start, _, label = spans_of_passes(documents, max_seq_length=997)
    pairs = np.stack([document_of(documents, a_start), document_of(documents, b_start)])
    counts = np.zeros((5, 5), int)
    np.add.at(counts, tuple(pairs[:, label == 1]), 1)
    for seed in range(1000, 1700):
        a_start, _, b_start, _, label = plan(documents, seed, max_seq_length=997).spans.T
        pairs = np.stack([document_of(documents, a_start), document_of(documents, b_start)])
        np.add.at(counts, tuple(pairs[:, label == 1]), 1)
    others = counts[~np.eye(5, dtype=bool)]
    assert not np.diag(counts).any()
    assert others.max() < 1.3 * others.mean() and others.min() > 0.7 * others.mean()


def test_a_random_next_starts_at_any_sentence_of_its_document():
    documents = documents_of([2], [1, 1, 1, 1, 1])
    starts = {plan(documents, seed).spans[0, 2] for seed in range(97)}
    assert starts == {2, 3, 4, 5, 6}


def test_a_random_next_fills_what_a_leaves_and_no_more():
    documents = documents_of([3], [5] * 97)
    for seed in PASSES:
        first = plan(documents, seed, short_seq_prob=0.0).spans[0]
        assert np.all(np.isin(first[2:4] - 3, np.arange(98) * 5))  # nothing is cut off
        assert first[3] - first[2] == min(25, len(documents.tokens) - first[2])


def test_the_only_document_is_its_own_random_next():
    (span,) = plan(documents_of([5])).spans
    assert span.tolist() == [0, 5, 0, 5, 1]


def test_a_lone_sentence_is_always_paired_at_random():
    _, _, _, _, label = spans_of_passes(documents_of([5], [3]))
    assert np.all(label == 1)


@pytest.mark.parametrize("objective", ["next_sentence", "sentence_order"])
def test_half_of_the_pairs_with_a_choice_have_the_label_1(objective):
    documents = documents_of([7] * 997, [7] * 997)
    labels = plan(documents, objective=objective, short_seq_prob=0.0).spans[:, 4]
    assert labels.mean() == pytest.approx(0.5, abs=0.06)


def test_pairs_aim_at_shorter_lengths_as_often_as_asked_for():
    documents = documents_of(*[[1] * 28] * 997)

    def lengths(prob):
        a_start, a_end, _, b_end, label = plan(documents, short_seq_prob=prob).spans.T
        opening = np.isin(a_start, np.arange(997) * 28) & (label == 0)
        return (b_end - a_start)[opening]

    assert set(lengths(0.0)) == {28}
    assert set(lengths(1.0)) == set(range(2, 29))
    assert (lengths(0.3) < 28).mean() == pytest.approx(0.3 * 26 / 27, abs=0.07)


@pytest.mark.parametrize("max_seq_length", [5, 14, 15])
def test_pairs_are_truncated_to_the_lengths_of_the_original(max_seq_length):
    limit = max_seq_length - 3
    for a_length in range(1, 17):
        for b_length in range(1, 17):
            # A document of two sentences as one chunk, which its first sentence does not fill.
            if a_length >= limit:
                continue
            a, b = [0] * a_length, [0] * b_length
            original_pretraining_data.truncate(a, b, random.Random(1), limit)
            documents = documents_of([a_length, b_length], [1])
            for seed in range(7):
                first, *_ = plan(
                    documents, seed, max_seq_length=max_seq_length, short_seq_prob=0.0
                ).spans.tolist()
                if first[4] == 0:
                    assert [first[1] - first[0], first[3] - first[2]] == [len(a), len(b)]


def test_tokens_are_cut_off_the_front_and_the_back_alike():
    a_start, a_end, b_start, b_end, _ = np.concatenate(
        [plan(documents_of([40], [40]), seed).spans for seed in range(499)]
    ).T
    assert np.all(a_end - a_start == 14) and np.all(b_end - b_start == 14)
    front = np.concatenate([a_start % 40, b_start % 40])
    assert front.mean() == pytest.approx(13, abs=0.3)  # of 26, with a deviation of 0.06
    assert front.std() == pytest.approx(np.sqrt(26 / 4), abs=0.2)  # a draw for each token


def test_swapped_sentences_have_the_label_1():
    a_start, a_end, b_start, b_end, label = spans_of_passes(objective="sentence_order")
    swapped = label == 1
    assert np.all(a_end[~swapped] <= b_start[~swapped])
    assert np.all(b_end[swapped] <= a_start[swapped])
    assert np.array_equal(document_of(DOCUMENTS, a_start), document_of(DOCUMENTS, b_start))


def test_a_lone_sentence_is_cut_in_the_middle_for_its_order():
    spans = spans_of_passes(documents_of([7], [11]), objective="sentence_order").T
    assert {tuple(span) for span in spans.tolist()} == {
        (0, 3, 3, 7, 0),
        (3, 7, 0, 3, 1),
        (7, 12, 12, 18, 0),
        (12, 18, 7, 12, 1),
    }


def test_a_lone_token_has_no_order_and_is_counted():
    spans, counts = plan(documents_of([1], [5], [1]), objective="sentence_order")
    assert len(spans) == 1
    assert counts["tokens_without_pair"] == 2


def whole(documents, objective, **options):
    """Returns the start and end of each A."""
    options = {"short_seq_prob": 0.0, "dupe_factor": 1, "max_seq_length": 12, **options}
    spans = plan(documents, objective=objective, **options).spans
    assert np.all(spans[:, 2:] == [0, 0, -1])
    return spans[:, :2].tolist()


def test_full_sentences_fill_rows_across_documents_with_room_for_a_sep():
    # A row has 10 places: 3 + 4, then a [SEP], then 2; 5 do not fit in the next, which ends with it.
    documents = documents_of([3, 4], [2], [5, 5], [7], [3])
    assert whole(documents, "full_sentences") == [[0, 9], [9, 19], [19, 26], [26, 29]]


def test_document_sentences_stay_in_their_document():
    documents = documents_of([3, 4], [2], [5, 5, 1], [7])
    assert whole(documents, "doc_sentences") == [[0, 7], [7, 9], [9, 19], [19, 20], [20, 27]]


@pytest.mark.parametrize("objective", ["full_sentences", "doc_sentences"])
def test_a_sentence_longer_than_a_row_is_cut(objective):
    documents = documents_of([4, 23, 7])
    assert whole(documents, objective) == [[0, 4], [4, 14], [14, 24], [24, 34]]


@pytest.mark.parametrize("objective", ["full_sentences", "doc_sentences"])
def test_several_passes_drift_apart(objective):
    documents = documents_of(np.random.default_rng(1).geometric(1 / 3, 997))
    one, same = (whole(documents, objective, seed=seed) for seed in (1, 2))
    assert one == same
    one, other = (
        {tuple(a) for a in whole(documents, objective, seed=seed, dupe_factor=2)} for seed in (1, 2)
    )
    assert 0.2 < len(one & other) / len(one) < 0.8


def test_a_document_of_one_row_is_not_split_by_the_passes():
    documents = documents_of([1] * 10, [1] * 9)
    for seed in PASSES:
        assert len(whole(documents, "doc_sentences", seed=seed, dupe_factor=2)) == 2


@pytest.mark.parametrize("objective", ["full_sentences", "doc_sentences"])
def test_whole_sentences_aim_at_shorter_lengths_on_request(objective):
    documents = documents_of(*[[1] * 97] * 97)
    spans = np.array(whole(documents, objective, short_seq_prob=0.5))
    full = (spans[:, 1] - spans[:, 0] >= 9).mean()
    assert 0.05 < full < 0.95
