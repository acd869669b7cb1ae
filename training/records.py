"""`tf.train.Example`s, their bytes made by hand: many times as fast as by the message classes.

An Example holds Features, these a map from a name to a Feature, this an Int64List or a FloatList, this its values one
after the other, whole numbers as varints (tensorflow/core/example/example.proto, feature.proto; the encoding is that of
protocol buffers).
"""

import collections
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import tensorflow as tf

_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"  # of bytes whose length follows
_FLOAT_LIST, _INT64_LIST = _FIELD_2, _FIELD_3  # of a Feature
_TABLE_BITS = 20  # of the numbers whose varints are looked up
_BLOCK = 1 << 9  # rows serialized at a time, so that they stay in the processor's cache


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


def serialize_rows(features: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """Yields a serialized `tf.train.Example` for each row; the same bytes for the same features in the same order.

    Args:
      features: name -> int or float32 [N, W]; N is the same for all.
    """
    number = len(next(iter(features.values())))
    for first in range(0, number, _BLOCK):
        block = slice(first, first + _BLOCK)
        yield from _serialize_block({name: values[block] for name, values in features.items()})


def _serialize_block(features: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    parts = [_serialize_feature(name, values) for name, values in features.items()]
    columns = []
    for even, group in itertools.groupby(parts, lambda part: isinstance(part, np.ndarray)):
        together = list(group)
        columns += [_rows_of_bytes(np.hstack(together))] if even else together
    contents = map(b"".join, zip(*columns, strict=True))
    lengths = Varints()
    return (_FIELD_1 + lengths[len(content)] + content for content in contents)


def _serialize_feature(name: str, values: np.ndarray) -> np.ndarray | list[bytes]:
    """Returns the bytes of a feature: uint8 [N, bytes] where all rows have the same number of them."""
    if values.dtype == np.float32:
        return _with_header(name, values.astype("<f4").view(np.uint8), _FLOAT_LIST)
    if values.min(initial=0) >= 0 and values.max(initial=0) < 128:
        return _with_header(name, values.astype(np.uint8), _INT64_LIST)
    return [_header(name, len(row)) + row for row in _rows_of_varints(values)]


def _with_header(name: str, content: np.ndarray, kind: bytes) -> np.ndarray:
    header = np.frombuffer(_header(name, content.shape[1], kind), np.uint8)
    return np.hstack([np.broadcast_to(header, (len(content), len(header))), content])


def _rows_of_bytes(content: np.ndarray) -> list[bytes]:
    together, width = content.tobytes(), content.shape[1]
    return [together[width * row : width * (row + 1)] for row in range(len(content))]


def _rows_of_varints(values: np.ndarray) -> list[bytes]:
    bits = int(values.max()).bit_length()
    if values.min() >= 0 and bits <= _TABLE_BITS:
        encoded, used = (table.take(values).view(np.uint8) for table in _varint_tables(bits))
    else:
        encoded, used = (part.reshape(len(values), -1) for part in _varints(values))
    used = used.view(bool)
    # Half the time of encoded[used].
    content = np.compress(used.ravel(), encoded.ravel()).tobytes()
    ends = used.sum(axis=1, dtype=np.int32).cumsum().tolist()
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@functools.lru_cache(maxsize=_TABLE_BITS)
def _varint_tables(bits: int) -> list[np.ndarray]:
    """Returns `_varints` of the numbers below 2**bits, of which each has at most four bytes, as uint32 [2**bits]."""
    parts = _varints(np.arange(1 << bits))
    return [np.pad(p, ((0, 0), (0, 4 - p.shape[1]))).view(np.uint32)[:, 0] for p in parts]


def _varints(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns bytes and, for each, whether the varint has it; negative numbers have ten, as in 64 bits.

    Args:
      values: integers [...].

    Returns:
      uint8 and bool [..., most bytes of a number].
    """
    rest = values.astype(np.int64).view(np.uint64)
    num_bytes = -(-int(rest.max()).bit_length() // 7)
    encoded = np.empty((*rest.shape, num_bytes), np.uint8)
    used = np.empty(encoded.shape, bool)
    for place in range(num_bytes):
        used[..., place] = rest != 0
        encoded[..., place] = rest & 127
        rest >>= 7
        encoded[..., place] |= (rest != 0).view(np.uint8) << 7
    used[..., 0] = True
    return encoded, used


def write_records(path: str, records: Iterable[bytes]) -> None:
    """Writes a TFRecord file; it appears when it is whole.

    Raises:
      OSError: it cannot be written.
    """
    temporary = f"{path}.tmp"
    try:
        with tf.io.TFRecordWriter(temporary) as writer:
            collections.deque(map(writer.write, records), maxlen=0)  # half the time of a loop
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be written: {error.message}") from error
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)


@functools.lru_cache(maxsize=1 << 14)
def _header(name: str, num_bytes: int, kind: bytes = _INT64_LIST) -> bytes:
    """Returns what stands in Features before the values of a feature, which end it."""
    header = b""
    for field in (_FIELD_1, kind, _FIELD_2):  # the list's value, Feature's list, the map's value
        header = field + varint(len(header) + num_bytes) + header
    key = name.encode()
    header = _FIELD_1 + varint(len(key)) + key + header
    return _FIELD_1 + varint(len(header) + num_bytes) + header
