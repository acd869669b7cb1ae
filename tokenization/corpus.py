"""Files of text -> stretches of text, streamed: plain, or packed with gzip, bzip2, xz or zstandard."""

import bz2
import contextlib
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import BinaryIO

try:
    from backports import zstd
except ModuleNotFoundError:  # the extra "zstd"
    zstd = None

BLOCK_BYTES = 1 << 20
_DAMAGED = (EOFError, zlib.error, lzma.LZMAError, *([zstd.ZstdError] if zstd else []))


def read_blocks(path: str) -> Iterator[str]:
    """Yields a text in stretches of about `BLOCK_BYTES`, cut between lines, in a longer line between words.

    No stretch is cut where the tokenizer would not cut, so that counting words needs no more than that.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not UTF-8 (names the offset of the first bad byte, unpacked), or packed and damaged.
    """
    offset, rest = 0, b""
    with open_unpacked(path) as file:
        while data := file.read(BLOCK_BYTES):
            data = rest + data
            end = (data.rfind(b"\n") + 1) or (data.rfind(b" ") + 1)
            block, rest = data[:end], data[end:]
            yield _decode(block, path, offset)
            offset += end
    yield _decode(rest, path, offset)


def _decode(data: bytes, path: str, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8: byte {data[error.start]:#04x} at byte offset {offset + error.start} "
            f"({error.reason}): convert the file to UTF-8"
        ) from None


@contextlib.contextmanager
def open_unpacked(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes; what it is packed with, if it is, its first bytes say and not its name.

    Raises:
      OSError: it cannot be read.
      ValueError: it is packed and damaged or cut off, or packed with zstandard without the extra that reads it.
    """
    with _open(path) as file:
        start = file.read(10)
        file.seek(0)
        try:
            yield _unpacked(file, start, path)
        except _DAMAGED as error:
            raise ValueError(f"{path} is damaged or cut off: {error}") from None
        except OSError as error:
            if error.errno is not None:  # of the disk; those of gzip and bzip2 have no number
                raise
            raise ValueError(f"{path} is damaged or cut off: {error}") from None


def _unpacked(file: BinaryIO, start: bytes, path: str) -> BinaryIO:
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh") and start[4:] == b"1AY&SY":
        return bz2.BZ2File(file)
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMAFile(file)
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        if not zstd:
            raise ValueError(
                f"{path} is packed with zstandard: pip install backports.zstd, or unpack it"
            )
        return zstd.ZstdFile(file)
    return file


def _open(path: str) -> BinaryIO:
    if "://" not in path:
        return open(path, "rb")
    import tensorflow as tf

    return tf.io.gfile.GFile(path, "rb")
