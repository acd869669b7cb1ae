"""Choosing and replacing tokens."""

import collections
import random

import pytest

from pretraining.original_masking import Masker, shuffle

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{n}" for n in range(101)] + [f"##p{n}" for n in range(13)]
VOCAB = {token: index for index, token in enumerate(SPECIAL + WORDS)}


def sequence(a, b):
    """Returns the ids of `[CLS] a [SEP] b [SEP]` and where b starts."""
    tokens = ["[CLS]", *a.split(), "[SEP]", *b.split(), "[SEP]"]
    return [VOCAB[token] for token in tokens], len(a.split()) + 2


def words(first, number):
    return " ".join(f"w{n}" for n in range(first, first + number))


def test_labels_are_the_tokens_that_stood_there():
    token_ids, b_start = sequence(words(0, 11), words(20, 17))
    for seed in range(50):
        masked = Masker(VOCAB, 0.3).mask(token_ids, b_start, random.Random(seed))
        restored = masked.token_ids.copy()
        for position, label in zip(masked.positions, masked.label_ids, strict=True):
            restored[position] = label
        assert restored == token_ids
        assert masked.positions == sorted(set(masked.positions))


def test_special_tokens_are_never_chosen_and_all_others_can_be():
    token_ids, b_start = sequence(words(0, 5), words(20, 3))
    chosen = set()
    for seed in range(100):
        chosen.update(Masker(VOCAB).mask(token_ids, b_start, random.Random(seed)).positions)
    assert chosen == {1, 2, 3, 4, 5, 7, 8, 9}


@pytest.mark.parametrize(
    "length, prob, limit, expected",
    [
        (30, 0.15, 20, 4),  # 4.5 rounds to even
        (50, 0.15, 20, 8),  # 7.5 too
        (50, 0.15, 7, 7),
        (30, 0.0, 20, 1),
        (11, 1.0, 20, 8),  # no more than there are
    ],
)
def test_number_of_chosen_tokens(length, prob, limit, expected):
    token_ids, b_start = sequence(words(0, 5), words(20, length - 8))
    masked = Masker(VOCAB, prob, limit).mask(token_ids, b_start, random.Random(7))
    assert len(masked.positions) == expected


def test_chosen_tokens_become_mask_stay_or_become_any_token_of_the_vocabulary():
    token_ids, b_start = sequence(words(0, 47), words(50, 43))
    masker = Masker(VOCAB, max_predictions_per_seq=97)
    rng = random.Random(3)
    counts, replacements = collections.Counter(), set()
    for _ in range(2000):
        masked = masker.mask(token_ids, b_start, rng)
        for position, label in zip(masked.positions, masked.label_ids, strict=True):
            found = masked.token_ids[position]
            if found not in (VOCAB["[MASK]"], label):
                replacements.add(found)
            counts["mask" if found == VOCAB["[MASK]"] else found == label] += 1
    total = sum(counts.values())
    # A random token is the same one or [MASK] once in len(VOCAB) each.
    chance = 0.1 / len(VOCAB)
    assert counts["mask"] / total == pytest.approx(0.8 + chance, abs=0.01)
    assert counts[True] / total == pytest.approx(0.1 + chance, abs=0.01)
    assert replacements == set(VOCAB.values()) - {VOCAB["[MASK]"]}


def test_whole_words_are_chosen_or_left():
    token_ids, b_start = sequence("w1 ##p1 ##p2 w2 w3 ##p3", "w4 w5 ##p4")
    whole = [{1, 2, 3}, {4}, {5, 6}, {8}, {9, 10}]
    masker = Masker(VOCAB, 0.4, do_whole_word_mask=True)
    seen = set()
    for seed in range(100):
        positions = set(masker.mask(token_ids, b_start, random.Random(seed)).positions)
        assert all(word <= positions or not word & positions for word in whole)
        seen |= positions
    assert seen == set().union(*whole)


def test_a_word_that_does_not_fit_is_passed_over():
    token_ids, b_start = sequence("w1 ##p1 ##p2", "w2 w3")
    masker = Masker(VOCAB, 1.0, max_predictions_per_seq=2, do_whole_word_mask=True)
    for seed in range(20):
        assert masker.mask(token_ids, b_start, random.Random(seed)).positions == [5, 6]


def test_a_piece_at_the_start_of_b_joins_a():
    token_ids, b_start = sequence("w1 w2", "##p1 ##p2")
    masker = Masker(VOCAB, 0.3, do_whole_word_mask=True)
    chosen = {
        tuple(masker.mask(token_ids, b_start, random.Random(seed)).positions) for seed in range(50)
    }
    assert chosen == {(1,)}


def test_shuffle_draws_what_random_shuffle_draws():
    for length in range(131):
        ours, theirs = list(range(length)), list(range(length))
        rng, reference = random.Random(length), random.Random(length)
        shuffle(ours, rng)
        reference.shuffle(theirs)
        assert ours == theirs
        assert rng.random() == reference.random()
