"""SQuAD's features -> records, and the cache of the records."""

import json
import logging
import random
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import original_squad
from finetuning import squad_records
from finetuning.squad_examples import read_paragraphs
from finetuning.squad_features import encode_questions
from finetuning.squad_records import feature_spec, prepare_records
from tokenization import FullTokenizer
from training.records import Varints, serialize_int64, varint

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefg", "##b", "[MASK]"]
SCALARS = ["start_positions", "end_positions", "is_impossible"]
TOKENS = ["input_ids", "input_mask", "segment_ids"]


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(VOCAB) + "\n")
    return str(path)


@pytest.fixture
def output_dir(tmp_path):
    folder = tmp_path / "output"
    folder.mkdir()
    return folder


def paragraph(context, *answers):
    """Every answer is (text, start); None makes an impossible question."""
    qas = [
        {
            "id": f"{context.replace(' ', '')}-{number}",
            "question": "a b",
            "is_impossible": answer is None,
            "answers": [] if answer is None else [{"text": answer[0], "answer_start": answer[1]}],
        }
        for number, answer in enumerate(answers)
    ]
    return {"context": context, "qas": qas}


# With [CLS] a b [SEP] before and [SEP] behind, features of 8, 8, 13 and 9 tokens, if these are at most 13.
PARAGRAPHS = [
    paragraph("a b c", ("b", 2), None),
    paragraph("a b c d e f g ab", ("ab", 14)),
    paragraph(" \t", None),
]


def write_squad(path, paragraphs=PARAGRAPHS):
    path.write_text(json.dumps({"data": [{"title": "", "paragraphs": paragraphs}]}))
    return str(path)


@pytest.fixture
def squad_file(tmp_path):
    return write_squad(tmp_path / "train.json")


@pytest.fixture
def prepare(output_dir, squad_file, vocab_file):
    """Prepares records of the small file, with other arguments than these where they are given."""

    def call(split="train", do_lower_case=True, **changes):
        arguments = {
            "files": [squad_file],
            "vocab_file": vocab_file,
            "lengths": [13],
            "max_seq_length": 13,
            "doc_stride": 5,
            "max_query_length": 3,
            "for_training": split == "train",
            "version_2_with_negative": True,
            "skip_bad_answers": True,
            **changes,
        }
        tokenizer = FullTokenizer(arguments["vocab_file"], do_lower_case)
        return prepare_records(str(output_dir), split, tokenizer=tokenizer, **arguments)

    return call


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger="absl")
    return caplog


def parsed(path, length, for_training=True):
    """Returns the records of a file as TensorFlow reads them in training."""
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    return tf.io.parse_example(tf.constant(records), feature_spec(length, for_training))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, 30521, 10**9, 2**31, 2**63 - 1])
def test_varints_are_read_back(value):
    expected = tf.train.Int64List(value=[value]).SerializeToString()
    assert b"\x0a" + bytes([len(varint(value))]) + varint(value) == expected
    assert Varints()[value] == varint(value)


def test_serialized_examples_are_those_of_the_message_classes():
    rng = random.Random(3)
    for _ in range(101):
        features = {
            "name" * rng.randint(1, 50): [
                rng.randrange(2 ** rng.randrange(1, 63)) for _ in range(n)
            ]
            for n in rng.choices([1, 2, 31, 128, 400], k=rng.randint(1, 5))
        }
        expected = tf.train.Example()
        for name, values in features.items():
            expected.features.feature[name].int64_list.value.extend(values)
        data = serialize_int64({k: b"".join(map(varint, v)) for k, v in features.items()})
        assert tf.train.Example.FromString(data) == expected
        spec = {k: tf.io.FixedLenFeature([len(v)], tf.int64) for k, v in features.items()}
        found = tf.io.parse_single_example(data, spec)
        assert {k: v.numpy().tolist() for k, v in found.items()} == features


def test_a_record_holds_the_feature_padded_with_zeros(prepare):
    records = prepare()
    assert list(records.files) == [13]
    found = {k: v.numpy()[0].tolist() for k, v in parsed(records.files[13], 13).items()}
    assert found == {
        "unique_ids": 1000000000,
        "input_ids": [2, 4, 5, 3, 4, 5, 6, 3, 0, 0, 0, 0, 0],
        "input_mask": [1] * 8 + [0] * 5,
        "segment_ids": [0] * 4 + [1] * 4 + [0] * 5,
        "start_positions": 5,
        "end_positions": 5,
        "is_impossible": 0,
    }


def test_records_for_prediction_have_no_labels(prepare):
    records = prepare("eval")
    assert set(parsed(records.files[13], 13, for_training=False)) == {"unique_ids", *TOKENS}
    (record, *_) = tf.data.TFRecordDataset(records.files[13]).as_numpy_iterator()
    assert set(tf.train.Example.FromString(record).features.feature) == {"unique_ids", *TOKENS}


