"""Where each piece stands in the raw text, in characters.

The rules are those of `tokenization.basic`, once more, over letters that carry their place along.
"""

import re
import unicodedata
from collections.abc import Iterator

from tokenization.basic import CLEAN, DECOMPOSITION, JOINERS, is_punctuation, order_marks
from tokenization.wordpiece import WordpieceTokenizer

# The stretches of `basic.chunks`, with the characters that it takes out.
RAW_CHUNK = re.compile(rf"[\S{JOINERS}]+")
_ASCII_WORD = re.compile("[0-9A-Za-z]+|[^0-9A-Za-z]")

Letters = list[tuple[str, tuple[int, int]]]  # a character, and (start, end) of what it was made of


class Aligner:
    """Cuts chunks into pieces with their places.

    Args:
      do_lower_case: see `BasicTokenizer`.
      wordpiece_tokenizer: cuts words into pieces.
    """

    def __init__(self, do_lower_case: bool, wordpiece_tokenizer: WordpieceTokenizer):
        self._lower = do_lower_case
        self._wordpiece = wordpiece_tokenizer

    def align(self, chunk: str) -> tuple[tuple[str, int, int], ...]:
        """Returns the pieces of a chunk, each with where in the chunk it starts and ends."""
        return tuple(
            self._spans_of_ascii(chunk) if _is_plain(chunk) else self._spans_of_unicode(chunk)
        )

    def _spans_of_ascii(self, chunk):
        spans = []
        for match in _ASCII_WORD.finditer(chunk.lower() if self._lower else chunk):
            end = match.start()
            pieces, sizes = self._cut(match.group())
            for piece, size in zip(pieces, sizes, strict=True):
                start, end = end, end + size
                spans.append((piece, start, end))
        return spans

    def _spans_of_unicode(self, chunk):
        spans = []
        for word in self._words(chunk):
            end = 0
            pieces, sizes = self._cut("".join(letter for letter, _ in word))
            for piece, size in zip(pieces, sizes, strict=True):
                start, end = end, end + size
                places = [place for _, place in word[start:end]]
                spans.append((piece, min(s for s, _ in places), max(e for _, e in places)))
        return spans

    def _cut(self, word):
        """Returns the pieces of a word and how many of its letters each takes; [UNK] takes all."""
        pieces = self._wordpiece.pieces[word]
        if len(pieces) == 1:
            return pieces, (len(word),)
        return pieces, (len(pieces[0]), *(len(piece) - len("##") for piece in pieces[1:]))

    def _words(self, chunk) -> Iterator[Letters]:
        for letters in _clean(chunk):
            if self._lower:
                letters = _strip_accents(order_marks(_decompose(letters)))
            yield from _split_at_punctuation(letters)


def _is_plain(chunk: str) -> bool:
    return chunk.isascii() and chunk.isprintable()


def _clean(chunk: str) -> list[Letters]:
    """Drops controls; a CJK character is a group of its own."""
    groups = [[]]
    for place, char in enumerate(chunk):
        letter = (char, (place, place + 1))
        kept = CLEAN[ord(char)]
        if len(kept) > 1:
            groups += [[letter], []]
        elif kept:
            groups[-1].append(letter)
    return groups


def _decompose(letters: Letters) -> Letters:
    """Lowers the case of a group as a whole, because a final sigma depends on its neighbours, and decomposes."""
    lowered = iter("".join(char for char, _ in letters).lower())
    decomposed = []
    for char, place in letters:
        for _ in char.lower():
            decomposed += [(part, place) for part in DECOMPOSITION[ord(next(lowered))]]
    return decomposed


def _strip_accents(letters: Letters) -> Letters:
    """Drops accents; the letter before an accent takes over its place."""
    kept = []
    for letter, (start, end) in letters:
        if unicodedata.category(letter) != "Mn":
            kept.append((letter, (start, end)))
        elif kept:
            last, (first, until) = kept[-1]
            kept[-1] = (last, (first, max(until, end)))
    return kept


def _split_at_punctuation(letters: Letters) -> Iterator[Letters]:
    word = []
    for letter in letters:
        if is_punctuation(letter[0]):
            if word:
                yield word
            yield [letter]
            word = []
        else:
            word.append(letter)
    if word:
        yield word
