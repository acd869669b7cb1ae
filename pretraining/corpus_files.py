"""Files as people have them: packed or not, of any file system of `tf.io.gfile`, read a line at a time.

Lines end at line feeds; the carriage return before one and a byte order mark at the start of a file are left out.
"""

import codecs
import contextlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import tensorflow as tf

from tokenization.corpus import open_unpacked

ON_BAD_UTF8 = ("error", "replace", "skip")

_NO_TEXT = {
    b"7z\xbc\xaf\x27\x1c": "packed with 7z: unpack it first",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"%PDF-": "a PDF file: extract its text first",
    codecs.BOM_UTF32_LE: "text in UTF-32: convert it to UTF-8",
    codecs.BOM_UTF16_LE: "text in UTF-16: convert it to UTF-8",
    codecs.BOM_UTF16_BE: "text in UTF-16: convert it to UTF-8",
}


class Line(NamedTuple):
    """A line of a file."""

    number: int  # from 1
    text: str
    damaged: bool  # had bytes that are not UTF-8, which U+FFFD stands for


@contextlib.contextmanager
def open_text(path: str) -> Iterator[BinaryIO]:
    """Opens a file for reading bytes, unpacked if it is packed.

    Raises:
      OSError: it cannot be read.
      ValueError: it is packed and damaged or cut off, or is of a kind that holds no plain text.
    """
    try:
        with open_unpacked(path) as file:
            start = file.read(8)
            file.seek(0)
            for magic, what in _NO_TEXT.items():
                if start.startswith(magic):
                    raise ValueError(f"{path} is {what}")
            yield file
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be read: {error.message}") from None


def read_lines(path: str, on_bad_utf8: str = "error") -> Iterator[Line]:
    """Yields the lines of a file.

    Args:
      path: the file.
      on_bad_utf8: "error" raises at bytes that are not UTF-8; otherwise they are replaced by U+FFFD and the line is
        marked as damaged.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is damaged, binary, or not UTF-8; names the byte of the unpacked file.
    """
    offset = 0
    with open_text(path) as file:
        for number, data in enumerate(file, 1):
            start = len(codecs.BOM_UTF8) if number == 1 and data.startswith(codecs.BOM_UTF8) else 0
            text, damaged = decode(
                data[start:], f"{path}: line {number}", offset + start, on_bad_utf8
            )
            yield Line(number, text.rstrip("\r\n"), damaged)
            offset += len(data)


def decode(data: bytes, place: str, offset: int, on_bad_utf8: str) -> tuple[str, bool]:
    """Returns the text of bytes, and whether some of them were replaced.

    Args:
      data: bytes.
      place: of them, for messages.
      offset: of their first in the file, for messages.
      on_bad_utf8: see `read_lines`.

    Raises:
      ValueError: they hold a zero, as text never does, or are not UTF-8 and must be; names the byte.
    """
    if b"\0" in data:
        bad = offset + data.index(b"\0")
        raise ValueError(f"{place}: byte {bad} of the file is zero: it is binary, text is expected")
    try:
        return data.decode("utf-8"), False
    except UnicodeDecodeError as error:
        if on_bad_utf8 != "error":
            return data.decode("utf-8", "replace"), True
        raise ValueError(
            f"{place}: byte {offset + error.start} of the file, {data[error.start]:#04x}, is not UTF-8 "
            "(--on_bad_utf8=replace or skip goes on)"
        ) from None
