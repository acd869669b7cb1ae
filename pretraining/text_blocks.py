"""Files of text -> blocks of whole documents, so that many processes can work on few megabytes each.

A blank line, or the end of a file, ends a document. Where blocks are cut follows from the text alone.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from pretraining.corpus_files import open_text

BLOCK_BYTES = 4 << 20
MAX_DOCUMENT_BYTES = 8 << 20  # longer ones are cut

# What `str.strip` takes for white space, but for the line feed, as UTF-8.
_WHITE_SPACE = (
    rb"[\t\v\f\r\x1c-\x1f ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]"
    rb"|\xe2\x81\x9f|\xe3\x80\x80"
)
_BLANK_LINE = re.compile(rb"\n(?:" + _WHITE_SPACE + rb")*\n")


class Block(NamedTuple):
    """Documents that follow each other in a file.

    Attributes:
      file: index of the file among the inputs.
      number: of the block in its file, from 0.
      path: of the file.
      line: number of the first line in the file, from 1.
      offset: of the first byte in the unpacked file.
      data: the text as it is, about `BLOCK_BYTES`; not more than `MAX_DOCUMENT_BYTES` and a blank line.
      cuts_document: whether the next block goes on with the last document.
      cuts_line: whether that is in the middle of a line.
    """

    file: int
    number: int
    path: str
    line: int
    offset: int
    data: bytes
    cuts_document: bool = False
    cuts_line: bool = False


def read_blocks(files: Iterable[str]) -> Iterator[Block]:
    """Yields the blocks of all files in order.

    Args:
      files: plain or packed with gzip, bzip2, xz or zstandard; of any file system of `tf.io.gfile`.

    Raises:
      OSError: a file cannot be read.
      ValueError: it is packed and damaged or cut off, or is of a kind that holds no plain text.
    """
    for index, path in enumerate(files):
        with open_text(path) as file:
            yield from _blocks_of(file, index, path)


def _blocks_of(file: BinaryIO, index: int, path: str) -> Iterator[Block]:
    number, line, offset = 0, 1, 0
    data = file.read(BLOCK_BYTES)
    if data.startswith(codecs.BOM_UTF8):
        offset = len(codecs.BOM_UTF8)
        data = data[offset:]
    more = bool(data)
    while more or data:
        end, cuts_document = _end_of_block(data)
        if end is None and more:
            read = file.read(BLOCK_BYTES)
            more = bool(read)
            data += read
            continue
        end = len(data) if end is None else end
        block, data = data[:end], data[end:]
        cuts_line = cuts_document and not block.endswith(b"\n")
        yield Block(index, number, path, line, offset, block, cuts_document, cuts_line)
        number, line, offset = number + 1, line + block.count(b"\n"), offset + len(block)


def _end_of_block(data: bytes) -> tuple[int | None, bool]:
    """Returns where the block ends, None if more must be read, and whether that is within a document."""
    if found := _BLANK_LINE.search(data, BLOCK_BYTES, MAX_DOCUMENT_BYTES):
        return found.end(), False
    if len(data) < MAX_DOCUMENT_BYTES:
        return None, False
    before = max((found.end() for found in _BLANK_LINE.finditer(data, 0, BLOCK_BYTES)), default=0)
    if before:  # the long document gets a block of its own
        return before, False
    end = data.rfind(b"\n", 0, MAX_DOCUMENT_BYTES) + 1
    end = end or data.rfind(b" ", 0, MAX_DOCUMENT_BYTES) + 1
    return end or _start_of_character(data, MAX_DOCUMENT_BYTES - 4), True


def _start_of_character(data: bytes, start: int) -> int:
    return next((i for i in range(start, start + 4) if data[i] & 0xC0 != 0x80), start)
