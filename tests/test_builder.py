"""From text to record files: the same whatever stops it, nothing lost, and errors that leave nothing behind."""

import collections
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from pretraining import partitions, parts, text_blocks, work_folder
from pretraining.builder import build
from pretraining.recipe import OBJECTIVES, Recipe
from pretraining.records import feature_spec
from tokenization import FullTokenizer
from training.record_files import scan_files

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORDS = "the cat sat on a mat and dog ran to".split()


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", ".", "é"]
    path.write_text("\n".join(tokens) + "\n")
    return str(path)


@pytest.fixture
def corpus(tmp_path):
    """Two files of 11 documents of 1 to 13 sentences each."""
    paths = []
    for file in range(2):
        lines = []
        for document in range(11):
            for sentence in range(1 + (5 * document + file) % 13):
                first = 7 * document + 3 * sentence + file
                words = [WORDS[(first + n * n) % 10] for n in range(1 + (first + sentence) % 7)]
                lines.append(" ".join(words) + "s.")
            lines.append("")
        paths.append(tmp_path / f"corpus{file}.txt")
        paths[-1].write_text("\n".join(lines))
    return [str(path) for path in paths]


@pytest.fixture
def recipe(vocab_file):
    return Recipe(vocab_file, max_seq_length=23, max_predictions_per_seq=5, dupe_factor=3)


def outputs(tmp_path, number=2):
    return [str(tmp_path / f"out{n}.tfrecord") for n in range(number)]


def content(paths):
    return [pathlib.Path(path).read_bytes() for path in paths]


def rows(paths, spec):
    for record in tf.data.TFRecordDataset(paths).as_numpy_iterator():
        parsed = tf.io.parse_single_example(record, spec)
        yield {name: value.numpy().tolist() for name, value in parsed.items()}


def tokens_of(paths, vocab_file):
    encode = FullTokenizer(vocab_file).encode
    lines = [line for path in paths for line in pathlib.Path(path).read_text().split("\n")]
    return collections.Counter(token for line in lines for token in encode(line))


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("objective", ["full_sentences", "doc_sentences"])
def test_every_token_of_the_text_is_in_the_records_of_every_pass(
    tmp_path, corpus, recipe, objective, slots
):
    recipe = recipe._replace(objective=objective, masking=None, max_sequences_per_row=slots)
    build(recipe, corpus, outputs(tmp_path))
    spec = feature_spec(23, 5, masked=False, num_slots=slots if slots > 1 else 0)
    found = collections.Counter()
    for row in rows(outputs(tmp_path), spec):
        found.update(row["input_ids"])
    expected = tokens_of(corpus, recipe.vocab_file)
    assert {token: found[token] for token in expected} == {t: 3 * n for t, n in expected.items()}


@pytest.mark.parametrize(
    "objective, masking",
    [
        ("next_sentence", "wordpiece"),
        ("sentence_order", "whole_word"),
        ("full_sentences", "span"),
        ("doc_sentences", None),
    ],
)
def test_records_have_the_schema_and_the_manifest_counts_them(
    tmp_path, corpus, recipe, objective, masking
):
    recipe = recipe._replace(objective=objective, masking=masking)
    manifest = build(recipe, corpus, outputs(tmp_path))
    found = list(rows(outputs(tmp_path), feature_spec(23, 5, masked=masking is not None)))
    assert len(found) == manifest["counts"]["sequences"] == manifest["statistics"]["rows"]
    assert [file.count for file in scan_files(outputs(tmp_path))] == [
        shard["records"] for shard in manifest["shards"]
    ]
    assert not os.path.exists(f"{outputs(tmp_path)[0]}.work")


def test_seeds_and_passes_give_other_records(tmp_path, corpus, recipe):
    build(recipe, corpus, outputs(tmp_path, 1))
    one = content(outputs(tmp_path, 1))
    build(recipe._replace(random_seed=-5), corpus, outputs(tmp_path, 1))
    assert content(outputs(tmp_path, 1)) != one
    build(recipe, corpus, outputs(tmp_path, 1))
    assert content(outputs(tmp_path, 1)) == one


