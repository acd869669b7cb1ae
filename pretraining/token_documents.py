"""Documents as flat arrays of token ids: what the builder keeps, cuts and shuffles.

Shapes: T tokens, N sentences, D documents.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pretraining.corpus_files import decode
from pretraining.text_blocks import Block
from tokenization.graph import GraphTokenizer

BATCH_BYTES = 1 << 20  # of text tokenized at a time


class TokenDocuments(NamedTuple):
    """Documents of sentences of token ids, end to end; no sentence and no document is empty.

    Attributes:
      tokens: uint16 or int32 [T]. Token ids, which need no more than 16 bits in most vocabularies.
      sentence_ends: int64 [N]. For each sentence the number of tokens up to its end; the last is T.
      document_ends: int64 [D]. For each document the number of sentences up to its end; the last is N.
    """

    tokens: np.ndarray
    sentence_ends: np.ndarray
    document_ends: np.ndarray

    @property
    def num_documents(self) -> int:
        return len(self.document_ends)

    def subset(self, documents: np.ndarray) -> "TokenDocuments":
        """Returns some of the documents, in the order of their indices: int64 [n]."""
        starts, ends = _starts(self.document_ends)[documents], self.document_ends[documents]
        sentences = _ranges(starts, ends)
        token_starts = _starts(self.sentence_ends)[sentences]
        token_ends = self.sentence_ends[sentences]
        return TokenDocuments(
            self.tokens[_ranges(token_starts, token_ends)],
            np.cumsum(token_ends - token_starts),
            np.cumsum(ends - starts),
        )

    def stretch(self, start: int, end: int) -> "TokenDocuments":
        """Returns the documents from `start` up to `end`; the tokens are not copied."""
        first, last = (self.document_ends[i - 1] if i else 0 for i in (start, end))
        begin, stop = (self.sentence_ends[i - 1] if i else 0 for i in (first, last))
        return TokenDocuments(
            self.tokens[begin:stop],
            self.sentence_ends[first:last] - begin,
            self.document_ends[start:end] - first,
        )


def concatenate(parts: Sequence[TokenDocuments]) -> TokenDocuments:
    """Returns the documents of all parts (at least one), one after the other."""
    tokens = np.cumsum([0, *(len(part.tokens) for part in parts)])
    sentences = np.cumsum([0, *(len(part.sentence_ends) for part in parts)])
    return TokenDocuments(
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.sentence_ends + n for part, n in zip(parts, tokens, strict=False)]),
        np.concatenate([part.document_ends + n for part, n in zip(parts, sentences, strict=False)]),
    )


def tokenize_block(
    block: Block, tokenizer: GraphTokenizer, on_bad_utf8: str = "error"
) -> tuple[TokenDocuments, collections.Counter[str]]:
    """Returns the documents of a block, and counts of what they hold and of what was left out.

    Args:
      block: of `read_blocks`.
      tokenizer: of the vocabulary.
      on_bad_utf8: "error" raises at bytes that are not UTF-8, "replace" puts U+FFFD in their place (which the tokenizer
        takes out), "skip" leaves their lines out.

    Raises:
      ValueError: the text is binary, or not UTF-8; names file, line and byte.
    """
    counts = collections.Counter(
        documents_cut=int(block.cuts_document), lines_cut=int(block.cuts_line)
    )
    lines = _valid_lines(block, on_bad_utf8, counts)
    dtype = np.uint16 if len(tokenizer.vocab) <= 1 << 16 else np.int32
    tokens, lengths = _tokenize(lines, tokenizer, dtype)
    empty = np.flatnonzero(lengths == 0)
    blank = np.array([not lines[i].decode().strip() for i in empty], bool)
    filled = np.flatnonzero(lengths)
    # Sentences that have the same number of blank lines before them are of the same document.
    blank_before = np.searchsorted(empty[blank], filled)
    last = np.flatnonzero(np.diff(blank_before, append=len(lines) + 1))
    documents = TokenDocuments(tokens, np.cumsum(lengths[filled]), last + 1)
    counts.update(
        documents=len(last),
        sentences=len(filled),
        tokens=len(tokens),
        lines_without_tokens=int(np.sum(~blank)),
    )
    return documents, counts


def _valid_lines(block: Block, on_bad_utf8: str, counts: collections.Counter[str]) -> list[bytes]:
    data = block.data.removesuffix(b"\n")
    lines = data.split(b"\n")
    try:
        if b"\0" not in data:
            data.decode()
            return lines
    except UnicodeDecodeError:
        pass
    kept, offset = [], block.offset
    for number, line in enumerate(lines, block.line):
        text, damaged = decode(line, f"{block.path}: line {number}", offset, on_bad_utf8)
        if damaged:
            counts[f"lines_not_utf8_{'skipped' if on_bad_utf8 == 'skip' else 'repaired'}"] += 1
        if not (damaged and on_bad_utf8 == "skip"):
            kept.append(text.encode())
        offset += len(line) + 1
    return kept


def _tokenize(
    lines: Sequence[bytes], tokenizer: GraphTokenizer, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tokens of all lines, and int64 [len(lines)], their numbers."""
    batch = np.cumsum([len(line) for line in lines]) // BATCH_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(batch)) + 1), len(lines)]
    tokens, lengths = [np.zeros(0, dtype)], [np.zeros(0, np.int64)]
    for start, end in zip(bounds, bounds[1:], strict=False):
        pieces = tokenizer.tokenize(lines[start:end])
        tokens.append(pieces.values.numpy().astype(dtype))
        lengths.append(pieces.row_lengths().numpy())
    return np.concatenate(tokens), np.concatenate(lengths)


def _starts(ends: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], ends[:-1]])


def _ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns the numbers from each start up to its end, end to end: int64."""
    sizes = ends - starts
    first = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) + np.repeat(starts - first, sizes)