@pytest.mark.parametrize("split", ["train", "eval"])
def test_records_are_those_of_the_original(split, prepare, squad_file, vocab_file, tmp_path):
    path = str(tmp_path / "original")
    original_squad.create_records(squad_file, path, vocab_file, split == "train", True, 13, 5, 3)
    records = prepare(split)
    ours, expected = (
        [tf.train.Example.FromString(r) for r in tf.data.TFRecordDataset(file).as_numpy_iterator()]
        for file in (records.files[13], path)
    )
    assert ours == expected and len(ours) == 4
    assert records.counts == {13: 4} and records.num_examples == 4
    assert records.num_tokens == 8 + 8 + 13 + 9


def test_the_same_data_make_the_same_bytes(prepare, output_dir):
    prepare()
    first = (output_dir / "train.tf_record").read_bytes()
    (output_dir / "train.tf_record.json").unlink()
    prepare()
    assert (output_dir / "train.tf_record").read_bytes() == first


def test_features_go_to_the_file_of_the_least_length_that_they_fit(prepare, output_dir):
    whole = parsed(prepare().files[13], 13)
    records = prepare(lengths=[7, 8, 12, 13])
    assert records.counts == {8: 2, 12: 1, 13: 1}
    assert [*records.files] == [8, 12, 13] and records.num_tokens == 38
    assert names(output_dir) == [
        "train.12.tf_record",
        "train.13.tf_record",
        "train.8.tf_record",
        "train.tf_record.json",
    ]
    for length, file in records.files.items():
        found = parsed(file, length)
        rows = np.isin(whole["unique_ids"], found["unique_ids"])
        for name, values in found.items():
            expected = whole[name].numpy()[rows]
            np.testing.assert_array_equal(
                values, expected[:, :length] if name in TOKENS else expected
            )
        assert not whole["input_mask"].numpy()[rows][:, length:].any()


def test_questions_left_out_and_empty_contexts_and_padding_are_in_the_log(prepare, log, tmp_path):
    wrong = [paragraph(f"{letter} b", ("b", 0)) for letter in "acdefgh"]
    wrong += [paragraph("fg c", ("a", 3)), paragraph("abc d", ("a", 4))]
    prepare(files=[write_squad(tmp_path / "wrong.json", PARAGRAPHS + wrong)])
    summary, first, second = (record.getMessage() for record in log.records)
    assert summary == (
        "train.tf_record: 4 questions, 4 features, 26.9% of the positions are padding; 1 questions have none because "
        "their context has no words, 9 others are left out because their answer is not at its answer_start"
    )
    assert (
        first
        == "train.tf_record: left out: "
        + " ".join(f"{letter}b-0" for letter in "acdefgh")
        + " fgc-0"
    )
    assert second == "train.tf_record: left out: abcd-0"


def test_the_padding_saved_by_several_lengths_is_in_the_log(prepare, log):
    prepare(lengths=[8, 12, 13])
    assert "7.3% of the positions are padding instead of 26.9%;" in log.text  # 3 of 41, 14 of 52


def test_a_misplaced_answer_is_an_error_where_none_may_be_left_out(prepare, output_dir, tmp_path):
    file = write_squad(tmp_path / "wrong.json", [*PARAGRAPHS, paragraph("a b", ("b", 0))])
    with pytest.raises(
        ValueError, match=r"wrong.json: data\[0\].paragraphs\[3\].qas\[0\].* 'b' but at"
    ):
        prepare(files=[file], skip_bad_answers=False)
    assert names(output_dir) == []


def test_training_on_nothing_is_refused(prepare, output_dir, tmp_path):
    file = write_squad(tmp_path / "blank.json", [paragraph(" ", None), paragraph("a b", ("b", 0))])
    with pytest.raises(ValueError, match="--train_file has nothing to train on"):
        prepare(files=[file])
    assert names(output_dir) == []
    assert prepare("eval", files=[file])[1:] == ({13: 1}, 2, 7)


def test_predicting_from_blank_contexts_alone_writes_no_file(prepare, output_dir, tmp_path):
    file = write_squad(tmp_path / "blank.json", [paragraph(" ", None)])
    assert prepare("eval", files=[file]) == ({}, {}, 1, 0)
    assert prepare("eval", files=[file]) == ({}, {}, 1, 0)
    assert names(output_dir) == ["eval.tf_record.json"]


def test_records_are_written_one_at_a_time(prepare, monkeypatch):
    """When a record is written, no feature of the next question has been made."""
    order = []

    def encode(*arguments, **more):
        for encoded in encode_questions(*arguments, **more):
            order.append("question")
            yield encoded

    class Writer(tf.io.TFRecordWriter):
        def write(self, record):
            order.append("record")
            super().write(record)

    monkeypatch.setattr(squad_records, "encode_questions", encode)
    monkeypatch.setattr(tf.io, "TFRecordWriter", Writer)
    prepare()
    assert order == ["question", "record"] * 3 + ["record", "question"]


