"""Sentence pairs and instances."""

import itertools
import random

import pytest

from benchmarks import original_pretraining_data
from pretraining.original_instances import InstanceMaker, create_instances, truncate_pair
from pretraining.original_masking import Masker

CLS, SEP, MASK = 0, 1, 2
VOCAB = {"[CLS]": CLS, "[SEP]": SEP, "[MASK]": MASK}
VOCAB.update({f"w{n}": n for n in range(3, 3000)})


def numbered_documents(*sentence_lengths):
    """Documents whose token ids count on, so that an id says where it comes from."""
    ids = itertools.count(3)
    return [
        [list(itertools.islice(ids, length)) for length in lengths] for lengths in sentence_lengths
    ]


def maker(documents, seed=1, max_seq_length=29, **options):
    return InstanceMaker(
        documents, CLS, SEP, Masker(VOCAB), random.Random(seed), max_seq_length, **options
    )


def home(documents, token_id):
    """Index of the document that a token is from."""
    return next(n for n, document in enumerate(documents) if token_id in sum(document, []))


DOCUMENTS = numbered_documents([3, 5, 7, 11, 2, 13], [1, 17, 4, 6], [8, 9, 10, 12, 1])


def all_pairs(**options):
    for seed in range(200):
        for index in range(len(DOCUMENTS)):
            for pair in maker(DOCUMENTS, seed, **options).sentence_pairs(index):
                yield index, pair


def test_spans_are_stretches_of_text_and_a_true_next_follows_on():
    for _, (a_ids, b_ids, is_random_next) in all_pairs():
        for span in (a_ids, b_ids):
            assert span == list(range(span[0], span[0] + len(span)))
        if not is_random_next:
            assert b_ids[0] == a_ids[-1] + 1


def test_first_spans_come_from_the_document_and_random_ones_from_another():
    for index, (a_ids, b_ids, is_random_next) in all_pairs():
        assert home(DOCUMENTS, a_ids[0]) == index
        assert (home(DOCUMENTS, b_ids[0]) != index) == is_random_next


def test_every_sentence_of_the_document_is_used_once_in_each_pass():
    for seed in range(50):
        used = []
        for a_ids, b_ids, is_random_next in maker(DOCUMENTS, seed).sentence_pairs(0):
            used += a_ids if is_random_next else a_ids + b_ids
        assert used == sum(DOCUMENTS[0], [])


def test_half_of_the_pairs_with_a_choice_are_random():
    documents = numbered_documents([7] * 100, [7] * 100)
    labels = [
        pair.is_random_next
        for seed in range(50)
        for pair in maker(documents, seed).sentence_pairs(0)
        if len(pair.a_ids) + len(pair.b_ids) >= 26
    ]
    assert sum(labels) / len(labels) == pytest.approx(0.5, abs=0.03)


def test_a_lone_sentence_is_always_paired_at_random():
    documents = numbered_documents([5], [3])
    assert all(
        pair.is_random_next
        for seed in range(30)
        for pair in maker(documents, seed).sentence_pairs(0)
    )


def test_the_only_document_is_its_own_random_next():
    (pair,) = maker(numbered_documents([5])).sentence_pairs(0)
    assert pair.is_random_next and pair.a_ids == pair.b_ids


def test_random_next_gives_up_after_ten_tries():
    documents = numbered_documents([2], [2])
    made = maker(documents)
    homes = {home(documents, next(made.sentence_pairs(0)).b_ids[0]) for _ in range(9000)}
    assert homes == {0, 1}


def test_short_sequences_are_as_frequent_as_asked_for():
    documents = numbered_documents([1] * 100, [1] * 100)

    def first_lengths(prob):
        for seed in range(500):
            pair = next(maker(documents, seed, short_seq_prob=prob).sentence_pairs(0))
            if not pair.is_random_next:
                yield len(pair.a_ids) + len(pair.b_ids)

    assert set(first_lengths(0.0)) == {26}
    assert set(first_lengths(1.0)) == set(range(2, 27))
    some = list(first_lengths(0.3))
    assert sum(length < 26 for length in some) / len(some) == pytest.approx(0.3 * 24 / 25, abs=0.07)