class Stopped(BaseException):
    """Stands for the end of the process."""


def test_a_build_goes_on_wherever_it_stopped(tmp_path, corpus, recipe, monkeypatch):
    build(recipe, corpus, outputs(tmp_path))
    expected = content(outputs(tmp_path))
    for path in outputs(tmp_path):
        os.remove(path)
    rename, left = os.rename, [0]

    def rename_or_stop(*paths):
        if not left[0]:
            raise Stopped
        left[0] -= 1
        rename(*paths)

    # Each build makes one result more than the one before it.
    monkeypatch.setattr(work_folder.os, "rename", rename_or_stop)
    stops = 0
    while not all(map(os.path.exists, outputs(tmp_path))):
        left[0] = 1
        try:
            build(recipe, corpus, outputs(tmp_path))
        except Stopped:
            stops += 1
    # Blocks, partition, plans, order, parts: the last build had nothing left to make but a part.
    assert stops == 2 + 1 + 3 + 1 + 2 - 1
    assert content(outputs(tmp_path)) == expected


def test_finished_files_are_not_made_again(tmp_path, corpus, recipe, monkeypatch):
    rename, first, second = os.rename, *outputs(tmp_path)

    def stop_after_first(source, target):
        if os.path.exists(first):
            raise Stopped
        rename(source, target)

    monkeypatch.setattr(work_folder.os, "rename", stop_after_first)
    with pytest.raises(Stopped):
        build(recipe, corpus, [first, second])
    monkeypatch.undo()
    before = os.stat(first).st_ino
    build(recipe, corpus, [first, second])
    assert os.stat(first).st_ino == before and os.path.exists(second)


DRIVER = """
import json, sys
from pretraining import parts, text_blocks
from pretraining.builder import build
from pretraining.recipe import Recipe
text_blocks.BLOCK_BYTES, parts.PART_POSITIONS = 101, 23 * 31
recipe, files, output_files = json.loads(sys.argv[1])
build(Recipe(*recipe), files, output_files, num_workers=2)
"""


@pytest.fixture
def small_tasks(monkeypatch):
    """Many small blocks and parts, as `DRIVER` has them."""
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 101)
    monkeypatch.setattr(parts, "PART_POSITIONS", 23 * 31)


def two_processes(recipe, corpus, output_files, seconds=None):
    """Returns the exit status of a build; -9 if it took longer and was killed."""
    arguments = json.dumps([recipe, corpus, output_files])
    process = subprocess.Popen([sys.executable, "-c", DRIVER, arguments], cwd=ROOT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def test_two_processes_give_the_same_records_as_one(tmp_path, corpus, recipe, small_tasks):
    build(recipe, corpus, outputs(tmp_path))
    expected = content(outputs(tmp_path))
    assert two_processes(recipe, corpus, outputs(tmp_path)) == 0
    assert content(outputs(tmp_path)) == expected


@pytest.mark.slow
def test_killed_builds_go_on(tmp_path, corpus, recipe, small_tasks):
    corpus = [corpus[n % 2] for n in range(23)]
    build(recipe, corpus, outputs(tmp_path))
    expected = content(outputs(tmp_path))
    for path in outputs(tmp_path):
        os.remove(path)
    start = time.monotonic()
    assert two_processes(recipe, corpus, outputs(tmp_path)) == 0
    whole = time.monotonic() - start
    for path in outputs(tmp_path):
        os.remove(path)
    rng, killed = random.Random(7), 0
    while status := two_processes(recipe, corpus, outputs(tmp_path), whole * rng.random()):
        assert status == -signal.SIGKILL
        killed += 1
        assert killed < 50
    assert killed and content(outputs(tmp_path)) == expected
    assert not list(tmp_path.glob("*.work"))


def text_file(tmp_path, data):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    return [str(path)]


@pytest.mark.parametrize(
    "data, message",
    [
        (b"The cat.\n\0\n", "line 2: byte 9 of the file is zero: it is binary"),
        (b"The cat.\nA \xff mat.\n", "line 2: byte 11 of the file, 0xff, is not UTF-8"),
        (b"", "0 documents, no line holds a token"),
        (b" \n\n\t\n", "0 documents, no line holds a token"),
        (b"%PDF-1.7 text", "is a PDF file"),
        # 3 passes
        (b"The cat.\n", "gives only 3 sequences, which is too little for the 97 files"),
    ],
    ids=["binary", "not UTF-8", "empty", "blank", "PDF", "too little"],
)
def test_bad_input_is_named_and_leaves_nothing(tmp_path, recipe, data, message):
    files, before = text_file(tmp_path, data), sorted(tmp_path.iterdir())
    with pytest.raises(ValueError) as error:
        build(recipe, files, outputs(tmp_path, 97 if "97" in message else 1))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "data",
    [b"The cat.", b"The cat.\nA mat.\nThe dog.\n", b"\n\nThe cat.\n\n\n\nA mat.\n\n"],
    ids=["one sentence", "one document", "blank lines"],
)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_little_text_gives_records(tmp_path, recipe, objective, data):
    files = text_file(tmp_path, data)
    manifest = build(recipe._replace(objective=objective), files, outputs(tmp_path, 1))
    assert manifest["counts"]["sequences"] == manifest["shards"][0]["records"] > 0


