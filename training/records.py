"""`tf.train.Example`s, their bytes made by hand: many times as fast as by the message classes.

An Example holds Features, these a map from a name to a Feature, this an Int64List or a FloatList, this its values one
after the other, whole numbers as varints (tensorflow/core/example/example.proto, feature.proto; the encoding is that of
protocol buffers).
"""

import functools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"  # of bytes whose length follows
_FLOAT_LIST, _INT64_LIST = _FIELD_2, _FIELD_3  # of a Feature
_BLOCK = 1 << 8  # rows serialized at a time, so that they stay in the processor's cache


def varint(value: int) -> bytes:
    """Returns the bytes of an integer from 0 to 2**63 - 1: 7 bits each, the lowest first, bit 7 set but in the last."""
    if value < 1 << 7:
        return bytes((value,))
    if value < 1 << 14:
        return bytes((value & 127 | 128, value >> 7))
    return bytes((value & 127 | 128, value >> 7 & 127 | 128)) + varint(value >> 14)


class Varints(dict):
    """`varint` of numbers that come again and again: `varints[value]`."""

    def __missing__(self, value: int) -> bytes:
        self[value] = encoded = varint(value)
        return encoded


def serialize_int64(features: Mapping[str, bytes]) -> bytes:
    """Returns a serialized `tf.train.Example`; the same bytes for the same features in the same order.

    Args:
      features: name -> values, the `varint` of each. Numbers below 128 are one byte each: a run of n ones is
        `b"\\1" * n`.
    """
    content = b"".join(
        [part for name, values in features.items() for part in (_header(name, len(values)), values)]
    )
    return _FIELD_1 + varint(len(content)) + content


def serialize_rows(features: Mapping[str, np.ndarray]) -> list[bytes]:
    """Returns a serialized `tf.train.Example` for each row; the same bytes for the same features in the same order.

    Args:
      features: name -> int32 or int64 [N, W] or float32 [N, W]; N is the same for all.
    """
    number = len(next(iter(features.values())))
    blocks = [slice(first, first + _BLOCK) for first in range(0, number, _BLOCK)]
    return [
        record
        for block in blocks
        for record in _serialize_block({name: values[block] for name, values in features.items()})
    ]


def _serialize_block(features: Mapping[str, np.ndarray]) -> list[bytes]:
    columns = []
    for name, values in features.items():
        kind = _FLOAT_LIST if values.dtype == np.float32 else _INT64_LIST
        contents = list(_float_rows(values) if kind == _FLOAT_LIST else _varint_rows(values))
        columns += [[_header(name, len(content), kind) for content in contents], contents]
    contents = map(b"".join, zip(*columns, strict=True))
    return [_FIELD_1 + varint(len(content)) + content for content in contents]


def _float_rows(values: np.ndarray) -> Iterator[bytes]:
    """Yields each row of a float32 [N, W] as little-endian bytes."""
    return _split(values.astype("<f4").tobytes(), np.full(len(values), 4 * values.shape[1]))


def _varint_rows(values: np.ndarray) -> Iterator[bytes]:
    """Yields the varints of each row of an integer [N, W]; a negative number has ten bytes, as in 64 bits."""
    rest = values.astype(np.int64).view(np.uint64)
    largest = int(rest.max(initial=0))
    rest = rest if largest >> 32 else rest.astype(np.uint32)
    encoded = np.empty((*rest.shape, max(1, -(-largest.bit_length() // 7))), np.uint8)
    used = np.ones(encoded.shape, bool)
    for position in range(encoded.shape[-1]):
        used[..., position] = rest != 0
        encoded[..., position] = rest & 127
        rest >>= 7
        encoded[..., position] |= (rest != 0).view(np.uint8) << 7
    used[..., 0] = True
    return _split(encoded[used].tobytes(), used.sum(axis=(1, 2)))


def _split(content: bytes, lengths: np.ndarray) -> Iterator[bytes]:
    ends = np.cumsum(lengths).tolist()
    return (content[start:end] for start, end in zip([0, *ends], ends, strict=False))


def write_records(path: str, records: Iterable[bytes]) -> None:
    """Writes a TFRecord file; it appears when it is whole.

    Raises:
      OSError: it cannot be written.
    """
    temporary = f"{path}.tmp"
    try:
        with tf.io.TFRecordWriter(temporary) as writer:
            for record in records:
                writer.write(record)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be written: {error.message}") from error


@functools.lru_cache(maxsize=1 << 14)
def _header(name: str, num_bytes: int, kind: bytes = _INT64_LIST) -> bytes:
    """Returns what stands in Features before the values of a feature, which end it."""
    header = b""
    for field in (_FIELD_1, kind, _FIELD_2):  # the list's value, Feature's list, the map's value
        header = field + varint(len(header) + num_bytes) + header
    key = name.encode()
    header = _FIELD_1 + varint(len(key)) + key + header
    return _FIELD_1 + varint(len(header) + num_bytes) + header
