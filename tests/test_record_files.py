"""Damage in TFRecord files: it is named with file and record, never crashes the reader, and can be left out."""

import gzip
import struct

import numpy as np
import pytest
import tensorflow as tf

from training.batches import eval_batches, train_batches
from training.record_files import (
    ScannedFile,
    bad_records_named,
    masked_crc32c,
    record_offsets,
    scan_files,
)

SPEC = {"number": tf.io.FixedLenFeature([2], tf.int64)}
FRAME = 16


def example(*numbers, name="number"):
    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=numbers))
    return tf.train.Example(features=tf.train.Features(feature={name: feature})).SerializeToString()


@pytest.fixture
def write(tmp_path):
    """Writes a file of records; returns its path and where each record begins, and the end."""

    def write(records, name="a.tfrecord"):
        path = tmp_path / name
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                writer.write(record)
        return path, np.cumsum([0, *(FRAME + len(record) for record in records)]).tolist()

    return write


def pairs(count, first=0):
    """Records whose number tells their place; 300 and more take more bytes than the others."""
    return [example(number, 0) for number in range(first, first + count)]


def flip(path, position, bit=4):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def numbers(dataset):
    return [int(n) for batch in dataset for n in batch["number"][:, 0]]


def scanned(*paths, skip=True):
    return scan_files([str(path) for path in paths], skip)


def read(*paths):
    """What is left of the files, in their order."""
    files = scanned(*paths)
    return numbers(eval_batches(files, SPEC, 1))


def test_the_checksum_is_the_one_of_tensorflow(write):
    path, offsets = write(pairs(11))
    data = path.read_bytes()
    for start in offsets[:-1]:
        length, checksum = struct.unpack_from("<QI", data, start)
        assert masked_crc32c(np.frombuffer(struct.pack("<Q", length), np.uint8)[None]) == checksum


def test_records_are_counted_with_their_places(write):
    path, offsets = write([b"", b"x" * 7, b"", b"x" * 300])
    found, damage = record_offsets(str(path))
    assert found.tolist() == offsets[:-1] and damage is None
    assert scanned(path, skip=False) == [ScannedFile(str(path), 4)]


def test_more_records_than_are_checked_at_a_time(write, monkeypatch):
    monkeypatch.setattr("training.record_files._BLOCK", 3)
    path, offsets = write(pairs(11))
    assert record_offsets(str(path))[0].tolist() == offsets[:-1]
    flip(path, offsets[7])
    assert record_offsets(str(path))[0].tolist() == offsets[:7]


def test_every_flipped_bit_is_found_and_every_other_record_is_read(write):
    path, offsets = write(pairs(3))
    whole = path.read_bytes()
    start, end = offsets[1:3]
    for position in range(start, end):
        flip(path, position, position % 8)
        behind = [] if position < start + 12 else [(end, 1)]  # with the length the rest is lost
        assert scanned(path)[0].runs == [(0, 1), *behind], position - start
        path.write_bytes(whole)


def test_every_truncation_is_named_with_record_and_byte(write):
    path, offsets = write(pairs(3))
    whole = path.read_bytes()
    for size in range(offsets[2] + 1, offsets[3]):
        path.write_bytes(whole[:size])
        with pytest.raises(
            ValueError, match=rf"a\.tfrecord: record 2 at byte {offsets[2]} is trunc"
        ):
            scanned(path, skip=False)


def test_a_damaged_length_is_named_before_anything_is_read(write):
    path, offsets = write(pairs(5))
    flip(path, offsets[3] + 1)
    with pytest.raises(
        ValueError, match=rf"record 3 at byte {offsets[3]} .*wrong length: \d+ bytes"
    ):
        scanned(path, skip=False)


@pytest.mark.parametrize("length", [2**31, 2**40, 2**60, 2**64 - 1])
def test_a_forged_length_never_reaches_the_reader(write, length):
    path, offsets = write(pairs(2))
    header = struct.pack("<Q", length)
    checksum = int(masked_crc32c(np.frombuffer(header, np.uint8)[None])[0])
    with open(path, "ab") as file:
        file.write(header + struct.pack("<I", checksum) + b"\0\0")
    with pytest.raises(ValueError, match=f"record 2 at byte {offsets[2]}"):
        scanned(path, skip=False)
    assert read(path) == [0, 1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (gzip.compress(b"x" * 99, mtime=0), "compressed with gzip"),
        (b"Some text, which is no record.\n", "no TFRecord file"),
        (bytes(999), "no TFRecord file"),
    ],
)
def test_what_is_no_record_file_is_named_among_good_ones(write, tmp_path, content, expected):
    good, _ = write(pairs(3))
    bad = tmp_path / "bad.tfrecord"
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=f"bad.tfrecord .*{expected}"):
        scanned(good, bad, skip=False)
    assert [file.path for file in scanned(good, bad)] == [str(good)]


