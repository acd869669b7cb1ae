"""Text files -> documents: lists of sentences, each a list of token ids.

The format is that of the original `create_pretraining_data.py`: UTF-8, one sentence a line, a blank
line between documents. The end of a file does not end a document; only a blank line does.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

Sentence = list[int]
Document = list[Sentence]

CHUNK_BYTES = 1 << 20


@dataclasses.dataclass
class ReadCounts:
    """What came out of the files, and what was left out."""

    files: int = 0
    documents: int = 0
    sentences: int = 0
    tokens: int = 0
    lines_without_tokens: int = 0

    def __str__(self):
        return (
            f"{self.files} files: {self.documents} documents, {self.sentences} sentences, "
            f"{self.tokens} tokens; dropped {self.lines_without_tokens} lines without tokens"
        )


def read_documents(
    files: Iterable[str],
    encode: Callable[[str], Sentence],
    counts: ReadCounts,
) -> Iterator[Document]:
    """Yields the documents that hold at least one token.

    Args:
      files: paths, read one after the other as if they were one file.
      encode: text of a line -> token ids.
      counts: updated in place.

    Raises:
      ValueError: invalid UTF-8, naming file, line and byte.
      OSError: a file cannot be read.
    """
    document: Document = []
    for line in _read_lines(files, counts):
        # As the original's file reader does, so that "a\rb" becomes the word "ab".
        line = line.replace("\r", "").strip()
        if not line:
            if document:
                yield _counted(document, counts)
            document = []
        elif sentence := encode(line):
            document.append(sentence)
        else:
            counts.lines_without_tokens += 1
    if document:
        yield _counted(document, counts)


def _counted(document: Document, counts: ReadCounts) -> Document:
    counts.documents += 1
    counts.sentences += len(document)
    counts.tokens += sum(map(len, document))
    return document


def _read_lines(files: Iterable[str], counts: ReadCounts) -> Iterator[str]:
    """Yields the lines of all files without their line feeds."""
    for path in files:
        counts.files += 1
        offset = 0
        for number, line in enumerate(_raw_lines(path), 1):
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}, byte {offset + error.start} of the file: "
                    f"0x{line[error.start]:02x} is not valid UTF-8; convert the file to UTF-8"
                ) from error
            offset += len(line) + 1


def _raw_lines(path: str) -> Iterator[bytes]:
    """Yields lines split at line feeds only.

    Not `GFile.readline`: it deletes carriage returns, which shifts byte offsets and glues words.
    """
    pieces: list[bytes] = []
    for chunk in _chunks(path):
        first, *rest = chunk.split(b"\n")
        pieces.append(first)
        for piece in rest:
            yield b"".join(pieces)
            pieces = [piece]
    if last := b"".join(pieces):
        yield last


def _chunks(path: str) -> Iterator[bytes]:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be read: {error.message}") from error
