"""TFRecord files as they are on the disk: how many records they hold, and which of these cannot be read.

A record is its length (8 bytes, little-endian), a checksum of that, the content, and a checksum of that (4 bytes each).
TensorFlow's reader stops at the first wrong checksum without naming file or record, takes a file that ends within a
length for a shorter one, and crashes on a forged length. So lengths are compared with the file before it reads them.
"""

import contextlib
import mmap
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging
from google.protobuf.message import DecodeError

LENGTH_BYTES, HEADER_BYTES, FRAME_BYTES = 8, 12, 16
GZIP = b"\x1f\x8b"
REMEDY = "make it again, or let run_pretraining.py --skip_corrupt_records leave damaged records out"
LISTED = 10  # damaged records that the log names
_BLOCK = 2**16  # headers whose checksums are computed at a time
_BATCH = 256  # records that are read at a time to find a bad one among them
_UNREADABLE = (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError)


class ScannedFile(NamedTuple):
    """A TFRecord file whose lengths were compared with the file, and what is read of it.

    Attributes:
      path: of the file.
      count: number of records that are read.
      runs: (byte offset, number of records) of each stretch without damage; None where the whole file is read.
    """

    path: str
    count: int
    runs: list[tuple[int, int]] | None = None


def scan_files(paths: Sequence[str], skip_corrupt: bool = False) -> list[ScannedFile]:
    """Returns the files with the numbers of their records.

    Without `skip_corrupt` only lengths are looked at, so that it takes little time. With it everything is read, damaged
    records are left out, and the log says which; files without a good record are left out. The same files give the
    same result, whenever and in whichever process they are scanned.

    Raises:
      ValueError: naming file, record and byte, if a file is damaged, truncated, empty, or no TFRecord file; with
        `skip_corrupt` only if no record is good.
      OSError: a file cannot be read.
    """
    try:
        if not skip_corrupt:
            return [_whole_file(path) for path in paths]
        found = [_good_records(path) for path in paths]
    except tf.errors.OpError as error:
        raise OSError(f"records cannot be read: {error.message}") from error
    files = [file for file, _ in found if file.count]
    damage = [line for _, lines in found for line in lines]
    _report(damage, sum(file.count for file in files), len(paths))
    if not files:
        raise ValueError(f"no record can be read in {', '.join(paths[:3])}: {damage[0]}")
    return files


def _report(damage: list[str], num_good: int, num_files: int) -> None:
    for line in damage[:LISTED]:
        logging.warning("left out: %s", line)
    logging.info(
        "--skip_corrupt_records: %d damaged places in %d files are left out%s, %d good records are used",
        len(damage),
        num_files,
        f" ({LISTED} of them are named)" if len(damage) > LISTED else "",
        num_good,
    )


def _whole_file(path: str) -> ScannedFile:
    offsets, damage = record_offsets(path)
    if damage:
        raise ValueError(f"{damage}; {REMEDY}")
    return ScannedFile(path, len(offsets))


def _good_records(path: str) -> tuple[ScannedFile, list[str]]:
    """Returns the good records of a file, and a line for each damage."""
    offsets, rest = record_offsets(path)
    runs, damage, start = [], [], 0
    while start < len(offsets):
        bad = _first_bad(path, offsets, start, lambda records: None)
        end = len(offsets) if bad is None else bad[0]
        if end > start:
            runs.append((int(offsets[start]), end - start))
        if bad:
            damage.append(_place(path, offsets, end) + " is damaged")
        start = end + 1
    damage += [rest] if rest else []
    return ScannedFile(path, sum(n for _, n in runs), runs if damage else None), damage


def find_damage(path: str) -> list[str]:
    """Returns a line for each damage in a file, naming record and byte; it reads all of the file."""
    return _good_records(path)[1]


def record_offsets(path: str) -> tuple[np.ndarray, str | None]:
    """Returns where the records begin whose lengths are right, and what is wrong with what follows them.

    Returns:
      int64 [records], byte offsets; and a line that names file, record and byte, or None.

    Raises:
      tf.errors.OpError: the file cannot be read.
    """
    size = tf.io.gfile.stat(path).length
    if not size:
        return np.zeros(0, np.int64), f"{path} is empty"
    blocks, end, intact = [], 0, True
    with _byte_reader(path, size) as read:
        while end < size and intact:
            starts, headers = [], []
            while end < size and len(starts) < _BLOCK:
                starts.append(end)
                headers.append(read(end).ljust(HEADER_BYTES, b"\0"))
                end += FRAME_BYTES + int.from_bytes(headers[-1][:LENGTH_BYTES], "little")
            right = _intact(headers)
            intact = right.all()
            blocks.append(np.array(starts if intact else starts[: right.argmin() + 1], np.int64))
    offsets = np.concatenate(blocks)
    if intact and end == size:
        return offsets, None
    last = len(offsets) - 1
    return offsets[:last], _wrong_end(path, offsets, last, size, headers[0])


def _wrong_end(path, offsets, last, size, header) -> str:
    if last == 0:
        hint = "compressed with gzip, decompress it" if header.startswith(GZIP) else "or damaged"
        return f"{path} is no TFRecord file, {hint}: record 0 at byte 0 has a wrong length"
    left = size - int(offsets[last])
    return (
        f"{_place(path, offsets, last)} is truncated or has a wrong length: {left} bytes are lost"
    )


