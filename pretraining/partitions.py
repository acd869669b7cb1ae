"""Blocks of text -> partitions of documents -> plans of sequences in random order.

A partition is a uniform random sample of all documents, as large as the memory allows. Random next sentences come from
its other documents, and its sequences of all passes are in uniformly random order.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from pretraining.recipe import Recipe
from pretraining.sequence_plan import Plan, plan_pass
from pretraining.text_blocks import Block
from pretraining.token_documents import TokenDocuments

PLAN, ORDER, MASKS = range(3)  # what is drawn

_BYTES_OF_TOKEN = 6  # while a partition is put together
_BYTES_OF_SEQUENCE = 60  # while the plans of all passes are permuted


def generator(recipe: Recipe, purpose: int, *numbers: int) -> np.random.Generator:
    """Returns the source of random numbers of one purpose, `PLAN`, `ORDER` or `MASKS`, and place."""
    return np.random.default_rng([recipe.random_seed % 2**64, purpose, *numbers])


def document_keys(recipe: Recipe, block: Block, num_documents: int) -> np.ndarray:
    """Returns a uniform random number for each document of a block: uint64 [num_documents]."""
    keys = np.arange(num_documents, dtype=np.uint64)
    for number in (block.number, block.file, recipe.random_seed % 2**64):
        keys = _mixed(keys ^ _mixed(np.array([number], np.uint64)))
    return keys


def _mixed(values: np.ndarray) -> np.ndarray:
    """Returns the step of splitmix64, a permutation of uint64 that makes near numbers unlike."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(factor)
    return values ^ (values >> np.uint64(31))


def num_partitions(counts: Mapping[str, int], recipe: Recipe, memory_mb: int) -> int:
    """Returns how many partitions there are.

    Args:
      counts: "documents" and "tokens" of all the text.
      recipe: what is made of it.
      memory_mb: megabytes (2**20 bytes) that a partition may take.
    """
    # A document ends a sequence, and random next sentences let the sentences that they replace come again.
    sequences = counts["documents"] + 3 * counts["tokens"] // recipe.max_seq_length
    needed = max(
        counts["tokens"] * _BYTES_OF_TOKEN, sequences * recipe.dupe_factor * _BYTES_OF_SEQUENCE
    )
    return -(-needed // (memory_mb << 20))


def in_partition(keys: np.ndarray, partition: int, num_partitions: int) -> slice:
    """Returns which of sorted keys are those of a partition."""
    first, last = (-(-(number << 64) // num_partitions) for number in (partition, partition + 1))
    end = len(keys) if last > 2**64 - 1 else np.searchsorted(keys, np.uint64(last))
    return slice(int(np.searchsorted(keys, np.uint64(first))), int(end))


def plan(documents: TokenDocuments, recipe: Recipe, partition: int, number: int) -> Plan:
    """Returns the plan of one pass over a partition, the `number`-th from 0."""
    return plan_pass(documents, recipe, generator(recipe, PLAN, partition, number))


def in_random_order(plans: Sequence[np.ndarray], recipe: Recipe, partition: int) -> np.ndarray:
    """Returns the spans of the plans of all passes over a partition in random order: [N, 5]."""
    spans = np.concatenate(plans)
    return spans[generator(recipe, ORDER, partition).permutation(len(spans))]
