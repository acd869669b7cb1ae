"""Documents are dealt out and sequences are put in order as a uniform shuffle of all of them would."""

import numpy as np
import pytest
import scipy.stats

from pretraining.partitions import document_keys, in_partition, in_random_order
from pretraining.parts import list_parts
from pretraining.recipe import Recipe
from pretraining.text_blocks import Block

LEVEL = 0.001
PARTITIONS = 7
FILES, BLOCKS, DOCUMENTS = 3, 11, 211


def partitions(seed):
    """Returns the partition of each document: int [files, blocks, documents]."""
    recipe = Recipe("", random_seed=seed)
    found = np.full((FILES, BLOCKS, DOCUMENTS), -1)
    for file in range(FILES):
        for number in range(BLOCKS):
            keys = document_keys(recipe, Block(file, number, "", 1, 0, b""), DOCUMENTS)
            order = np.argsort(keys)
            for partition in range(PARTITIONS):
                chosen = in_partition(keys[order], partition, PARTITIONS)
                assert np.all(found[file, number, order[chosen]] == -1)
                found[file, number, order[chosen]] = partition
    assert found.min() == 0
    return found


def p_of_independence(one, other, number):
    """Returns the p of the chi-square test that two classes of each of many things are independent."""
    table = np.zeros((one.max() + 1, number), int)
    np.add.at(table, (one.ravel(), other.ravel()), 1)
    return scipy.stats.chi2_contingency(table).pvalue


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_documents_are_dealt_out_alike(seed):
    found = partitions(seed)
    assert scipy.stats.chisquare(np.bincount(found.ravel())).pvalue > LEVEL
    for axis in range(3):
        place = np.broadcast_to(
            np.moveaxis(np.arange(found.shape[axis])[:, None, None], 0, axis), found.shape
        )
        assert p_of_independence(place, found, PARTITIONS) > LEVEL


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_partition_of_a_document_says_nothing_of_its_neighbours(seed):
    found = partitions(seed)
    for one, other in (
        (found[:, :, 1:], found[:, :, :-1]),
        (found[:, 1:], found[:, :-1]),
        (found[1:], found[:-1]),
        (found, partitions(seed + 1)),
    ):
        assert p_of_independence(one, other, PARTITIONS) > LEVEL


def test_sequences_of_all_passes_are_in_uniformly_random_order():
    plans = [np.stack([np.arange(997), *[np.full(997, n)] * 4], axis=1) for n in range(5)]
    spans = in_random_order(plans, Recipe(""), partition=3)
    assert np.array_equal(spans[np.lexsort(spans.T)], np.concatenate(plans))
    place = np.arange(len(spans)) * 10 // len(spans)
    assert p_of_independence(place, spans[:, 1], 5) > LEVEL
    assert p_of_independence(place, spans[:, 0] * 10 // 997, 10) > LEVEL
    assert p_of_independence(spans[1:, 0] * 10 // 997, spans[:-1, 0] * 10 // 997, 10) > LEVEL


def test_each_file_has_an_equal_share_of_every_partition():
    sizes = {0: 101, 2: 13, 5: 59}
    parts = list_parts(sizes, num_files=4, max_seq_length=2**18)  # eight sequences a part
    assert [part.file for part in parts] == sorted(part.file for part in parts)
    assert all(0 < part.end - part.start <= 8 for part in parts)
    for partition, size in sizes.items():
        own = [part for part in parts if part.partition == partition]
        covered = [n for part in own for n in range(part.start, part.end)]
        assert covered == list(range(size))
        shares = [sum(p.end - p.start for p in own if p.file == file) for file in range(4)]
        assert max(shares) - min(shares) <= 1
