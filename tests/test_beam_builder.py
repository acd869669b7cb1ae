"""The builder on Apache Beam makes the files that the builder of one machine makes."""

import functools
import hashlib
import random

import pytest

pytest.importorskip("apache_beam", reason="needs pip install apache-beam")

from pretraining import beam_builder, builder, manifest  # noqa: E402
from pretraining.recipe import Recipe  # noqa: E402

WORDS = "the red blue boat house runs sleeps fast slow .".split()
VOCAB = [*"[PAD] [UNK] [CLS] [SEP] [MASK] ##s".split(), *WORDS]
# By its own name: as DirectRunner, Beam looks for a newer one on the network first.
LOCAL = ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]
SEVERAL = [*LOCAL, "--direct_num_workers=2", "--direct_running_mode=multi_processing"]
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


def on_beam(*arguments, options=LOCAL, **settings):
    return beam_builder.build(*arguments, pipeline_options=options, **settings)


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
    found, found_manifest = made(on_beam, corpus, tmp_path / "cluster", **changes)
    assert found_manifest["settings"]["partitions"] > 1
    assert found == expected
    assert found_manifest == expected_manifest


BAD = {
    "not UTF-8": (b"the cat\n\xff sat\n", 1, "line 2: byte 8 of the file, 0xff, is not UTF-8"),
    "no text": (b"\n \n", 1, "0 documents"),
    "few sequences": (b"the cat\nsat\n", 7, "--output_file names 7 files, the text gives only 1"),
}


def told(corpus, folder, case, options=LOCAL):
    """Returns the error of a build of bad input."""
    text, num_files, _ = BAD[case]
    (folder / "text.txt").write_bytes(text)
    outputs = [str(folder / f"out-{number}") for number in range(num_files)]
    recipe = Recipe(str(corpus / "vocab.txt"), dupe_factor=1)
    with pytest.raises(ValueError) as error:
        on_beam(recipe, [str(folder / "text.txt")], outputs, options=options)
    return str(error.value)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_a_line_without_the_steps_of_beam(corpus, tmp_path, case):
    message = told(corpus, tmp_path, case)
    assert BAD[case][2] in message and message.isprintable()
    assert "while running" not in message


def test_nothing_is_left_of_bad_input(corpus, tmp_path):
    told(corpus, tmp_path, "few sequences")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.slow
def test_several_processes_make_the_same_files(corpus, tmp_path):
    expected = made(on_beam, corpus, tmp_path / "one")
    build = functools.partial(on_beam, options=SEVERAL)
    assert made(build, corpus, tmp_path / "several") == expected


@pytest.mark.slow
def test_what_another_process_found_wrong_is_told_as_what_this_one_did(corpus, tmp_path):
    found = told(corpus, tmp_path, "not UTF-8", SEVERAL)
    assert found == told(corpus, tmp_path, "not UTF-8")


def test_a_runner_that_there_is_not_is_told_and_leaves_nothing(corpus, tmp_path):
    with pytest.raises(ValueError, match="NoRunner"):
        on_beam(
            Recipe(str(corpus / "vocab.txt")),
            [str(corpus / "a.txt")],
            [str(tmp_path / "out")],
            options=["--runner=NoRunner"],
        )
    assert not list(tmp_path.iterdir())
