"""Examples -> features -> records."""

import hashlib
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import original_tokenizer
from finetuning.features import (
    encode_examples,
    feature_spec,
    truncated_lengths,
    write_records,
    write_split,
)
from finetuning.task_files import read_examples
from finetuning.tasks import MULTI, REGRESSION, TASKS, Example
from tokenization import FullTokenizer
from training.batches import parse_records

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "##x"]
CLS, SEP, A, B, C, D, X = 2, 3, 4, 5, 6, 7, 8


def tokenizer(vocab=VOCAB):
    return FullTokenizer.from_vocab({token: index for index, token in enumerate(vocab)})


def encode(text_a, text_b=None, max_seq_length=11, label="no"):
    example = Example("", text_a, text_b, label)
    features = encode_examples([example], ["yes", "no"], max_seq_length, tokenizer())
    return {name: values[0].tolist() for name, values in features.items()}


def some_features(number, max_seq_length=7):
    texts = itertools.islice(itertools.cycle(["a b", "c", "d ax a b c d a", ""]), number)
    examples = [Example("", text, "b", "yno"[i % 2 :]) for i, text in enumerate(texts)]
    return encode_examples(examples, ["no", "yno"], max_seq_length, tokenizer())


@pytest.fixture
def full_tokenizer(shared):
    return FullTokenizer(str(shared / "data/vocab/uncased_vocab.txt"))


def test_a_sentence_stands_between_cls_and_sep():
    assert encode("A ax b") == {
        "input_ids": [CLS, A, A, X, B, SEP, 0, 0, 0, 0, 0],
        "input_mask": [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        "segment_ids": [0] * 11,
        "label_ids": 1,
        "is_real_example": 1,
    }


def test_a_second_sentence_is_the_second_segment():
    assert encode("a b", "c dx", label="yes") == {
        "input_ids": [CLS, A, B, SEP, C, D, X, SEP, 0, 0, 0],
        "input_mask": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "segment_ids": [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0],
        "label_ids": 0,
        "is_real_example": 1,
    }


@pytest.mark.parametrize("text_b", ["", " ", "\u200b"])
def test_a_second_text_without_tokens_is_as_if_it_were_not_there(text_b):
    assert encode("a b", text_b) == encode("a b")


def test_texts_without_tokens_are_kept():
    assert encode("")["input_ids"] == [CLS, SEP] + [0] * 9
    assert encode("", "c")["input_ids"] == [CLS, SEP, C, SEP] + [0] * 7


def test_the_end_of_the_longer_text_is_cut_off():
    assert encode("a b c d a", max_seq_length=5)["input_ids"] == [CLS, A, B, C, SEP]
    pair = encode("a b c d a", "d c", max_seq_length=7)
    assert pair["input_ids"] == [CLS, A, B, SEP, D, C, SEP]
    assert pair["segment_ids"] == [0, 0, 0, 0, 1, 1, 1]


def test_a_second_text_cut_down_to_nothing_leaves_no_separator():
    assert encode("a b", "c", max_seq_length=4)["input_ids"] == [CLS, A, SEP, 0]
    assert encode("a b", "c", max_seq_length=3)["input_ids"] == [CLS, SEP, 0]


def truncated_one_by_one(length_a, length_b, max_seq_length):
    """The rule of the original, one token at a time."""
    if not length_b:
        return min(length_a, max_seq_length - 2), 0
    while length_a + length_b > max_seq_length - 3:
        if length_a > length_b:
            length_a -= 1
        else:
            length_b -= 1
    return length_a, length_b


def test_lengths_are_those_of_truncating_one_by_one():
    for lengths in itertools.product(range(13), range(13), range(3, 20)):
        assert truncated_lengths(*lengths) == truncated_one_by_one(*lengths), lengths


def test_columns_are_int32_of_the_shapes_of_the_schema():
    features = some_features(5)
    assert {name: (values.dtype, values.shape[1:]) for name, values in features.items()} == {
        name: (np.int32, tuple(schema.shape)) for name, schema in feature_spec(7).items()
    }
    assert {len(values) for values in features.values()} == {5}


def test_truncated_and_empty_examples_are_counted(caplog):
    texts = ["a b c d", "a b c", "a b c d a b c", "", "d c b a"]
    with caplog.at_level("INFO", logger="absl"):
        encode_examples([Example("", t, None, "0") for t in texts], ["0"], 5, tokenizer())
    assert "5 examples, 3 of them truncated to --max_seq_length=5, 1 without any" in caplog.text


def test_a_vocabulary_without_the_special_tokens_is_refused():
    with pytest.raises(ValueError, match=r"--vocab_file lacks \[CLS\], \[UNK\]: it is no BERT"):
        encode_examples([Example("", "a", None, "0")], ["0"], 5, tokenizer(["[SEP]", "a"]))


def test_records_are_read_as_they_were_written(tmp_path):
    path, features = str(tmp_path / "train.tf_record"), some_features(5)
    write_records(path, features)
    records = [*tf.data.TFRecordDataset(path)]
    assert len(records) == 5
    for row, record in enumerate(records):
        parsed = parse_records(record, feature_spec(7))
        assert set(parsed) == set(features)
        for name, values in parsed.items():
            assert values.dtype == tf.int32
            np.testing.assert_array_equal(values, features[name][row])
    batch = parse_records(tf.stack(records), feature_spec(7))
    for name, values in features.items():
        np.testing.assert_array_equal(batch[name], values)


def test_records_have_the_features_of_the_original(tmp_path):
    path = str(tmp_path / "eval.tf_record")
    write_records(path, some_features(1))
    (record,) = tf.data.TFRecordDataset(path).as_numpy_iterator()
    feature = tf.train.Example.FromString(record).features.feature
    assert {name: len(values.int64_list.value) for name, values in feature.items()} == {
        "input_ids": 7,
        "input_mask": 7,
        "segment_ids": 7,
        "label_ids": 1,
        "is_real_example": 1,
    }


def test_records_are_cut_to_the_length_that_they_fit_in_and_their_order_is_told(tmp_path, caplog):
    texts = ["a b c d a", "a", "", "b c d", "c d", "d"]
    examples = [Example("", text, None, ("y", "z")) for text in texts]
    features = encode_examples(examples, ["x", "y", "z"], 11, tokenizer(), MULTI)
    with caplog.at_level("INFO", logger="absl"):
        records, order = write_split(str(tmp_path), "train", features, [3, 5, 7, 11])
    assert "train: 6 records, 7.7% of their positions are padding" in caplog.text
    assert records.counts == {3: 3, 5: 2, 7: 1} and order.tolist() == [1, 2, 5, 3, 4, 0]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("train.3.tf_record", "train.5.tf_record", "train.7.tf_record")
    }
    rows = iter(order)
    for length, path in records.files.items():
        for record in tf.data.TFRecordDataset(path):
            parsed, row = parse_records(record, feature_spec(length, MULTI, 3)), next(rows)
            assert parsed["label_ids"].numpy().tolist() == [0, 1, 1]
            for name in ("input_ids", "input_mask", "segment_ids"):
                padded = np.pad(parsed[name], (0, 11 - length))
                assert padded.tolist() == features[name][row].tolist()


