"""How finely vocabularies cut the words of a text: their fertility, side by side."""

from collections.abc import Mapping
from typing import NamedTuple

from tokenization.word_counts import WordCounts
from tokenization.wordpiece import WordpieceTokenizer


class Fertility(NamedTuple):
    """How a vocabulary cuts a text. Words are those of `BasicTokenizer`; punctuation marks are among them.

    Attributes:
      tokens: entries of the vocabulary.
      words: of the running text.
      pieces: that the vocabulary makes of them, [UNK] included.
      pieces_per_word: mean, 1 or more.
      whole_words: share of the words that are one piece, and not [UNK], in [0, 1].
      unknown_words: share of the words that become [UNK], in [0, 1].
      pieces_per_line: mean over the lines that are not blank.
      pieces_per_1000_characters: of the text without line ends.
      commonest_split: the commonest words of several pieces, the commonest first: (word, count, pieces).
    """

    tokens: int
    words: int
    pieces: int
    pieces_per_word: float
    whole_words: float
    unknown_words: float
    pieces_per_line: float
    pieces_per_1000_characters: float
    commonest_split: list[tuple[str, int, tuple[str, ...]]]


_ROWS = {
    "entries of the vocabulary": ("tokens", "d"),
    "words": ("words", "d"),
    "pieces": ("pieces", "d"),
    "pieces per word": ("pieces_per_word", ".4f"),
    "words kept whole": ("whole_words", ".2%"),
    "words that are [UNK]": ("unknown_words", ".4%"),
    "pieces per line": ("pieces_per_line", ".2f"),
    "pieces per 1000 characters": ("pieces_per_1000_characters", ".1f"),
}


def measure_fertility(vocab: Mapping[str, int], counts: WordCounts, num_split: int) -> Fertility:
    """Returns how `vocab` cuts the counted words, of which there is at least one.

    Args:
      vocab: token -> id.
      counts: of the text.
      num_split: length of `commonest_split`, at most.
    """
    cut = WordpieceTokenizer(vocab).pieces
    words = counts.words.total()
    pieces = whole = unknown = 0
    split = []
    for word, count in sorted(counts.words.items(), key=lambda item: (-item[1], item[0])):
        parts = cut[word]
        pieces += count * len(parts)
        if parts == ("[UNK]",):
            unknown += count
        elif len(parts) == 1:
            whole += count
        elif len(split) < num_split:
            split.append((word, count, parts))
    return Fertility(
        tokens=len(vocab),
        words=words,
        pieces=pieces,
        pieces_per_word=pieces / words,
        whole_words=whole / words,
        unknown_words=unknown / words,
        pieces_per_line=pieces / counts.lines,
        pieces_per_1000_characters=1000 * pieces / counts.characters,
        commonest_split=split,
    )


def fertility_table(columns: Mapping[str, Fertility]) -> str:
    """Returns a table with a column for each vocabulary, and below it the words that each splits."""
    rows = [["", *columns]]
    for title, (field, form) in _ROWS.items():
        values = (getattr(fertility, field) for fertility in columns.values())
        rows.append([title, *(format(value, form) for value in values)])
    first = max(len(row[0]) for row in rows)
    widths = [max(len(row[i]) for row in rows) for i in range(1, len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], widths, strict=True))]
        )
        for row in rows
    ]
    for name, fertility in columns.items():
        lines += ["", f"commonest words that {name} splits:"]
        lines += [f"  {count:>7} {' '.join(cut)}" for _, count, cut in fertility.commonest_split]
    return "\n".join(lines)
