"""What is written beside records, and read again."""

import hashlib
import json

import numpy as np
import pytest

from pretraining import manifest
from pretraining.recipe import Recipe
from pretraining.row_statistics import row_statistics

VOCAB = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat".split()
TEXT = b"The cat.\n\nThe cat?\n"


def statistics():
    ids = np.array([[2, 5, 6, 3, 0]])
    rows = {"input_ids": ids, "input_mask": ids != 0, "segment_ids": 0 * ids}
    return row_statistics(
        rows | {"next_sentence_labels": np.array([[-1]])}, {t: i for i, t in enumerate(VOCAB)}
    )


@pytest.fixture
def written(tmp_path):
    """Writes a manifest of two files of records (which nothing here reads) and returns its path."""
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    (tmp_path / "text.txt").write_bytes(TEXT)
    (tmp_path / "out-0").write_bytes(b"a" * 13)
    (tmp_path / "out-1").write_bytes(b"b" * 17)
    return write(tmp_path)


def write(folder, **recipe):
    manifest.write(
        Recipe(str(folder / "vocab.txt"), max_seq_length=5, **recipe),
        {"on_bad_utf8": "skip"},
        [manifest.fingerprint(str(folder / "text.txt"))],
        {"documents": 2},
        statistics(),
        [(str(folder / "out-0"), 3), (str(folder / "out-1"), 2)],
    )
    return folder / "out-0.manifest.json"


def test_it_names_what_the_records_were_made_of(written):
    found = json.loads(written.read_text())
    text, vocab = found["inputs"][0], found["vocabulary"]
    assert (text["bytes"], text["sha256"]) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    vocab_bytes = (written.parent / "vocab.txt").read_bytes()
    assert (vocab["size"], vocab["sha256"]) == (7, hashlib.sha256(vocab_bytes).hexdigest())


def test_it_names_every_flag(written):
    found = json.loads(written.read_text())
    assert set(found["recipe"]) == set(Recipe._fields)
    assert found["recipe"]["max_seq_length"] == 5
    assert found["settings"] == {"on_bad_utf8": "skip"}


def test_it_names_the_record_files_with_their_sizes(written):
    assert json.loads(written.read_text())["shards"] == [
        {"file": "out-0", "records": 3, "bytes": 13},
        {"file": "out-1", "records": 2, "bytes": 17},
    ]


def test_it_holds_counts_and_statistics(written):
    found = json.loads(written.read_text())
    assert found["counts"] == {"documents": 2}
    assert found["statistics"]["lengths"] == [0, 0, 0, 0, 1, 0]
    assert found["summary"]["padding_share"] == pytest.approx(0.2)


def test_a_histogram_takes_one_line(written):
    assert '\n    "lengths": [0, 0, 0, 0, 1, 0],\n' in written.read_text()


def test_the_same_records_have_the_same_manifest(written):
    first = written.read_bytes()
    write(written.parent)
    assert written.read_bytes() == first


def test_a_manifest_can_be_moved_with_its_record_files(written, tmp_path):
    moved = tmp_path / "else [1]"
    moved.mkdir()
    for name in ("out-0", "out-1", "out-0.manifest.json"):
        (tmp_path / name).rename(moved / name)
    (path,) = manifest.find([str(moved / "out-1")])
    assert [shard["file"] for shard in manifest.read(path)["shards"]] == [
        str(moved / "out-0"),
        str(moved / "out-1"),
    ]


def test_a_manifest_of_other_files_is_not_found(written, tmp_path):
    (tmp_path / "foreign").write_bytes(b"c")
    assert manifest.find([str(tmp_path / "foreign")]) == {}


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 2}'], ids=["cut", "list", "later"])
def test_what_is_no_manifest_of_this_version_is_named(tmp_path, text):
    path = tmp_path / "x.manifest.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="x.manifest.json is .*make the records again"):
        manifest.read(str(path))