def test_damaged_records_are_counted_and_named_up_to_a_limit(write, caplog):
    path, offsets = write(pairs(31))
    for number in range(13):
        flip(path, offsets[2 * number] + 14)
    with caplog.at_level("INFO"):
        scanned(path)
    named = [m for m in caplog.messages if m.startswith("left out")]
    assert len(named) == 10
    assert f"a.tfrecord: record 4 at byte {offsets[4]}" in named[2]
    assert "13 damaged places" in caplog.messages[-1] and "18 good records" in caplog.messages[-1]


def test_without_a_good_record_there_is_an_error(write):
    path, offsets = write(pairs(3))
    for start in offsets[:-1]:
        flip(path, start + 13)
    with pytest.raises(ValueError, match="no record can be read in .*a.tfrecord"):
        scanned(path)


@pytest.fixture
def damaged(write):
    """Two files of 7 and 11 records; 3 and 9 are damaged, 16 and 17 are lost with a length."""
    first, offsets = write(pairs(7))
    flip(first, offsets[3] + 15)
    second, offsets = write(pairs(11, 7), "b.tfrecord")
    flip(second, offsets[2] + 15)
    flip(second, offsets[9] + 1)
    return scanned(first, second)


GOOD = sorted({*range(16)} - {3, 9})


def test_every_epoch_holds_every_good_record_once(damaged):
    batches = train_batches(damaged, SPEC, 7, seed=5)
    drawn = np.reshape(numbers(batches.take(6)), [3, 14])
    assert [sorted(epoch) for epoch in drawn] == [GOOD] * 3
    assert len({tuple(epoch) for epoch in drawn}) == 3


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_run_over_damaged_files_resumes_where_it_stopped(damaged, step):
    whole = numbers(train_batches(damaged, SPEC, 3, seed=5).take(11))
    resumed = train_batches(damaged, SPEC, 3, seed=5, first_step=step)
    assert numbers(resumed.take(11 - step)) == whole[3 * step :]


def test_good_records_are_drawn_alike_on_several_replicas(damaged):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    batches = train_batches(damaged, SPEC, 4, seed=5)
    shared = iter(strategy.experimental_distribute_dataset(batches))
    drawn = []
    for _ in range(5):
        parts = strategy.experimental_local_results(next(shared)["number"])
        drawn += [int(n) for part in parts for n in part[:, 0]]
    assert drawn == numbers(batches.take(5))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "is damaged"),
        (b"\xff\xfe\xfd", "is no tf.train.Example"),
        (example(5, 6, name="other"), "lacks 'number'"),
        (example(5, 6, 7), "has 3 values of 'number', not 2"),
    ],
)
@pytest.mark.parametrize("place", [0, 301])
def test_a_bad_record_met_while_reading_is_named(write, record, expected, place):
    records = pairs(307)
    if record is not None:
        records[place] = record
    good, _ = write(pairs(3), "good.tfrecord")
    path, offsets = write(records)
    if record is None:
        flip(path, offsets[place] + 14)
    files = scanned(good, path, skip=False)
    where = rf"a\.tfrecord: record {place} at byte {offsets[place]} {expected}"
    with pytest.raises(ValueError, match=where), bad_records_named(files, SPEC):
        numbers(train_batches(files, SPEC, 5, seed=3).take(99))


def test_a_record_of_another_schema_is_named_behind_one_that_was_left_out(write):
    records = pairs(7)
    records[5] = example(5)
    path, offsets = write(records)
    flip(path, offsets[2] + 14)
    files = scanned(path)
    where = f"record 5 at byte {offsets[5]} has 1 values"
    with pytest.raises(ValueError, match=where), bad_records_named(files, SPEC):
        numbers(eval_batches(files, SPEC, 2))


def test_an_error_that_no_record_caused_stays_as_it_is(write):
    path, _ = write(pairs(3))
    with pytest.raises(tf.errors.InvalidArgumentError), bad_records_named(scanned(path), SPEC):
        tf.reshape(tf.range(5), [3])