def test_records_of_one_length_are_the_file_of_the_original(tmp_path):
    features = some_features(5)
    records, order = write_split(str(tmp_path), "eval", features, [7])
    write_records(str(tmp_path / "expected"), features)
    assert records.files == {7: str(tmp_path / "eval.tf_record")} and order.tolist() == [*range(5)]
    assert (tmp_path / "eval.tf_record").read_bytes() == (tmp_path / "expected").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "train.tf_record"
    path.write_text("old")
    features = some_features(5)
    with pytest.raises(ValueError):
        write_records(str(path), {**features, "label_ids": features["label_ids"][:3]})
    assert [*tmp_path.iterdir()] == [path] and path.read_text() == "old"
    write_records(str(path), features)
    assert [*tmp_path.iterdir()] == [path] and path.read_text("latin1") != "old"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere/train.tf_record cannot be written: "):
        write_records(str(tmp_path / "nowhere/train.tf_record"), some_features(1))


@pytest.mark.parametrize("task", ["cola", "mrpc"])
@pytest.mark.parametrize("max_seq_length", [32, 128])
def test_features_equal_the_recorded_ones(task, max_seq_length, shared, full_tokenizer):
    recorded = json.loads((shared / f"golden/features/{task}.json").read_text())
    recorded = [entry for entry in recorded if entry["max_seq_length"] == max_seq_length]
    assert len(recorded) == 600
    examples = [Example(e["guid"], e["text_a"], e["text_b"], e["label"]) for e in recorded]
    features = encode_examples(examples, TASKS[task].labels, max_seq_length, full_tokenizer)
    for name in ("input_ids", "segment_ids"):
        for row, entry in enumerate(recorded):
            padding = [0] * (max_seq_length - len(entry[name]))
            assert features[name][row].tolist() == entry[name] + padding
    lengths = [len(entry["input_ids"]) for entry in recorded]
    np.testing.assert_array_equal(
        features["input_mask"], np.arange(max_seq_length) < np.array(lengths)[:, None]
    )
    assert features["label_ids"].tolist() == [entry["label_id"] for entry in recorded]


