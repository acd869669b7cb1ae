"""Choosing and replacing tokens of many rows at a time."""

import collections
import random

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from pretraining import original_masking
from pretraining.masking import Masker
from pretraining.recipe import MASKINGS

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{n}" for n in range(101)] + [f"##p{n}" for n in range(13)]
VOCAB = {token: index for index, token in enumerate(SPECIAL + WORDS)}
MASK = VOCAB["[MASK]"]
LEVEL = 1e-3  # of the statistical tests, whose seeds are fixed


def words(first, number):
    return " ".join(f"w{n}" for n in range(first, first + number))


def ids_of(text):
    return [VOCAB[token] for token in text.split()]


def padded(*texts):
    """Returns input_ids and input_mask of rows, int32 [N, S], S two more than the longest has."""
    rows = [ids_of(text) for text in texts]
    size = max(map(len, rows)) + 2
    ids = np.array([row + [0] * (size - len(row)) for row in rows], np.int32)
    mask = np.array([[1] * len(row) + [0] * (size - len(row)) for row in rows], np.int32)
    return ids, mask


def masked(masker, text, times=1, seed=0):
    """Masks a row so many times: arrays by name, and the chosen positions of each."""
    ids, mask = (np.repeat(values, times, axis=0) for values in padded(text))
    noise = np.random.default_rng(seed).random((times, masker.noise_size(ids.shape[1])), np.float32)
    made = {name: values.numpy() for name, values in masker(ids, mask, noise).items()}
    chosen = made["masked_lm_weights"] > 0
    rows = zip(made["masked_lm_positions"], chosen, strict=True)
    return made, [row[some].tolist() for row, some in rows]


TEXT = f"[CLS] {words(0, 11)} ##p1 ##p2 [SEP] ##p3 {words(20, 7)} ##p1 [SEP]"


@pytest.mark.parametrize("masking", MASKINGS)
def test_labels_are_the_tokens_that_stood_there(masking):
    made, positions = masked(Masker(VOCAB, masking, 0.3, 11), TEXT, 53)
    original = padded(TEXT)[0][0]
    rows = zip(made["input_ids"], made["masked_lm_ids"], positions, strict=True)
    for ids, labels, chosen in rows:
        assert labels[: len(chosen)].tolist() == original[chosen].tolist()
        ids[chosen] = original[chosen]
        np.testing.assert_array_equal(ids, original)


@pytest.mark.parametrize("masking", MASKINGS)
def test_predictions_ascend_and_are_padded_with_zeros(masking):
    made, positions = masked(Masker(VOCAB, masking, 0.3, 11), TEXT, 53)
    assert all(chosen == sorted({*chosen}) for chosen in positions)
    padding = made["masked_lm_weights"] == 0
    assert padding.any() and not made["masked_lm_positions"][padding].any()
    assert not made["masked_lm_ids"][padding].any()
    assert all(not row.any() for row in np.diff(padding.astype(int), axis=1) < 0)


@pytest.mark.parametrize("masking", MASKINGS)
def test_special_tokens_and_padding_are_never_chosen_and_all_others_can_be(masking):
    _, positions = masked(Masker(VOCAB, masking), f"[CLS] {words(0, 5)} [SEP] w20 ##p1 [SEP]", 300)
    expected = {1, 2, 3, 4, 5, 7, 8}
    # A row of ten tokens has two predictions, so that the word of two pieces fits.
    assert set().union(*positions) == expected


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize(
    "length, prob, limit, expected",
    [
        (30, 0.15, 20, 4),  # 4.5 rounds to even
        (50, 0.15, 20, 8),  # 7.5 too
        (50, 0.15, 7, 7),
        (30, 0.0, 20, 1),
        (11, 1.0, 23, 8),  # no more than there are, with more room than tokens
    ],
)
def test_number_of_chosen_tokens(masking, length, prob, limit, expected):
    text = f"[CLS] {words(0, 5)} [SEP] {words(20, length - 8)} [SEP]"
    _, positions = masked(Masker(VOCAB, masking, prob, limit), text, 7)
    assert {len(chosen) for chosen in positions} == {expected}


@pytest.mark.parametrize("masking", MASKINGS)
def test_a_row_without_words_stays_as_it_is(masking):
    made, _ = masked(Masker(VOCAB, masking), "[CLS] [SEP] [SEP]")
    assert made["input_ids"][0].tolist() == ids_of("[CLS] [SEP] [SEP] [PAD] [PAD]")
    assert not any(made[name].any() for name in made if name != "input_ids")


