"""Records by length: each in the file of the least length that it fits in, and no file that is not whole."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from finetuning.length_records import write_by_length


def rows_of(*lengths, choices=2):
    for number, length in enumerate(lengths):
        ids = np.arange(1, 1 + choices * length, dtype=np.int32).reshape(choices, length)
        yield {"input_ids": ids * 200, "input_mask": np.ones_like(ids), "place": np.int32(number)}


def parsed(path, length, choices=2):
    tokens = tf.io.FixedLenFeature([choices, length], tf.int64)
    spec = dict(input_ids=tokens, input_mask=tokens, place=tf.io.FixedLenFeature([], tf.int64))
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    return {name: v.numpy() for name, v in tf.io.parse_example(records, spec).items()}


def test_rows_go_to_the_least_length_that_they_fit_in_in_their_order(tmp_path):
    records = write_by_length(str(tmp_path), "train", rows_of(5, 3, 7, 2, 5, 6), [3, 5, 7, 11])
    assert records.counts == {3: 2, 5: 2, 7: 2}
    places = {n: parsed(path, n)["place"].tolist() for n, path in records.files.items()}
    assert places == {3: [1, 3], 5: [0, 4], 7: [2, 5]}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"train.3.tf_record", "train.5.tf_record", "train.7.tf_record"}


def test_sequences_are_filled_up_each_by_itself(tmp_path):
    records = write_by_length(str(tmp_path), "train", rows_of(2), [3])
    values = parsed(records.files[3], 3)
    assert values["input_ids"][0].tolist() == [[200, 400, 0], [600, 800, 0]]
    assert values["input_mask"][0].tolist() == [[1, 1, 0], [1, 1, 0]]


def test_one_length_is_one_file_and_padding_is_told(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    records = write_by_length(str(tmp_path), "eval", rows_of(2, 5, 5), [5])
    assert [path.name for path in tmp_path.iterdir()] == ["eval.tf_record"]
    assert records.counts == {5: 3}
    assert "3 records, 20.0% of their positions are padding" in caplog.text


def test_what_fails_leaves_the_files_before_it_as_they_were(tmp_path):
    write_by_length(str(tmp_path), "train", rows_of(2, 4), [3, 5])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def broken():
        yield from rows_of(1, 1, 5)
        raise ValueError("a bad row")

    with pytest.raises(ValueError, match="a bad row"):
        write_by_length(str(tmp_path), "train", broken(), [3, 5])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere: the records cannot be written"):
        write_by_length(str(tmp_path / "nowhere"), "train", rows_of(2), [3])
