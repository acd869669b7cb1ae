"""The script, run as its users run it."""

import hashlib
import json

import pytest
import tensorflow as tf
from tiny_runs import refusal, succeed, write_vocab

SCRIPT = "create_pretraining_data.py"
FEATURES = (
    "input_ids input_mask segment_ids masked_lm_positions masked_lm_ids masked_lm_weights "
    "next_sentence_labels"
).split()


@pytest.fixture
def made_up(tmp_path):
    """Flags for a small text of two documents and its vocabulary."""
    vocab = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat sat mat dog ran . ##s".split()
    write_vocab(tmp_path / "vocab.txt", vocab)
    (tmp_path / "text.txt").write_text("The cat sat.\nDogs ran.\n\nThe mats.\nThe dog sat.\n")
    return {
        "input_file": tmp_path / "text.txt",
        "output_file": tmp_path / "out.tfrecord",
        "vocab_file": tmp_path / "vocab.txt",
        "max_seq_length": 17,
        "max_predictions_per_seq": 3,
    }


def values(path):
    """Yields for each record of a file its feature lists."""
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        yield [
            list(feature[name].int64_list.value or feature[name].float_list.value)
            for name in FEATURES
        ]


def content_hash(path):
    lines = "".join(json.dumps(record) + "\n" for record in values(path))
    return hashlib.sha256(lines.encode()).hexdigest()


# Hashes of the original script's own records, google_bert.md, section 1.1.
PER_PIECE = "23656b72305dcb8c6e779ffd90cf443928c171bbe2f2e87de54d024bc3318f4b"
WHOLE_WORD = "d5ea27f5ccca6fd29d47b91a81106abf05fb0e260ffe66fb280d04a787a34514"


@pytest.mark.parametrize(
    "expected, options",
    [(PER_PIECE, {}), (WHOLE_WORD, {"do_whole_word_mask": "true"})],
    ids=["per piece", "whole word"],
)
def test_records_equal_those_of_the_original(shared, tmp_path, expected, options):
    output = tmp_path / "out.tfrecord"
    succeed(
        SCRIPT,
        input_file=shared / "data/corpus/sample_text_original.txt",
        vocab_file=shared / "data/vocab/uncased_vocab.txt",
        output_file=output,
        max_seq_length=128,
        max_predictions_per_seq=20,
        masked_lm_prob=0.15,
        random_seed=12345,
        dupe_factor=5,
        reproduce_original="true",
        **options,
    )
    assert content_hash(output) == expected


def test_the_reproduction_says_what_was_made_and_shows_instances(made_up):
    _, stderr = succeed(SCRIPT, **made_up, dupe_factor=3, v=1, reproduce_original="true")
    assert "read 1 files: 2 documents, 4 sentences, 16 tokens" in stderr
    records = list(values(made_up["output_file"]))
    masked = sum(sum(record[5]) for record in records)
    random_next = sum(record[6][0] for record in records) / len(records)
    padding = 1 - sum(sum(record[1]) for record in records) / (17 * len(records))
    expected = f"{masked:.0f} masked tokens, {random_next:.1%} random next, {padding:.1%} padding"
    assert f"wrote {len(records)} instances" in stderr and expected in stderr
    assert stderr.count("tokens: [CLS] ") == min(20, len(records))


def test_one_document_is_warned_of(made_up):
    made_up["input_file"].write_text("The cat sat.\nDogs ran.\n")
    _, stderr = succeed(SCRIPT, **made_up)
    assert "come from the same document" in stderr


def test_shards_hold_every_record_once_and_the_manifest_names_them(made_up):
    succeed(SCRIPT, **made_up, num_shards=3, dupe_factor=7, objective="doc_sentences", report=True)
    folder = made_up["output_file"].parent
    shards = sorted(folder.glob("out-*-of-00003.tfrecord"))
    counts = [len(list(values(path))) for path in shards]
    manifest = json.loads((folder / f"{shards[0].name}.manifest.json").read_text())
    assert [shard["records"] for shard in manifest["shards"]] == counts
    assert max(counts) - min(counts) <= 1
    assert (folder / f"{shards[0].name}.report.html").read_text().startswith("<!doctype html>")


def test_records_without_masks_are_made_in_one_pass(made_up):
    del made_up["max_predictions_per_seq"]
    succeed(SCRIPT, **made_up, dynamic_masking=True)
    manifest = json.loads(made_up["output_file"].with_suffix(".tfrecord.manifest.json").read_text())
    assert manifest["recipe"]["dupe_factor"] == 1
    record = next(tf.data.TFRecordDataset(str(made_up["output_file"])).as_numpy_iterator())
    features = tf.train.Example.FromString(record).features.feature
    assert {*features} == {"input_ids", "input_mask", "segment_ids", "next_sentence_labels"}


def change(made_up, flag, content):
    made_up[flag].write_bytes(content)


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda f: f.update(output_file=f["input_file"]), "is also an input"),
        (lambda f: change(f, "input_file", b"The \xe4\n"), "line 1: byte 4"),
        (lambda f: change(f, "vocab_file", b"[UNK]\n[CLS]\n[SEP]\n"), "vocab.txt lacks [MASK]"),
        (lambda f: f.update(reproduce_original=True, num_workers=2), "and --num_workers do not go"),
        (lambda f: f.update(input_file="/none/*.txt"), "no file matches '/none/*.txt'"),
        (lambda f: f.update(output_file="/none/out"), "the folder /none does not exist"),
        (lambda f: f.update(max_seq_length=4), "--max_seq_length=4"),
        (lambda f: f.update(masked_lm_prob=1.1), "--masked_lm_prob=1.1"),
        (lambda f: change(f, "input_file", b" \n\n"), "0 documents"),
        (lambda f: f.update(dynamic_masking=True), "and --max_predictions_per_seq do not"),
        (lambda f: f.update(do_whole_word_mask=True, masking="span"), "and --masking do"),
        (lambda f: f.update(runner="DirectRunner", num_workers=2), "and --num_workers do"),
        (lambda f: f.update(num_shards=2, output_file="a,b"), "and --output_file=a,b"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_one_line_and_leaves_no_file(made_up, tmp_path, break_it, message):
    break_it(made_up)
    before = sorted(tmp_path.iterdir())
    assert message in refusal(SCRIPT, **made_up)
    assert sorted(tmp_path.iterdir()) == before