# --- the cache


def test_records_of_the_same_inputs_are_reused_with_one_line(prepare, output_dir, log, monkeypatch):
    first = prepare()
    times = {path: path.stat().st_mtime_ns for path in output_dir.iterdir()}
    log.clear()
    monkeypatch.setattr(squad_records, "read_paragraphs", None)
    assert prepare() == first
    assert {path: path.stat().st_mtime_ns for path in output_dir.iterdir()} == times
    (record,) = log.records
    assert record.getMessage() == (
        "train.tf_record is there for the same data, vocabulary and flags, and reused: 4 questions, 4 features; 0 "
        "other questions were left out because their answer is not at its answer_start"
    )


def test_only_the_content_of_the_files_counts(prepare, tmp_path, log):
    prepare()
    copies = [tmp_path / "copy.json", tmp_path / "copy.txt"]
    for copy, name in zip(copies, ("train.json", "vocab.txt"), strict=True):
        copy.write_bytes((tmp_path / name).read_bytes())
    log.clear()
    prepare(files=[str(copies[0])], vocab_file=str(copies[1]))
    assert "reused" in log.text and len(log.records) == 1


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"max_seq_length": 11, "lengths": [11]}, "max_seq_length was 13 and is 11"),
        ({"lengths": [8, 13]}, "length_buckets was [13] and is [8, 13]"),
        ({"doc_stride": 2}, "doc_stride was 5 and is 2"),
        ({"max_query_length": 1}, "max_query_length was 3 and is 1"),
        ({"do_lower_case": False}, "do_lower_case was True and is False"),
        ({"skip_bad_answers": False}, "skip_bad_answers was True and is False"),
        ({"for_training": False}, "for_training was True and is False"),
    ],
)
def test_another_flag_makes_them_again_and_is_named(changes, reason, prepare, log):
    prepare()
    log.clear()
    prepare(**changes)
    assert "train.tf_record is made again: " in log.text and reason in log.text
    log.clear()
    prepare(**changes)
    assert "reused" in log.text


def test_other_data_or_another_vocabulary_make_them_again(prepare, tmp_path, vocab_file, log):
    first = prepare()
    write_squad(tmp_path / "train.json", PARAGRAPHS[:1])
    second = prepare()
    assert "is made again: the content of the data has changed" in log.text
    assert (first.counts, second.counts) == ({13: 4}, {13: 2})
    with open(vocab_file, "a") as file:
        file.write("new\n")
    prepare()
    assert "is made again: the content of the vocabulary has changed" in log.text
    prepare(
        version_2_with_negative=False,
        files=[write_squad(tmp_path / "v1.json", [paragraph("a b", ("b", 2))])],
    )
    assert (
        "the content of the data has changed; version_2_with_negative was True and is False"
        in log.text
    )


def test_the_order_of_files_counts(prepare, tmp_path):
    files = [
        write_squad(tmp_path / f"{number}.json", [part])
        for number, part in enumerate(PARAGRAPHS[:2])
    ]
    there = parsed(prepare(files=files).files[13], 13)["input_ids"].numpy()
    back = parsed(prepare(files=files[::-1]).files[13], 13)["input_ids"].numpy()
    np.testing.assert_array_equal(there, back[[2, 3, 0, 1]])


@pytest.mark.parametrize("damage", ["missing", "longer", "flipped"])
def test_a_file_that_is_not_as_it_was_written_is_made_again(damage, prepare, output_dir, log):
    prepare()
    path = output_dir / "train.tf_record"
    content = path.read_bytes()
    path.unlink()
    if damage == "longer":
        path.write_bytes(content + b"x")
    if damage == "flipped":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    prepare()
    expected = {
        "missing": "train.tf_record is missing",
        "longer": f"train.tf_record has not the {len(content)} bytes that were written",
        "flipped": "train.tf_record: record 3 at byte ",
    }
    assert "train.tf_record is made again: " in log.text and expected[damage] in log.text
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1]",
        "null",
        '{"contents": {}}',
        '{"contents": {}, "settings": {}, "files": [7], "totals": {}}',
    ],
)
def test_a_damaged_manifest_is_as_none(content, prepare, output_dir, log):
    first = prepare()
    (output_dir / "train.tf_record.json").write_text(content)
    assert prepare() == first
    assert "train.tf_record.json is damaged: the records are made again" in log.text
    log.clear()
    prepare()
    assert "reused" in log.text


def test_files_of_other_lengths_are_removed_and_nothing_else(prepare, output_dir):
    prepare(lengths=[8, 13])
    others = ["train.7.tf_record", "train.tf_record.index", "eval.8.tf_record"]
    for name in others:
        (output_dir / name).touch()
    prepare()
    assert names(output_dir) == sorted([*others, "train.tf_record", "train.tf_record.json"])


