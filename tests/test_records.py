"""The pre-training record and its files."""

import pytest
import tensorflow as tf

from pretraining.original_instances import Instance
from pretraining.records import (
    asks_next_sentence,
    check_first_records,
    feature_spec,
    record_writer,
    schema_of,
    to_example,
)
from training.batches import parse_records
from training.record_files import scan_files

# [CLS] 7 8 [SEP] 9 [SEP] with 8 and 9 chosen, 9 left as it is.
INSTANCE = Instance([2, 7, 4, 3, 9, 3], 4, True, [2, 4], [8, 9])
EXPECTED = {
    "input_ids": [2, 7, 4, 3, 9, 3, 0],
    "input_mask": [1, 1, 1, 1, 1, 1, 0],
    "segment_ids": [0, 0, 0, 0, 1, 1, 0],
    "masked_lm_positions": [2, 4, 0],
    "masked_lm_ids": [8, 9, 0],
    "masked_lm_weights": [1.0, 1.0, 0.0],
    "next_sentence_labels": [1],
}


def serialized():
    return to_example(INSTANCE, feature_spec(7, 3)).SerializeToString()


def write(path, number=1, max_seq_length=7, max_predictions_per_seq=3):
    with record_writer([str(path)], max_seq_length, max_predictions_per_seq) as put:
        for _ in range(number):
            put(INSTANCE)
    return [str(path)]


def lengths(paths):
    return [len(list(tf.data.TFRecordDataset(str(path)))) for path in paths]


def test_a_record_holds_the_instance_padded_with_zeros():
    record = parse_records(tf.constant(serialized()), feature_spec(7, 3))
    assert {name: values.numpy().tolist() for name, values in record.items()} == EXPECTED


def test_records_are_parsed_in_32_bits_one_by_one_or_in_batches():
    batch = parse_records(tf.constant([serialized()] * 2), feature_spec(7, 3))
    for name, values in batch.items():
        assert values.dtype == (tf.float32 if name == "masked_lm_weights" else tf.int32)
        assert values.numpy().tolist() == [EXPECTED[name]] * 2


def test_a_true_next_has_the_label_0():
    example = to_example(INSTANCE._replace(is_random_next=False), feature_spec(7, 3))
    record = parse_records(tf.constant(example.SerializeToString()), feature_spec(7, 3))
    assert record["next_sentence_labels"].numpy().tolist() == [0]


def test_records_go_to_the_files_in_turn(tmp_path):
    paths = [str(tmp_path / name) for name in "abc"]
    with record_writer(paths, 7, 3) as put:
        for number in range(5):
            put(INSTANCE._replace(masked_lm_ids=[number, number]))
    found = [
        [
            int(parse_records(record, feature_spec(7, 3))["masked_lm_ids"][0])
            for record in tf.data.TFRecordDataset(path)
        ]
        for path in paths
    ]
    assert found == [[0, 3], [1, 4], [2]]


def test_files_appear_when_they_are_whole(tmp_path):
    path = tmp_path / "records"
    with record_writer([str(path)], 7, 3) as put:
        put(INSTANCE)
        assert not path.exists()
    assert [found.name for found in tmp_path.iterdir()] == ["records"]


def test_an_error_leaves_the_files_as_they_were(tmp_path):
    path = tmp_path / "records"
    write(path, number=5)
    with pytest.raises(RuntimeError), record_writer([str(path)], 7, 3) as put:
        put(INSTANCE)
        raise RuntimeError
    assert lengths(tmp_path.iterdir()) == [5]


def test_a_file_that_cannot_be_created_is_named_and_no_other_is_left(tmp_path):
    paths = [str(tmp_path / "good"), str(tmp_path / "none" / "bad")]
    with pytest.raises(OSError, match="none/bad"):
        with record_writer(paths, 7, 3):
            pass
    assert not list(tmp_path.iterdir())


