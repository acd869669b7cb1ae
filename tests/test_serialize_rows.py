"""Rows of whole batches as serialized examples, and their files."""

import numpy as np
import pytest
import tensorflow as tf

from training.record_files import scan_files
from training.records import serialize_rows, write_records


def parsed(serialized):
    """Returns name -> (kind of list, values), by TensorFlow's message classes."""
    features = tf.train.Example.FromString(serialized).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: (kind, list(getattr(features[name], kind).value)) for name, kind in kinds.items()}


def message(row):
    """Returns the bytes that the message classes make of one feature."""
    values = tf.train.Feature(int64_list=tf.train.Int64List(value=row))
    return tf.train.Example(features=tf.train.Features(feature={"f": values})).SerializeToString()


def test_rows_are_parsed_back_in_every_type():
    features = {
        "a": np.array([[1, 200, 70000], [0, 0, 127]], np.int32),
        "b": np.array([[0.5], [-3.0]], np.float32),
        "c": np.array([[-1, 5], [2**40, -(2**63)]], np.int64),
    }
    first, second = map(parsed, serialize_rows(features))
    assert first == {
        "a": ("int64_list", [1, 200, 70000]),
        "b": ("float_list", [0.5]),
        "c": ("int64_list", [-1, 5]),
    }
    assert second == {
        "a": ("int64_list", [0, 0, 127]),
        "b": ("float_list", [-3.0]),
        "c": ("int64_list", [2**40, -(2**63)]),
    }


EDGES = [0, 1, *(2 ** (7 * n) + d for n in range(1, 9) for d in (-1, 0)), 2**63 - 1, -1, -(2**63)]


@pytest.mark.parametrize("value", EDGES)
def test_a_whole_number_has_the_bytes_of_the_message_classes(value):
    rows = np.array([[3, value], [value, value]], np.int64)
    assert list(serialize_rows({"f": rows})) == [message(row) for row in rows.tolist()]


def test_more_rows_than_a_block_keep_their_order():
    rows = np.arange(2 * 1031, dtype=np.int32).reshape(1031, 2)
    assert list(serialize_rows({"f": rows})) == [message(row) for row in rows.tolist()]


def test_features_keep_the_order_in_which_they_are_given():
    values = np.ones((1, 2), np.int32)
    (one,), (other,) = (serialize_rows(dict.fromkeys(names, values)) for names in ("ab", "ba"))
    assert one != other and parsed(one) == parsed(other)


def test_no_rows_are_no_records():
    assert list(serialize_rows({"f": np.zeros((0, 3), np.int32)})) == []


def test_records_are_read_by_tensorflow(tmp_path):
    path, records = str(tmp_path / "part"), [b"one", b"", b"three" * 100]
    write_records(path, records)
    assert list(tf.data.TFRecordDataset(path).as_numpy_iterator()) == records


def test_files_joined_byte_for_byte_are_one_file(tmp_path):
    for name, records in (("a", [b"1", b"2"]), ("b", [b"3"])):
        write_records(str(tmp_path / name), records)
    joined = tmp_path / "joined"
    joined.write_bytes((tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes())
    (file,) = scan_files([str(joined)])
    assert file.count == 3


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "part"

    def records():
        yield b"1"
        assert not path.exists()
        yield b"2"

    write_records(str(path), records())
    assert [found.name for found in tmp_path.iterdir()] == ["part"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "none" / "part"
    with pytest.raises(OSError, match="none/part cannot be written"):
        write_records(str(path), [b"1"])


def test_an_error_leaves_nothing(tmp_path):
    def records():
        yield b"1"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_records(str(tmp_path / "part"), records())
    assert not list(tmp_path.iterdir())
