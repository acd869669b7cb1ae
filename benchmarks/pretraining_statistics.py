"""Do our training sequences have the original's distribution? Both are made of the same documents and compared.

python -m benchmarks.pretraining_statistics

The original is its algorithm, transcribed. Sequences of one pass over a document share their target length and depend
on where the one before ends, so one of them is taken at random, and of its masked positions one. What is compared is
then independent, and a chi-square test of homogeneity (values put together until 20 are expected of each) says how
often a difference as large as the one seen comes about by chance.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import scipy.stats
import tensorflow as tf
from absl import flags

from benchmarks import original_pretraining_data
from pretraining.original_documents import ReadCounts, read_documents
from pretraining.partitions import plan
from pretraining.parts import Part, make_rows
from pretraining.recipe import Recipe
from pretraining.token_documents import TokenDocuments
from tokenization import FullTokenizer, load_vocab
from training import app

FLAGS = flags.FLAGS

LEVEL = 0.001  # of each comparison
EXPECTED = 20  # observations of a value, at least

Documents = list[list[list[int]]]  # token ids of sentences


class Comparison(NamedTuple):
    """What two ways of making sequences have in common.

    Attributes:
      name: of the quantity.
      original: its mean in the original's sequences.
      ours: the same in ours.
      values: number of (groups of) values that were told apart.
      p: probability of a difference as large as this one if the two distributions are the same.
    """

    name: str
    original: float
    ours: float
    values: int
    p: float


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("input_file", "../shared/data/corpus/gutenberg.txt", "Text in UTF-8.")
    flags.DEFINE_string("vocab_file", "../shared/data/vocab/uncased_vocab.txt", "Vocabulary.")
    flags.DEFINE_integer("documents", 100, "How many, from the start of the text.", 1)
    flags.DEFINE_integer(
        "dupe_factor", 100, "Passes over them; a sequence of each document and pass.", 1
    )
    flags.DEFINE_integer("partitions", 3, "Parts of the documents that are planned apart.", 1)
    flags.DEFINE_integer("max_seq_length", 128, "Tokens of a sequence.", 5)


def main() -> None:
    """Prints a table."""
    tokenizer = FullTokenizer(FLAGS.vocab_file)
    found = read_documents([FLAGS.input_file], tokenizer.encode, ReadCounts())
    documents = [document for document, _ in zip(found, range(FLAGS.documents), strict=False)]
    recipe = Recipe(
        FLAGS.vocab_file, max_seq_length=FLAGS.max_seq_length, dupe_factor=FLAGS.dupe_factor
    )
    compared = compare(documents, recipe, FLAGS.partitions)
    print(f"{len(documents)} documents, {FLAGS.dupe_factor} passes, a sequence of each")
    print(f"{'':36}{'original':>10}{'ours':>10}{'values':>8}{'p':>8}")
    for name, original, ours, values, p in compared:
        print(f"{name:36}{original:10.4f}{ours:10.4f}{values:8}{p:8.3f}")
    differing = [c.name for c in compared if c.p < LEVEL]
    print(f"different at the level {LEVEL}: {', '.join(differing) or 'none'}")


def compare(documents: Documents, recipe: Recipe, num_partitions: int) -> list[Comparison]:
    """Makes sequences in both ways, with random numbers of their own, and compares them."""
    rng = np.random.default_rng(recipe.random_seed)
    vocab = load_vocab(recipe.vocab_file)
    theirs = observations(original_rows(documents, vocab, recipe), vocab, rng)
    ours = observations(our_rows(documents, recipe, num_partitions), vocab, rng)
    return [
        Comparison(name, theirs[name].mean(), ours[name].mean(), *homogeneity(theirs[name], values))
        for name, values in ours.items()
    ]


def original_rows(
    documents: Documents, vocab: Mapping[str, int], recipe: Recipe
) -> dict[str, np.ndarray]:
    """Returns features of the original's sequences, with its default probabilities.

    Returns:
      Those of a record, [dupe_factor * documents, ...]; and "sequences", how many the document has in the pass.
    """
    words = list(vocab)
    rng = random.Random(recipe.random_seed)
    texts = [[[words[token] for token in line] for line in text] for text in documents]
    size, places = recipe.max_seq_length, recipe.max_predictions_per_seq
    rows = []
    for index in [*range(len(texts))] * recipe.dupe_factor:
        pairs = list(original_pretraining_data.sentence_pairs(texts, index, rng, size - 3))
        a, b, is_random_next = rng.choice(pairs)
        original_pretraining_data.truncate(a, b, rng, size - 3)
        tokens = ["[CLS]", *a, "[SEP]", *b, "[SEP]"]
        segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
        masked = original_pretraining_data.mask(tokens, words, False, rng, places)
        example = original_pretraining_data.to_example(
            (tokens, segments, is_random_next, masked), vocab, size, places
        )
        rows.append(_values(example) | {"sequences": [len(pairs)]})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _values(example: tf.train.Example) -> dict[str, list]:
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in example.features.feature.items()
    }


def our_rows(documents: Documents, recipe: Recipe, num_partitions: int) -> dict[str, np.ndarray]:
    """Returns what `original_rows` returns, of the sequences that our builder plans and masks, in another order."""
    flat = TokenDocuments(
        np.array([token for text in documents for line in text for token in line], np.int32),
        np.cumsum([len(line) for text in documents for line in text]),
        np.cumsum([len(text) for text in documents]),
    )
    rng = np.random.default_rng(recipe.random_seed)
    parts = []
    for number in range(num_partitions):
        partition = flat.subset(np.arange(number, len(documents), num_partitions))
        spans, sequences = [], []
        for number_of_pass in range(recipe.dupe_factor):
            planned = plan(partition, recipe, number, number_of_pass).spans
            ends = partition.sentence_ends[partition.document_ends - 1]
            counts = np.bincount(np.searchsorted(ends, planned[:, 0], "right"))
            spans.append(planned[np.cumsum(counts) - counts + rng.integers(0, counts)])
            sequences.append(counts)
        part = Part(0, number, 0, sum(map(len, spans)))
        rows, _ = make_rows(part, partition, np.concatenate(spans), recipe)
        parts.append(rows | {"sequences": np.concatenate(sequences)[:, None]})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def observations(
    rows: Mapping[str, np.ndarray], vocab: Mapping[str, int], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns name of a quantity -> its values, one of each row or, for what becomes of it, of each masked token."""
    tokens, b_tokens = rows["input_mask"].sum(1), rows["segment_ids"].sum(1)
    a_share = (tokens - b_tokens - 2) / (tokens - 3)
    masked = rows["masked_lm_weights"].sum(1).astype(int)
    chosen = rows["masked_lm_weights"] > 0
    found = np.take_along_axis(rows["input_ids"], rows["masked_lm_positions"], 1)[chosen]
    hidden, kept = found == vocab["[MASK]"], found == rows["masked_lm_ids"][chosen]
    one = np.floor(rng.random(len(masked)) * masked).astype(int)
    return {
        "sequences of a pass over a document": rows["sequences"][:, 0],
        "next sentence is random": rows["next_sentence_labels"][:, 0],
        "tokens of a sequence": tokens,
        "tokens of B and its [SEP]": b_tokens,
        "tenths of the tokens in A": np.floor(10 * a_share),
        "masked tokens of a sequence": masked,
        "position of a masked token": rows["masked_lm_positions"][np.arange(len(one)), one],
        "masked token is hidden": hidden,
        "masked token is kept": kept,
        "masked token is another": ~hidden & ~kept,
    }


def homogeneity(first: np.ndarray, second: np.ndarray) -> tuple[int, float]:
    """Returns how many groups of values were told apart, and the p of the chi-square test of homogeneity.

    Args:
      first: independent observations of whole numbers.
      second: others.
    """
    values = np.unique(np.concatenate([first, second]))
    counts = np.stack(
        [np.bincount(np.searchsorted(values, x), minlength=len(values)) for x in (first, second)]
    )
    least = EXPECTED * counts.sum() / counts.sum(1).min()
    groups = np.stack(list(_grouped(counts.T, least)), axis=1)
    return groups.shape[1], scipy.stats.chi2_contingency(groups, correction=False).pvalue


def _grouped(columns: Iterable[np.ndarray], least: float) -> Iterator[np.ndarray]:
    """Yields sums of neighbouring columns [2] that add up to so much; what is left over joins the last."""
    group, last = 0, 0
    for column in columns:
        group = group + column
        if group.sum() >= least:
            if np.any(last):
                yield last
            last, group = group, 0
    yield last + group


if __name__ == "__main__":
    define_flags()
    app.run(main)
