"""Our sequences have the distribution of the original's, and the comparison would notice if they had not."""

import numpy as np
import pytest

from benchmarks.pretraining_statistics import LEVEL, compare, homogeneity
from pretraining.recipe import Recipe

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefg"]
# The original's probabilities, in rows that hold several sentences, and sometimes less than one.
RECIPE = Recipe("", max_seq_length=37, max_predictions_per_seq=5, dupe_factor=211, random_seed=1)


def documents(number=29):
    """Sentences of ids of the vocabulary, of 1 to 60 tokens."""
    rng = np.random.default_rng(3)
    return [
        [
            rng.integers(5, 12, length).tolist()
            for length in rng.geometric(1 / 9, 2 * n + 1) % 60 + 1
        ]
        for n in range(number)
    ]


@pytest.fixture
def ps(tmp_path):
    """A function that returns the p of each quantity for a changed recipe."""
    vocab_file = tmp_path / "vocab.txt"
    vocab_file.write_text("".join(f"{token}\n" for token in TOKENS))

    def compared(num_partitions=1, **change):
        recipe = RECIPE._replace(vocab_file=str(vocab_file), **change)
        return {made.name: made.p for made in compare(documents(), recipe, num_partitions)}

    return compared


@pytest.mark.parametrize("num_partitions", [1, 5])
def test_sequences_have_the_distribution_of_the_original(ps, num_partitions):
    found = ps(num_partitions)
    assert len(found) == 10
    assert min(found.values()) > LEVEL


@pytest.mark.parametrize(
    "change, noticed_in",
    [
        ({"short_seq_prob": 0.2}, "tokens of a sequence"),
        ({"masked_lm_prob": 0.14}, "masked tokens of a sequence"),
        ({"objective": "sentence_order"}, "next sentence is random"),
        ({"objective": "sentence_order"}, "sequences of a pass over a document"),
    ],
)
def test_another_distribution_is_noticed(ps, change, noticed_in):
    assert ps(**change)[noticed_in] < LEVEL


def draws(number, largest, seed):
    return np.random.default_rng(seed).integers(0, largest, number)


def test_p_is_uniform_where_the_distributions_are_the_same():
    found = [homogeneity(draws(499, 7, n), draws(997, 7, n + 997))[1] for n in range(997)]
    for level in (0.05, 0.25, 0.5, 0.75):
        # Three deviations of a share of 997.
        assert np.mean(np.array(found) < level) == pytest.approx(level, abs=0.05)


def test_rare_values_are_put_together():
    first = np.append(draws(499, 2, 1), np.arange(2, 42))
    assert homogeneity(first, first)[0] == 4


def test_a_constant_has_no_difference():
    assert homogeneity(np.ones(97), np.ones(89)) == (1, 1.0)