def _place(path, offsets, index) -> str:
    return f"{path}: record {index} at byte {offsets[index]}"


@contextlib.contextmanager
def _byte_reader(path: str, size: int) -> Iterator[Callable[[int], bytes]]:
    """Gives a function byte offset -> the header there, shorter at the end of the file."""
    with contextlib.ExitStack() as stack:
        if os.path.isfile(path):  # a mapped file is read four times as fast
            file = stack.enter_context(open(path, "rb"))
            data = stack.enter_context(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
            yield lambda offset: data[offset : offset + HEADER_BYTES]
        else:
            remote = stack.enter_context(tf.io.gfile.GFile(path, "rb"))
            yield lambda offset: (remote.seek(offset), remote.read(HEADER_BYTES))[1]


def _intact(headers: list[bytes]) -> np.ndarray:
    """Returns bool [n]: whether the checksum of the length is right."""
    data = np.frombuffer(b"".join(headers), np.uint8).reshape(-1, HEADER_BYTES)
    stored = np.ascontiguousarray(data[:, LENGTH_BYTES:]).view("<u4")[:, 0]
    return masked_crc32c(data[:, :LENGTH_BYTES]) == stored


def masked_crc32c(data: np.ndarray) -> np.ndarray:
    """Returns the checksum of each row of uint8 [n, bytes], as TFRecord files store it: uint32 [n]."""
    crc = np.full(len(data), 0xFFFFFFFF, np.uint32)
    for column in data.T:
        crc = _CRC_TABLE[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    crc = ~crc
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)


_CRC_TABLE = _crc_table()


def records_reader(files: Sequence[ScannedFile]) -> Callable[[tf.Tensor], tf.data.Dataset]:
    """Returns a function (int scalar, index of a file) -> dataset of its serialized records."""
    paths = tf.constant([file.path for file in files])
    if all(file.runs is None for file in files):
        return lambda index: tf.data.TFRecordDataset(paths[index])
    runs = tf.ragged.constant(
        [file.runs or [(0, file.count)] for file in files], inner_shape=(2,), dtype=tf.int64
    )
    return lambda index: _read_runs(paths[index], runs[index])


def _read_runs(path, runs) -> tf.data.Dataset:
    """Returns the records of the runs, int64 [n, 2]: (byte offset, number of records)."""

    def read(run):
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type="", buffer_size=2**18, byte_offsets=run[:1]
        )
        return tf.data.experimental.from_variant(records, tf.TensorSpec([], tf.string)).take(run[1])

    # Always within a function: TensorFlow 2.21 cannot serialize the outermost dataset if it has offsets.
    return tf.data.Dataset.from_tensor_slices(runs).flat_map(read)


def _first_bad(path, offsets, start, check) -> tuple[int, Exception] | None:
    """Returns the first record from `start` on that cannot be read, or that `check` raises for, and why."""
    error = None
    for size in (_BATCH, 1):
        error = None
        run = tf.constant([[offsets[start], len(offsets) - start]], tf.int64)
        try:
            for records in _read_runs(path, run).batch(size):
                check(records)
                start += len(records)
        except _UNREADABLE as caught:
            error = caught
        if error is None:
            return None
    return start, error


@contextlib.contextmanager
def bad_records_named(files: Sequence[ScannedFile], feature_spec: dict) -> Iterator[None]:
    """Says which record it was when TensorFlow stops at one, in the body of the `with` block.

    Args:
      files: what the body reads.
      feature_spec: the schema of a record.

    Raises:
      ValueError: naming file, record and byte.
    """
    try:
        yield
    except _UNREADABLE as error:
        logging.info("Looking for the record that cannot be read")
        for file in files:
            if wrong := _find_bad(file, feature_spec):
                raise ValueError(wrong) from error
        raise


def _find_bad(file: ScannedFile, feature_spec: dict) -> str | None:
    offsets, rest = record_offsets(file.path)
    for offset, count in file.runs or [(0, len(offsets))]:
        start = int(np.searchsorted(offsets, offset))
        run = offsets[: start + count]
        bad = _first_bad(
            file.path, run, start, lambda records: tf.io.parse_example(records, feature_spec)
        )
        if bad:
            return f"{_place(file.path, offsets, bad[0])} {_reason(file.path, offsets, bad, feature_spec)}"
    return None if file.runs else rest


def _reason(path, offsets, bad, feature_spec) -> str:
    index, error = bad
    if isinstance(error, tf.errors.DataLossError):
        return f"is damaged: {REMEDY}"
    run = tf.constant([[offsets[index], 1]], tf.int64)
    (record,) = _read_runs(path, run).as_numpy_iterator()
    return (
        f"{_mismatch(record, feature_spec) or error.message.splitlines()[0]}: make the file again"
    )


def _mismatch(record: bytes, feature_spec: dict) -> str | None:
    """Returns what tells the record from the schema, None if nothing is found."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        return "is no tf.train.Example"
    for name, schema in feature_spec.items():
        if name not in features:
            return f"lacks {name!r}"
        kind = "float_list" if schema.dtype == tf.float32 else "int64_list"
        number, wanted = len(getattr(features[name], kind).value), int(np.prod(schema.shape))
        if number != wanted:
            return f"has {number} values of {name!r}, not {wanted}"
    return None