@pytest.mark.parametrize("masking", MASKINGS)
def test_chosen_tokens_become_mask_stay_or_become_any_token_of_the_vocabulary(masking):
    text = f"[CLS] {words(0, 47)} [SEP] {words(50, 43)} [SEP]"
    made, positions = masked(Masker(VOCAB, masking, max_predictions_per_seq=97), text, 5003)
    rows = np.repeat(np.arange(5003), [len(chosen) for chosen in positions])
    found = made["input_ids"][rows, np.concatenate(positions)]
    kept = found == made["masked_lm_ids"][made["masked_lm_weights"] > 0]
    # A random token is the same one or [MASK] once in len(VOCAB) each.
    chance = 0.1 / len(VOCAB)
    assert np.mean(found == MASK) == pytest.approx(0.8 + chance, abs=0.01)
    assert np.mean(kept) == pytest.approx(0.1 + chance, abs=0.01)
    drawn = np.bincount(found[~kept & (found != MASK)], minlength=len(VOCAB))
    assert np.delete(drawn, MASK).min() > 0


def test_random_tokens_are_uniform():
    text = f"[CLS] {words(0, 47)} [SEP] {words(50, 43)} [SEP]"
    made, _ = masked(Masker(VOCAB, "wordpiece", max_predictions_per_seq=97), text, 5003)
    absent = [token for token in VOCAB.values() if token not in ids_of(text) and token != MASK]
    drawn = np.bincount(made["input_ids"].ravel(), minlength=len(VOCAB))[absent]
    assert scipy.stats.chisquare(drawn[1:]).pvalue > LEVEL  # without [PAD], which is padding


@pytest.mark.parametrize("masking", ["whole_word", "span"])
def test_whole_words_are_chosen_or_left(masking):
    text = "[CLS] w1 ##p1 ##p2 w2 w3 ##p3 [SEP] w4 w5 ##p4 [SEP]"
    whole = [{1, 2, 3}, {4}, {5, 6}, {8}, {9, 10}]
    _, positions = masked(Masker(VOCAB, masking, 0.4), text, 211)
    for chosen in map(set, positions):
        assert all(word <= chosen or not word & chosen for word in whole)
    assert set().union(*positions) == set().union(*whole)


@pytest.mark.parametrize("masking", ["whole_word", "span"])
def test_a_word_that_does_not_fit_is_passed_over(masking):
    _, positions = masked(
        Masker(VOCAB, masking, 1.0, 2), "[CLS] w1 ##p1 ##p2 [SEP] w2 w3 [SEP]", 29
    )
    assert {*map(tuple, positions)} == {(5, 6)}


@pytest.mark.parametrize("masking", ["whole_word", "span"])
def test_words_end_at_special_tokens(masking):
    _, positions = masked(Masker(VOCAB, masking, 0.3), "[CLS] w1 w2 [SEP] ##p1 ##p2 [SEP]", 101)
    assert {*map(tuple, positions)} == {(1, 2), (4, 5)}


@pytest.mark.parametrize("masking, whole", [("wordpiece", False), ("whole_word", True)])
def test_choices_are_distributed_as_those_of_the_original(masking, whole):
    text = "[CLS] w1 ##p1 ##p2 w2 w3 ##p3 w4 w5 [SEP] w6 ##p4 w7 [SEP]"
    reference = original_masking.Masker(VOCAB, 0.3, 5, whole)
    rng = random.Random(3)
    times, ids = 4001, ids_of(text)
    expected = [tuple(reference.mask(ids, 10, rng).positions) for _ in range(times)]
    _, found = masked(Masker(VOCAB, masking, 0.3, 5), text, times)
    counts = [collections.Counter(expected), collections.Counter(map(tuple, found))]
    common = [choice for choice, count in sum(counts, counts[0]).items() if count >= 20]
    table = [[count[choice] for choice in common] for count in counts]
    assert scipy.stats.chi2_contingency(table).pvalue > LEVEL


def runs_of(positions):
    """Cuts ascending positions where one is left out."""
    return np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)


LONG = f"[CLS] {' '.join([words(0, 101)] * 40)} [SEP]"


@pytest.mark.parametrize(
    "longest, continues, expected",
    [
        (10, 0.8, 0.2 * 0.8 ** np.arange(10) / (1 - 0.8**10)),  # of SpanBERT, 3.8 on average
        (3, 1.0, [1 / 3] * 3),
        (7, 0.0, [1]),
        (1, 0.8, [1]),
    ],
)
def test_lengths_of_spans_are_geometric(longest, continues, expected):
    _, positions = masked(Masker(VOCAB, "span", 0.03, 211, longest, continues), LONG, 61)
    # Few touch each other, and one in a row is cut.
    lengths = [len(run) for chosen in positions for run in runs_of(chosen)]
    shares = np.bincount(lengths, minlength=12)[1:] / len(lengths)
    np.testing.assert_allclose(shares[: len(expected)], expected, atol=0.04)