def test_a_manifest_cannot_have_files_elsewhere_removed(prepare, output_dir, tmp_path, log):
    prepare()
    path = output_dir / "train.tf_record.json"
    manifest = json.loads(path.read_text())
    manifest["files"].append([5, "../vocab.txt", 1, 1])
    path.write_text(json.dumps(manifest))
    prepare(doc_stride=2)
    assert (tmp_path / "vocab.txt").exists()
    assert "is damaged" in log.text


def test_both_splits_have_records_of_their_own(prepare, output_dir, log):
    prepare()
    prepare("eval", lengths=[8, 13])
    log.clear()
    prepare()
    prepare("eval", lengths=[8, 13])
    assert Counter("reused" in record.getMessage() for record in log.records) == {True: 2}
    assert names(output_dir) == [
        "eval.13.tf_record",
        "eval.8.tf_record",
        "eval.tf_record.json",
        "train.tf_record",
        "train.tf_record.json",
    ]


def test_after_an_error_the_old_records_are_as_they_were(prepare, output_dir, log, tmp_path):
    prepare()
    before = {path: path.read_bytes() for path in output_dir.iterdir()}
    file = write_squad(tmp_path / "wrong.json", [*PARAGRAPHS, paragraph("a b", ("b", 0))])
    with pytest.raises(ValueError):
        prepare(files=[file], skip_bad_answers=False, lengths=[8, 13])
    assert {path: path.read_bytes() for path in output_dir.iterdir()} == before
    log.clear()
    prepare()
    assert "reused" in log.text


def test_what_is_killed_between_two_renames_is_made_again(prepare, output_dir, log, monkeypatch):
    first = prepare(lengths=[8, 13])
    rename = tf.io.gfile.rename
    calls = []

    def killed(source, target, overwrite):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target, overwrite)

    monkeypatch.setattr(tf.io.gfile, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(lengths=[8, 13], doc_stride=2)
    monkeypatch.undo()
    assert not any(name.endswith((".json", ".tmp")) for name in names(output_dir))
    log.clear()
    assert prepare(lengths=[8, 13]) == first
    assert "reused" not in log.text


def test_records_go_to_any_file_system_of_tensorflow(squad_file, vocab_file, log):
    folder = f"ram://{vocab_file}"  # of its own in each run
    tf.io.gfile.makedirs(folder)
    for _ in range(2):
        records = prepare_records(
            folder,
            "train",
            [squad_file],
            FullTokenizer(vocab_file),
            vocab_file,
            lengths=[8, 13],
            max_seq_length=13,
            doc_stride=5,
            max_query_length=3,
            for_training=True,
            version_2_with_negative=True,
            skip_bad_answers=True,
        )
        assert parsed(records.files[8], 8)["input_ids"].shape == (2, 8)
    assert "reused" in log.text
    assert sorted(tf.io.gfile.listdir(folder)) == [
        "train.13.tf_record",
        "train.8.tf_record",
        "train.tf_record.json",
    ]


def test_a_folder_that_cannot_be_written_is_named(prepare, output_dir):
    output_dir.rmdir()
    with pytest.raises(OSError, match="output: the records cannot be written: "):
        prepare()


def test_data_that_cannot_be_read_are_named(prepare, tmp_path):
    with pytest.raises(OSError, match="absent.json cannot be read: "):
        prepare(files=[str(tmp_path / "absent.json")])


def test_records_of_real_data_are_those_of_the_original(shared, output_dir, tmp_path):
    data, vocab = (
        shared / "data/squad/train-part-v2.0.json",
        shared / "data/vocab/uncased_vocab.txt",
    )
    tokenizer = FullTokenizer(str(vocab))
    lengths = {"max_seq_length": 163, "doc_stride": 67, "max_query_length": 31}
    records = prepare_records(
        str(output_dir),
        "train",
        [str(data)],
        tokenizer,
        str(vocab),
        lengths=[163],
        for_training=True,
        version_2_with_negative=True,
        skip_bad_answers=True,
        **lengths,
    )
    path = str(tmp_path / "original")
    original_squad.create_records(str(data), path, str(vocab), True, True, *lengths.values())
    ours, expected = (
        [tf.train.Example.FromString(r) for r in tf.data.TFRecordDataset(file).as_numpy_iterator()]
        for file in (records.files[163], path)
    )
    assert ours == expected and len(ours) == records.counts[163] > 400
    questions = encode_questions(
        read_paragraphs([str(data)], for_training=True, version_2_with_negative=True),
        tokenizer,
        for_training=True,
        bad_answers=[],
        **lengths,
    )
    assert records.num_examples == len(list(questions))