def test_fitting_records_pass_the_check(tmp_path):
    check_first_records(scan_files(write(tmp_path / "good")), feature_spec(7, 3), 10)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((11, 3, 10), "records in .*/file have max_seq_length 7 but --max_seq_length=11"),
        (
            (7, 5, 10),
            "records in .*/file have max_predictions_per_seq 3 but --max_predictions_per_seq=5",
        ),
        ((7, 3, 9), "records in .*/file hold 9 in 'input_ids'.*vocab_size is 9"),
    ],
)
def test_records_that_do_not_fit_are_explained(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        check_first_records(
            scan_files(write(tmp_path / "file")), feature_spec(*arguments[:2]), arguments[2]
        )


def write_raw(path, content):
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(content)
    return [str(path)]


def changed(change):
    example = tf.train.Example.FromString(serialized())
    change(example.features.feature)
    return example.SerializeToString()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\xff\xff\xff", "not of the type tf.train.Example"),
        (changed(lambda features: features.pop("segment_ids")), "lack segment_ids"),
        (changed(lambda features: features["segment_ids"].Clear()), "0 values of 'segment_ids'"),
        (changed(lambda f: f["masked_lm_ids"].int64_list.value.__setitem__(0, -1)), "hold -1 in"),
        (
            changed(lambda f: f["masked_lm_positions"].int64_list.value.__setitem__(0, 7)),
            "hold 7 in 'masked_lm_positions'",
        ),
        (
            changed(lambda f: f["next_sentence_labels"].int64_list.value.__setitem__(0, 2)),
            "hold 2 in 'next_sentence_labels', outside -1 to 1",
        ),
    ],
)
def test_records_of_another_kind_are_explained(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        check_first_records(
            scan_files(write_raw(tmp_path / "file", content)), feature_spec(7, 3), 10
        )


def test_a_file_of_another_kind_among_good_ones_is_named(tmp_path):
    files = scan_files(write(tmp_path / "good") + write_raw(tmp_path / "bad", b"\xff\xff\xff"))
    with pytest.raises(ValueError, match="bad are not of the type tf.train.Example"):
        check_first_records(files, feature_spec(7, 3), 10)


def test_a_damaged_first_record_is_named(tmp_path):
    (path,) = write(tmp_path / "file")
    data = bytearray((tmp_path / "file").read_bytes())
    data[15] ^= 1
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError, match="file: record 0 at byte 0 is damaged"):
        check_first_records(scan_files([path]), feature_spec(7, 3), 10)


def test_the_flag_to_change_is_the_one_of_the_phase(tmp_path):
    files = scan_files(write(tmp_path / "file"))
    with pytest.raises(ValueError, match="--phase2_max_seq_length=11"):
        check_first_records(files, feature_spec(11, 3), 10, flag_prefix="phase2_")


def record_of(masked=True, labels=(1,), num_slots=0):
    """Returns a record with masks or without, with room for several sequences or not."""
    starts = [0, *[7] * (num_slots - 1)]
    values = EXPECTED | {"next_sentence_labels": labels, "sequence_starts": starts}
    example = tf.train.Example()
    for name, schema in feature_spec(7, 3, masked, num_slots).items():
        feature = example.features.feature[name]
        numbers = feature.float_list if schema.dtype == tf.float32 else feature.int64_list
        numbers.value.extend(values[name])
    return example.SerializeToString()


LAYOUTS = [(True, (1,), 0), (False, (0,), 0), (True, (1, -1), 2), (False, (0, -1), 2)]


@pytest.mark.parametrize("masked, labels, num_slots", LAYOUTS)
def test_the_first_record_tells_the_schema(tmp_path, masked, labels, num_slots):
    files = scan_files(write_raw(tmp_path / "file", record_of(masked, labels, num_slots)))
    spec = schema_of(files, 7, 3)
    assert spec == feature_spec(7, 3, masked, num_slots)
    check_first_records(files, spec, 10)


def test_records_without_masks_hold_no_predictions():
    spec = feature_spec(7, 3, masked=False)
    assert {*spec} == {"input_ids", "input_mask", "segment_ids", "next_sentence_labels"}


def test_the_first_record_tells_whether_next_sentences_are_asked_for(tmp_path):
    labels = {"first": (0,), "second": (-1,), "packed": (-1, 1), "without": (-1, -1)}
    asked = {}
    for name, values in labels.items():
        content = record_of(labels=values, num_slots=len(values) if len(values) > 1 else 0)
        asked[name] = asks_next_sentence(scan_files(write_raw(tmp_path / name, content)))
    assert asked == {"first": True, "second": False, "packed": True, "without": False}


@pytest.mark.parametrize("odd", [(False, (1,), 0), (True, (1, -1), 2)])
@pytest.mark.parametrize("odd_comes_first", [False, True])
def test_records_of_two_kinds_are_not_mixed(tmp_path, odd, odd_comes_first):
    good, bad = write(tmp_path / "good"), write_raw(tmp_path / "odd", record_of(*odd))
    files = scan_files(bad + good if odd_comes_first else good + bad)
    feature = "masked_lm_ids" if odd[2] == 0 else "sequence_starts"
    with pytest.raises(ValueError, match=f"differ from the first.*only one kind has {feature}"):
        check_first_records(files, schema_of(files, 7, 3), 10)
