"""Plans -> parts of record files: a part is what one task makes, and a file is its parts end to end.

Shapes: N sequences of a part, S tokens of a row.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from pretraining.masking import Masker
from pretraining.packing import pack, packed_rows
from pretraining.partitions import MASKS, generator
from pretraining.recipe import Recipe
from pretraining.row_statistics import row_statistics
from pretraining.sequences import sequence_rows
from pretraining.token_documents import TokenDocuments
from tokenization import load_vocab

PART_POSITIONS = 1 << 21  # of the rows of a part
MASKED_AT_ONCE = 1 << 10  # rows


class Part(NamedTuple):
    """Sequences from `start` up to `end` of the order of a partition, which go to one file."""

    file: int
    partition: int
    start: int
    end: int


def list_parts(sizes: Mapping[int, int], num_files: int, max_seq_length: int) -> list[Part]:
    """Returns the parts of all files, file by file.

    Each file gets an equal stretch of every partition.

    Args:
      sizes: partition -> number of sequences.
      num_files: number of files.
      max_seq_length: S, which limits the sequences of a part.
    """
    step = max(1, PART_POSITIONS // max_seq_length)
    parts = []
    for file in range(num_files):
        for partition, size in sizes.items():
            first, last = (size * n // num_files for n in (file, file + 1))
            for start in range(first, last, step):
                parts.append(Part(file, partition, start, min(start + step, last)))
    return parts


def make_rows(
    part: Part, documents: TokenDocuments, spans: np.ndarray, recipe: Recipe
) -> tuple[dict[str, np.ndarray], dict]:
    """Returns the features of the rows of a part, see `records.feature_spec`, and their statistics.

    Args:
      part: which sequences.
      documents: of its partition.
      spans: int [N, 5]. Of these sequences.
      recipe: what to make.
    """
    vocab, masker = _of_recipe(recipe)
    spans = np.asarray(spans, np.int64)
    rows = sequence_rows(documents, spans, vocab["[CLS]"], vocab["[SEP]"], recipe.max_seq_length)
    if masker:
        rng = generator(recipe, MASKS, part.partition, part.start)
        rows |= _mask(rows, masker, rng)
    if recipe.max_sequences_per_row > 1:
        rows = packed_rows(rows, _slots(rows, recipe))
    return rows, row_statistics(rows, vocab)


@functools.lru_cache(maxsize=1)
def _of_recipe(recipe: Recipe) -> tuple[dict[str, int], Masker | None]:
    vocab = load_vocab(recipe.vocab_file)
    if recipe.masking is None:
        return vocab, None
    return vocab, Masker(
        vocab,
        recipe.masking,
        recipe.masked_lm_prob,
        recipe.max_predictions_per_seq,
        recipe.max_span_words,
        recipe.span_continue_prob,
    )


def _mask(
    rows: Mapping[str, np.ndarray], masker: Masker, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Replaces the chosen tokens in place, because a part is large, and returns the features that say which."""
    ids, real = rows["input_ids"], rows["input_mask"]
    noise_size = masker.noise_size(ids.shape[1])
    made = []
    for start in range(0, len(ids), MASKED_AT_ONCE):
        some = slice(start, start + MASKED_AT_ONCE)
        noise = rng.random((len(ids[some]), noise_size), np.float32)
        made.append(masker.mask_arrays(ids[some], real[some], noise))
        ids[some] = made[-1].pop("input_ids")
    return {name: np.concatenate([chunk[name] for chunk in made]) for name in made[0]}


def _slots(rows: Mapping[str, np.ndarray], recipe: Recipe) -> np.ndarray:
    lengths = rows["input_mask"].sum(1)
    masked = rows["masked_lm_weights"].sum(1) if recipe.masking else np.zeros(len(lengths))
    return pack(
        lengths,
        masked.astype(np.int64),
        recipe.max_seq_length,
        recipe.max_predictions_per_seq,
        recipe.max_sequences_per_row,
    )