def test_spans_end_at_special_tokens():
    text = " ".join(["[CLS]", *["w1 [SEP]"] * 97])
    _, positions = masked(Masker(VOCAB, "span", 0.01, 2), text, 301)
    assert np.mean([second - first == 2 for first, second in positions]) < 0.1


def test_all_of_a_span_is_hidden_or_nothing():
    made, positions = masked(Masker(VOCAB, "span", 0.02, 83), LONG, 61)
    rows = zip(made["input_ids"], positions, strict=True)
    runs = [ids[run] == MASK for ids, chosen in rows for run in runs_of(chosen)]
    whole = [run.all() or not run.any() for run in runs if len(run) > 1]
    assert np.mean(whole) > 0.95  # two may touch


@pytest.mark.parametrize("masking", MASKINGS)
def test_each_row_is_masked_by_its_own_noise_alone(masking):
    masker = Masker(VOCAB, masking, 0.3, 5)
    ids, mask = padded(TEXT, "[CLS] w1 ##p1 [SEP]", "[CLS] w1 w2 [SEP] ##p1 [SEP]")
    noise = np.random.default_rng(3).random((3, masker.noise_size(ids.shape[1])), np.float32)
    together = masker(ids, mask, noise)
    for row in range(3):
        alone = masker(*(values[row : row + 1] for values in (ids, mask, noise)))
        for name, values in together.items():
            np.testing.assert_array_equal(values[row], alone[name][0], err_msg=name)


@pytest.mark.parametrize("masking", MASKINGS)
def test_shapes_are_static_where_records_are_read(masking):
    masker = Masker(VOCAB, masking, 0.3, 5)
    batch = {name: tf.TensorSpec([3, 7], tf.int32) for name in ("input_ids", "input_mask")}
    noise = tf.TensorSpec([3, masker.noise_size(7)], tf.float32)
    made = tf.function(masker).get_concrete_function(**batch, noise=noise).structured_outputs
    assert {name: (spec.dtype, spec.shape) for name, spec in made.items()} == {
        "input_ids": (tf.int32, [3, 7]),
        "masked_lm_positions": (tf.int32, [3, 5]),
        "masked_lm_ids": (tf.int32, [3, 5]),
        "masked_lm_weights": (tf.float32, [3, 5]),
    }


def test_what_training_reads_has_the_masks_of_its_noise():
    masker = Masker(VOCAB, "span", 0.3, 5)
    ids, mask = padded(TEXT, "[CLS] w1 ##p1 [SEP]")
    features = {"input_ids": ids, "input_mask": mask, "next_sentence_labels": [[0], [1]]}
    noise_size, apply = masker.augmentation(ids.shape[1])
    noise = np.random.default_rng(3).random((2, noise_size), np.float32)
    expected = features | masker(ids, mask, noise)
    tf.nest.map_structure(np.testing.assert_array_equal, apply(features, noise), expected)


@pytest.mark.parametrize("number", [11, 2**15, 30517, 2**17 - 7])
def test_noise_next_to_1_draws_the_last_token(number):
    vocab = {token: index for index, token in enumerate(SPECIAL + [f"w{n}" for n in range(number)])}
    masker = Masker(vocab, masked_lm_prob=1.0, max_predictions_per_seq=1)
    ids = np.array([[2, 7, 3]], np.int32)
    noise = np.full((1, masker.noise_size(3)), 1 - 2**-24, np.float32)
    made = masker(ids, np.ones_like(ids), noise)
    assert made["input_ids"].numpy().tolist() == [[2, len(vocab) - 1, 3]]


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("limit", [3, 31])
def test_arrays_are_masked_as_tensors_are(masking, limit):
    masker = Masker(VOCAB, masking, 0.3, limit)
    rng = np.random.default_rng(5)
    size = 23
    lengths = rng.integers(1, size + 1, (997, 1))
    mask = (np.arange(size) < lengths).astype(np.int32)
    ids = rng.integers(0, len(VOCAB), mask.shape, dtype=np.int32) * mask
    # Few different numbers, so that many are equal.
    noise = rng.integers(0, 17, (len(ids), masker.noise_size(size))).astype(np.float32) / 17
    tensors, arrays = masker(ids, mask, noise), masker.mask_arrays(ids, mask, noise)
    assert tensors.keys() == arrays.keys()
    for name, tensor in tensors.items():
        assert arrays[name].dtype == tensor.dtype.as_numpy_dtype
        np.testing.assert_array_equal(arrays[name], tensor)
