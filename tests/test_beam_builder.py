"""The builder on Apache Beam makes the files that the builder of one machine makes."""

import hashlib
import random

import pytest

pytest.importorskip("apache_beam", reason="needs pip install apache-beam")

from pretraining import beam_builder, builder, manifest  # noqa: E402
from pretraining.recipe import Recipe  # noqa: E402

WORDS = "the red blue boat house runs sleeps fast slow .".split()
VOCAB = [*"[PAD] [UNK] [CLS] [SEP] [MASK] ##s".split(), *WORDS]
RECIPES = {
    "pairs": {},
    "packed": dict(objective="doc_sentences", max_sequences_per_row=3, masking="span"),
    "unmasked": dict(objective="full_sentences", masking=None),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A vocabulary, and two files of documents."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    rng = random.Random(5)
    for name, number in (("a.txt", 211), ("b.txt", 307)):
        documents = [[sentence(rng) for _ in range(rng.randint(1, 7))] for _ in range(number)]
        (folder / name).write_text("\n\n".join("\n".join(document) for document in documents))
    return folder


def sentence(rng):
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))


def made(build, corpus, folder, num_files=3, **changes):
    """Makes records, and returns the hashes of the files and the manifest as it is read."""
    folder.mkdir()
    outputs = [str(folder / f"out-{number}") for number in range(num_files)]
    settings = dict(max_seq_length=13, max_predictions_per_seq=2, dupe_factor=11) | changes
    files = [str(corpus / name) for name in ("a.txt", "b.txt")]
    build(Recipe(str(corpus / "vocab.txt"), **settings), files, outputs, memory_mb=1)
    hashes = [
        hashlib.sha256((folder / f"out-{n}").read_bytes()).hexdigest() for n in range(num_files)
    ]
    found = manifest.read(manifest.path_of(outputs))
    for shard in found["shards"]:
        shard["file"] = shard["file"].removeprefix(str(folder))
    return hashes, found


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_the_record_files_and_the_manifest_are_those_of_one_machine(corpus, tmp_path, changes):
    expected, expected_manifest = made(builder.build, corpus, tmp_path / "one", **changes)
    found, found_manifest = made(beam_builder.build, corpus, tmp_path / "cluster", **changes)
    assert found_manifest["settings"]["partitions"] > 1
    assert found == expected
    assert found_manifest == expected_manifest