@pytest.mark.parametrize("full", ["in a folder", "in a part", "in the records"])
def test_a_disk_that_is_full_stops_a_build_that_goes_on_later(
    tmp_path, corpus, recipe, full, monkeypatch
):
    monkeypatch.setattr(parts, "PART_POSITIONS", 1009)
    build(recipe, corpus, outputs(tmp_path))
    expected = content(outputs(tmp_path))
    whole = max(map(os.path.getsize, outputs(tmp_path)))
    size = {"in a folder": 2_003, "in a part": 7_001, "in the records": whole - 1}[full]
    for path in outputs(tmp_path):
        os.remove(path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))  # bytes
    where = {"in a folder": "npy", "in a part": "/records", "in the records": "out[01].tfrecord"}[
        full
    ]
    try:
        with pytest.raises(
            OSError, match=rf"{where} cannot be written: .*MB free\) .*the same command goes on"
        ):
            build(recipe, corpus, outputs(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    assert not any(map(os.path.exists, outputs(tmp_path))) or full == "in the records"
    build(recipe, corpus, outputs(tmp_path))
    assert content(outputs(tmp_path)) == expected


def test_a_folder_of_another_run_is_left_alone(tmp_path, corpus, recipe, monkeypatch):
    def stop(*_):
        raise Stopped

    monkeypatch.setattr(work_folder.os, "rename", stop)
    with pytest.raises(Stopped):
        build(recipe, corpus, outputs(tmp_path))
    with pytest.raises(
        ValueError, match="unfinished run with other dupe_factor, memory_mb: finish"
    ):
        build(recipe._replace(dupe_factor=2), corpus, outputs(tmp_path), memory_mb=7)
    assert os.path.exists(f"{outputs(tmp_path)[0]}.work/run.json")


def test_a_folder_with_other_files_is_refused(tmp_path, corpus, recipe):
    with pytest.raises(ValueError, match="holds something else: name a new folder"):
        build(recipe, corpus, outputs(tmp_path), work_dir=str(tmp_path))


def test_documents_are_dealt_out_to_partitions_by_memory(tmp_path, corpus, recipe, monkeypatch):
    monkeypatch.setattr(partitions, "_BYTES_OF_TOKEN", 10_000)
    manifest = build(
        recipe._replace(objective="doc_sentences", masking=None),
        corpus,
        outputs(tmp_path),
        memory_mb=1,
    )
    tokens = manifest["counts"]["tokens"]
    assert manifest["settings"]["partitions"] == -(-tokens * 10_000 // 2**20) > 1
    assert manifest["counts"]["tokens_cut"] == 0
