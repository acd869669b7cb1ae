"""The steps of a build: which documents a partition holds, and in which order."""

import pathlib

import numpy as np
import pytest

import pretraining.partitions
from pretraining import text_blocks
from pretraining.job import Job
from pretraining.partitions import document_keys, in_partition
from pretraining.recipe import Recipe
from pretraining.steps import deal_out, tokenize
from pretraining.task_pool import TaskPool
from pretraining.text_blocks import Block
from pretraining.work_folder import load_documents
from tokenization import FullTokenizer

NUMBERS = [f"n{n}" for n in range(37)]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A build of which every document is a number of its own, in blocks of a few documents."""
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NUMBERS]) + "\n")
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 17)
    return Job(Recipe(str(vocab), dupe_factor=1), "error", 1, str(tmp_path / "work"))


def partitions(job, files, monkeypatch, number):
    """Returns the tokens of each partition, as many as asked for; the job has a megabyte of memory."""
    monkeypatch.setattr(pretraining.partitions, "_BYTES_OF_TOKEN", number * 2**20 // len(NUMBERS))
    pathlib.Path(job.work_dir).mkdir()
    with TaskPool(1) as pool:
        blocks, _, counts = tokenize(job, pool, files)
        filled = deal_out(job, pool, blocks, counts)
    return [load_documents(job.folder("partitions", q)).tokens.tolist() for q in filled]


@pytest.mark.parametrize("number", [1, 3])
def test_partitions_hold_all_documents_in_the_order_of_the_text(job, tmp_path, monkeypatch, number):
    files = [str(tmp_path / name) for name in ("b.txt", "a.txt")]
    pathlib.Path(files[0]).write_text("\n\n".join(NUMBERS[:19]))
    pathlib.Path(files[1]).write_text("\n\n".join(NUMBERS[19:]))
    found = partitions(job, files, monkeypatch, number)
    assert len(found) == number
    encode = FullTokenizer(job.recipe.vocab_file).encode
    rank = {encode(text)[0]: place for place, text in enumerate(NUMBERS)}
    places = [[rank[token] for token in tokens] for tokens in found]
    assert sorted(sum(places, [])) == list(range(37))
    assert all(places_of_one == sorted(places_of_one) for places_of_one in places)


def keys(seed=5, number=0, file=0, documents=1009):
    return document_keys(
        Recipe("", random_seed=seed), Block(file, number, "", 1, 0, b""), documents
    )


def test_each_document_has_a_key_of_its_own():
    found = [keys(), keys(seed=6), keys(number=1), keys(file=1), keys(number=1, file=1)]
    assert len(set(np.concatenate(found).tolist())) == 5 * 1009


@pytest.mark.parametrize("number", [1, 7])
def test_sorted_keys_are_dealt_out_evenly_and_without_gaps(number):
    found = np.sort(np.append(keys(documents=70_001), np.array([0, 2**64 - 1], np.uint64)))
    slices = [in_partition(found, partition, number) for partition in range(number)]
    assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])]
    assert slices[-1].stop == len(found)
    # 5 standard deviations of a binomial number
    sizes = [s.stop - s.start for s in slices]
    assert all(abs(size - 70_003 / number) < 5 * 100 for size in sizes)