def test_truncation_keeps_a_stretch_of_each_span_and_cuts_the_longer():
    a, b = list(range(100, 123)), list(range(200, 205))
    starts = set()
    for seed in range(50):
        a_ids, b_ids = truncate_pair(a, b, 17, random.Random(seed))
        assert b_ids == b
        assert a_ids == list(range(a_ids[0], a_ids[0] + 12))
        starts.add(a_ids[0] - 100)
    assert len(starts) > 5  # front and back are both cut


def test_truncation_cuts_b_first_where_both_are_equal():
    a_ids, b_ids = truncate_pair([3] * 7, [4] * 7, 13, random.Random(1))
    assert (len(a_ids), len(b_ids)) == (7, 6)


def test_truncation_leaves_what_fits():
    assert truncate_pair([3, 4], [5], 3, random.Random(1)) == ([3, 4], [5])


def test_an_instance_is_cls_a_sep_b_sep():
    made = list(create_instances(maker(DOCUMENTS), dupe_factor=11))
    for instance in made:
        token_ids = instance.input_ids.copy()
        for position, label in zip(
            instance.masked_lm_positions, instance.masked_lm_ids, strict=True
        ):
            token_ids[position] = label
        assert len(token_ids) <= 29
        assert token_ids[0] == CLS and token_ids[-1] == SEP
        assert [n for n, token in enumerate(token_ids) if token == SEP] == [
            instance.b_start - 1,
            len(token_ids) - 1,
        ]
    assert max(len(instance.input_ids) for instance in made) == 29


def test_each_pass_masks_afresh():
    documents = numbered_documents([23], [1])
    first, _, second, _ = create_instances(maker(documents, short_seq_prob=0.0), dupe_factor=2)
    assert first.masked_lm_positions != second.masked_lm_positions


def test_the_shortest_sequences_still_have_both_spans():
    for seed in range(50):
        for instance in create_instances(maker(DOCUMENTS, seed, max_seq_length=5), dupe_factor=1):
            assert instance.b_start == 3
            assert len(instance.input_ids) == 5


def pieces(number, rng):
    """Words of one to four pieces, of the vocabulary below."""
    return [
        piece
        for _ in range(number)
        for piece in [rng.choice("abcde"), *rng.choices(["##f", "##g"], k=rng.choice([0, 0, 1, 3]))]
    ]


@pytest.mark.parametrize("whole_word", [False, True])
def test_instances_equal_those_of_the_original_transcribed(whole_word):
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", *"abcde", "##f", "##g"]
    vocab = {token: index for index, token in enumerate(tokens)}
    for seed in range(50):
        rng = random.Random(seed)
        texts = [[pieces(rng.randint(1, 9), rng) for _ in range(n)] for n in (1, 7, 19)]
        theirs = original_pretraining_data.create_instances(
            texts, tokens, 3, whole_word, random.Random(seed), max_seq_length=23, max_predictions=5
        )
        documents = [[[vocab[token] for token in line] for line in text] for text in texts]
        masker = Masker(vocab, 0.15, 5, whole_word)
        made = create_instances(
            InstanceMaker(documents, 1, 2, masker, random.Random(seed), 23),
            dupe_factor=3,
        )
        for ours, (token_list, segments, is_random_next, masked) in zip(made, theirs, strict=True):
            assert [tokens[token_id] for token_id in ours.input_ids] == token_list
            assert ours.b_start == segments.index(1)
            assert ours.is_random_next == is_random_next
            positions, labels = ours.masked_lm_positions, ours.masked_lm_ids
            assert [(p, tokens[i]) for p, i in zip(positions, labels, strict=True)] == masked
