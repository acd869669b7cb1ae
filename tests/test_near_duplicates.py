"""Sketches estimate what texts have in common, and duplicates are those of an earlier document that is kept."""

import random

import numpy as np
import pytest

from pretraining import near_duplicates
from pretraining.near_duplicates import BINS, DuplicateFinder, sketch


def words(number, seed):
    draw = random.Random(seed)
    return ["".join(draw.choices("abcdefghij", k=draw.randrange(2, 9))) for _ in range(number)]


def runs(text):
    letters = "".join(filter(str.isalnum, text.lower()))
    return {letters[start : start + 16] for start in range(len(letters) - 15)}


def similarity(left, right):
    return len(runs(left) & runs(right)) / len(runs(left) | runs(right))


def changed(text, share, seed):
    draw = random.Random(seed)
    return " ".join("zzz" if draw.random() < share else word for word in text.split())


def find(texts, similarity=0.8):
    with DuplicateFinder(similarity) as finder:
        for text in texts:
            finder.add(text)
        return [found.tolist() for found in finder.find()]


@pytest.mark.parametrize("length", [31, 61, 701])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_sketches_agree_as_texts_do(share, length):
    estimates, truth = [], []
    for seed in range(40):
        text = " ".join(words(length, seed))
        other = changed(text, share, seed)
        truth.append(similarity(text, other))
        estimates.append((sketch(text) == sketch(other)).mean())
    # Of one pair the standard error is at most 0.044 where all bins are filled, of 40 a sixth of that.
    assert abs(np.mean(estimates) - np.mean(truth)) < 0.03
    assert np.abs(np.subtract(estimates, truth)).max() < 0.25


def test_sketches_do_not_depend_on_case_blanks_and_punctuation():
    np.testing.assert_array_equal(
        sketch("Owls, bats and mice; all of them."), sketch("owls BATS\nand mice all -- of them")
    )


def test_sketches_of_other_scripts_differ():
    assert (
        sketch("这是一个关于猫头鹰的很长的句子。" * 3)
        != sketch("那是一个关于蝙蝠的句子,很短很短。" * 3)
    ).mean() > 0.9


def test_long_texts_are_sketched_in_parts(monkeypatch):
    text = " ".join(words(300, 1))
    whole = sketch(text)
    monkeypatch.setattr(near_duplicates, "CHARACTERS_AT_ONCE", 37)
    np.testing.assert_array_equal(sketch(text), whole)


@pytest.mark.parametrize("text", ["", "?!", "owl"])
def test_texts_shorter_than_a_run_have_a_sketch(text):
    assert sketch(text).shape == (BINS,)
    assert (sketch(text) != sketch("another")).all()


def test_equal_and_similar_documents_are_found_apart():
    texts = [" ".join(words(200, seed)) for seed in range(3)]
    equal, similar = find([*texts, texts[1], f"{texts[2]} more", texts[0] + texts[1]])
    assert equal == [False, False, False, True, False, False]
    assert similar == [False, False, False, False, True, False]


def test_a_document_that_is_only_similar_to_a_dropped_one_is_kept():
    text = words(300, 5)
    steps = [" ".join([*["new"] * k, *words(k, 99), *text[k:]]) for k in (0, 22, 44)]
    assert similarity(steps[0], steps[1]) > 0.8 and similarity(steps[1], steps[2]) > 0.8
    assert similarity(steps[0], steps[2]) < 0.75
    assert find(steps)[1] == [False, True, False]


def test_a_pair_is_found_among_documents_that_are_all_somewhat_alike():
    common = words(400, 7)
    texts = [" ".join([*common, *words(190, 100 + seed)]) for seed in range(60)]
    assert 0.45 < similarity(texts[0], texts[1]) < 0.6
    assert find([*texts, f"{texts[-1]} more"])[1] == [False] * 60 + [True]


def test_similarity_sets_how_much_may_differ():
    text = " ".join(words(500, 3))
    other = changed(text, 0.06, 3)
    assert 0.6 < similarity(text, other) < 0.72
    assert find([text, other], 0.55)[1] == [False, True]
    assert find([text, other], 0.85)[1] == [False, False]


def test_equal_documents_are_found_without_sketches():
    assert find(["a b", "a  b", "a b"], None) == [[False, False, True], [False, False, False]]


def test_no_documents_have_no_duplicates():
    assert find([]) == [[], []]


def test_every_similar_pair_is_found_among_many_documents():
    texts = [" ".join(words(400, seed)) for seed in range(300)]
    others = [changed(text, 0.005, seed) for seed, text in enumerate(texts)]
    pairs = [similarity(*pair) for pair in zip(texts, others, strict=True)]
    equal, similar = find([*texts, *others])
    assert not any(similar[:300]) and not any(equal[:300])
    clear = [n for n, share in enumerate(pairs, 300) if share > 0.93 and not equal[n]]
    assert len(clear) > 30
    assert all(similar[n] for n in clear)
