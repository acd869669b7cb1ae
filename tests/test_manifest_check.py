"""What run_pretraining.py says of records that do not fit, by their manifest."""

import pytest

from pretraining import manifest
from pretraining.manifest_check import check_manifests, check_one_vocabulary
from pretraining.recipe import Recipe
from training.record_files import ScannedFile

VOCAB = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat".split()
RECORDS = {"out-0": 3, "out-1": 2}
EMPTY = {"rows": 0, "positions": 0, "tokens": 0, "unknown": 0, "sequences": 0}


@pytest.fixture
def folder(tmp_path):
    """A folder with two files of records, which nothing here reads, and their manifest."""
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    write(tmp_path)
    return tmp_path


def write(folder, names=tuple(RECORDS), vocab="vocab.txt", **recipe):
    for name in names:
        (folder / name).write_bytes(b"a" * 13)
    manifest.write(
        Recipe(str(folder / vocab), **recipe),
        settings={},
        inputs=[],
        counts={},
        statistics=EMPTY | {"label_0": 0, "label_1": 0},
        shards=[(str(folder / name), RECORDS[name]) for name in names],
    )


def check(folder, names=tuple(RECORDS), flags=None, vocab_size=7, **more):
    files = [ScannedFile(str(folder / name), RECORDS.get(name, 5)) for name in names]
    return check_manifests(files, flags or {}, vocab_size, **more)


def test_records_that_fit_pass_and_their_manifest_is_returned(folder):
    flags = {"max_seq_length": 128, "masking": "wordpiece"}
    found = check(folder, flags=flags, vocab_file=str(folder / "vocab.txt"))
    assert list(found) == [str(folder / "out-0.manifest.json")]


def test_records_without_a_manifest_pass(tmp_path):
    (tmp_path / "out-0").write_bytes(b"a")
    assert check(tmp_path, ["out-0"]) == {}


def test_a_part_of_the_files_may_be_read(folder):
    check(folder, ["out-1"])


def test_another_value_of_a_flag_is_named_with_both(folder):
    with pytest.raises(ValueError, match="--max_seq_length=128, but .*--phase2_max_seq_length=512"):
        check(folder, flags={"max_seq_length": 512}, flag_prefix="phase2_")


def test_a_vocabulary_larger_than_the_model_is_refused(folder):
    with pytest.raises(ValueError, match="7 tokens of .*vocab.txt, .*vocab_size 6"):
        check(folder, vocab_size=6)


def test_a_model_with_more_rows_than_the_vocabulary_has_tokens_is_warned_of(folder, caplog):
    check(folder, vocab_size=8)
    assert "7 tokens" in caplog.text and "vocab_size 8" in caplog.text


def test_another_vocabulary_of_the_same_size_is_refused(folder):
    (folder / "other.txt").write_text("\n".join(reversed(VOCAB)) + "\n")
    with pytest.raises(ValueError, match=r"--vocab_file=.*other.txt is another: use that one"):
        check(folder, vocab_file=str(folder / "other.txt"))


def test_lower_cased_records_are_refused_for_a_cased_model(folder):
    with pytest.raises(ValueError, match="made with --do_lower_case=true .*is a cased model"):
        check(folder, init_checkpoint="cased_L-12_H-768_A-12/bert_model.ckpt")


def test_a_missing_file_is_refused(folder):
    (folder / "out-1").unlink()
    with pytest.raises(ValueError, match="out-1 is missing, .*out-0.manifest.json names it"):
        check(folder, ["out-0"])


def test_a_file_of_another_size_is_refused(folder):
    (folder / "out-1").write_bytes(b"a" * 11)
    with pytest.raises(ValueError, match="out-1 has 2 records in 11 bytes, but 2 in 13"):
        check(folder)


def test_a_damaged_file_passes_where_damaged_records_are_left_out(folder):
    (folder / "out-1").write_bytes(b"a" * 11)
    check(folder, skip_corrupt=True)


def test_a_file_left_from_a_run_with_more_files_is_refused(folder):
    (folder / "out-2").write_bytes(b"a")
    with pytest.raises(ValueError, match="out-2 is not among the files of .*delete it"):
        check(folder, ["out-0", "out-1", "out-2"])


def test_files_without_a_manifest_pass_in_a_folder_of_their_own(folder):
    (folder / "else").mkdir()
    (folder / "else/old").write_bytes(b"a")
    check(folder, ["out-0", "out-1", "else/old"])


@pytest.fixture
def files_of_two_runs(tmp_path):
    """Makes two record files, each with a manifest, the second one with other flags."""

    def make(**changed):
        (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
        (tmp_path / "other.txt").write_text("\n".join(reversed(VOCAB)) + "\n")
        write(tmp_path, ["out-0"])
        write(tmp_path, ["out-1"], **changed)
        return [ScannedFile(str(tmp_path / name), RECORDS[name]) for name in RECORDS]

    return make


def test_records_of_two_runs_pass_together(files_of_two_runs):
    check_one_vocabulary(files_of_two_runs(max_seq_length=64))


@pytest.mark.parametrize("changed", [{"vocab": "other.txt"}, {"do_lower_case": False}], ids=str)
def test_records_of_two_kinds_of_tokens_are_refused_together(files_of_two_runs, changed):
    with pytest.raises(ValueError, match="out-1.manifest.json: its records are of another"):
        check_one_vocabulary(files_of_two_runs(**changed))


def test_records_without_manifests_pass_together(tmp_path):
    check_one_vocabulary([ScannedFile(str(tmp_path / name), 5) for name in "ab"])


def test_every_mismatch_has_a_line(folder):
    (folder / "out-1").unlink()
    with pytest.raises(ValueError) as error:
        check(folder, ["out-0"], flags={"max_seq_length": 64, "masked_lm_prob": 0.2}, vocab_size=6)
    lines = str(error.value).splitlines()
    assert lines[0] == "the records do not fit, 4 reasons:" and len(lines) == 5