def content_hash(features):
    names = ("input_ids", "input_mask", "segment_ids", "label_ids")
    rows = zip(*(features[name].tolist() for name in names), strict=True)
    return hashlib.sha256("".join(json.dumps(row) + "\n" for row in rows).encode()).hexdigest()


@pytest.mark.parametrize(
    "split, number, begins, recorded",
    [
        (
            "train",
            3668,
            "\ufeff",
            "7af25e75dde8da5d11744b0ae5e03053b8fc77131f3a49af15bf0c5ada5d1d07",
        ),
        ("dev", 408, "\ufeff", "4b85f2889a6d8600e8b590d840168e1b91dc101aa0e1e261d9a520aadc239502"),
        (
            "test",
            1725,
            "\ufeff",
            "4c31231a6f7125b78fccc129e048aad5973635b8fd54903e16778531a040043a",
        ),
    ],
)
def test_features_of_mrpc_have_the_recorded_hash(
    split, number, begins, recorded, shared, full_tokenizer
):
    folder = shared / "data/glue/MRPC"
    examples = read_examples(TASKS["mrpc"], str(folder), split)
    if len(examples) != number:
        pytest.skip(f"{split}.tsv has {len(examples)} examples, that of the hash had {number}")
    if not (folder / f"{split}.tsv").read_text("utf-8").startswith(begins):
        pytest.skip(f"{split}.tsv has no byte order mark, so it is not the file of the hash")
    features = encode_examples(examples, ("0", "1"), 128, full_tokenizer)
    assert content_hash(features) == recorded


@pytest.mark.parametrize("split", ["train", "test"])
def test_features_of_all_mrpc_follow_from_the_rules(split, shared, full_tokenizer):
    """Without memo and closed form: the rules of the original, transcribed."""
    examples = read_examples(TASKS["mrpc"], str(shared / "data/glue/MRPC"), split)
    features = encode_examples(examples, ("0", "1"), 41, full_tokenizer)
    for row, example in enumerate(examples):
        a, b = (original_tokenizer.encode(text, full_tokenizer.vocab) for text in example[1:3])
        kept_a, kept_b = truncated_one_by_one(len(a), len(b), 41)
        ids = [101, *a[:kept_a], 102, *b[:kept_b], 102]
        assert features["input_ids"][row].tolist() == ids + [0] * (41 - len(ids))
        assert features["segment_ids"][row].sum() == kept_b + 1


def test_several_labels_are_a_one_for_each_and_a_number_is_kept(tmp_path):
    labels = ["x", "y", "z"]
    sets = [("z", "x"), (), ("y",)]
    examples = [Example("", "a", None, label) for label in sets]
    features = encode_examples(examples, labels, 5, tokenizer(), MULTI)
    assert features["label_ids"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    numbers = [Example("", "a", None, value) for value in (0.25, -3.0)]
    features = encode_examples(numbers, ["score"], 5, tokenizer(), REGRESSION)
    assert features["label_ids"].tolist() == [0.25, -3.0]


@pytest.mark.parametrize(
    "kind, labels", [(MULTI, [("b", "a"), ("c",), ()]), (REGRESSION, [0.1, 4.75, -2.0])]
)
def test_records_of_all_kinds_of_labels_are_read_as_they_were_written(kind, labels, tmp_path):
    path, spec = str(tmp_path / "train.tf_record"), feature_spec(5, kind, 3)
    examples = [Example("", "a b", None, label) for label in labels]
    features = encode_examples(examples, ["a", "b", "c"], 5, tokenizer(), kind)
    write_records(path, features)
    batch = parse_records(tf.stack([*tf.data.TFRecordDataset(path)]), spec)
    for name, values in features.items():
        assert batch[name].dtype == values.dtype
        np.testing.assert_array_equal(batch[name], values)
