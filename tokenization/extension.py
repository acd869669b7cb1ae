"""New words for a vocabulary that a model was trained with: which, and in which rows.

Only whole words: a word that the vocabulary holds is found before any of its pieces. It is also found as the start of
longer words, which are then cut otherwise than before ("cardio" in "cardiology"); `count_changes` tells how many.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from tokenization.files import read_lines
from tokenization.full import FullTokenizer
from tokenization.learner import LONGEST_WORD
from tokenization.word_counts import WordCounts

_UNUSED = re.compile(r"\[unused\d+\]")
_SHOWN = 5


class WordList(NamedTuple):
    """Words that somebody wants in the vocabulary.

    Attributes:
      new: those that are not there yet, each once, as listed.
      known: those that are there.
      repeated: those that were listed before.
    """

    new: list[str]
    known: list[str]
    repeated: list[str]


class Changes(NamedTuple):
    """What new words do to the other words of a text.

    Attributes:
      words: different words that are cut otherwise.
      occurrences: of them in the text.
      unknown: those of them that are [UNK] now and were not, the commonest first.
    """

    words: int
    occurrences: int
    unknown: list[str]


def free_rows(tokens: Iterable[str]) -> list[int]:
    """Returns the rows of the tokens [unusedN] of a vocabulary."""
    return [row for row, token in enumerate(tokens) if _UNUSED.fullmatch(token)]


def read_word_list(path: str, tokenizer: FullTokenizer) -> WordList:
    """Reads a file of one word a line; blank lines mean nothing.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not UTF-8, or the tokenizer would never look up some of its words.
    """
    words = WordList([], [], [])
    seen, never = set(), []
    for number, line in enumerate(read_lines(path), 1):
        word = line.strip().removeprefix("\ufeff")
        if not word:
            continue
        if reason := _why_never(word, tokenizer):
            never.append(f"line {number}, {word[:40]!r}: {reason}")
        elif word in seen:
            words.repeated.append(word)
        elif word in tokenizer.vocab:
            words.known.append(word)
        else:
            words.new.append(word)
        seen.add(word)
    if never:
        more = f"; and {len(never) - _SHOWN} more" if len(never) > _SHOWN else ""
        raise ValueError(
            f"{path}: {len(never)} of the words would never be found in a text: {'; '.join(never[:_SHOWN])}{more}"
        )
    return words


def _why_never(word: str, tokenizer: FullTokenizer) -> str | None:
    found = tokenizer.basic_tokenizer.tokenize(word)
    if len(found) != 1:
        return (
            f"the tokenizer splits it into {' '.join(found)}" if found else "nothing is left of it"
        )
    if found != [word]:
        case = str(tokenizer.basic_tokenizer.do_lower_case).lower()
        return f"with --do_lower_case={case} the tokenizer looks up {found[0][:40]!r}"
    if len(word) > LONGEST_WORD:
        return f"it has more than {LONGEST_WORD} characters"
    return None


def choose_words(
    counts: WordCounts, tokenizer: FullTokenizer, num_words: int, min_count: int
) -> list[str]:
    """Returns the words of a text that save most pieces, the most useful first.

    A word saves, each time it comes, all its pieces but one; a word that is [UNK] is taken to save one. Only words
    with a letter are chosen, so that numbers are not.

    Args:
      counts: of the text, made with the tokenizer's setting of lower case.
      tokenizer: of the vocabulary so far.
      num_words: number of words, at most.
      min_count: words that come less often are not chosen.
    """
    saved = {}
    for word, count in counts.words.items():
        if count < min_count or len(word) > LONGEST_WORD or not any(map(str.isalpha, word)):
            continue
        pieces = tokenizer.wordpiece_tokenizer.pieces[word]
        if pieces != (word,):
            saved[word] = count * max(len(pieces) - 1, 1)
    return sorted(saved, key=lambda word: (-saved[word], word))[:num_words]


def place_words(tokens: list[str], words: Iterable[str]) -> tuple[list[str], list[int]]:
    """Returns the tokens of the larger vocabulary, and the row of each word: first [unusedN], then new ones."""
    tokens, free, rows = list(tokens), free_rows(tokens), []
    for number, word in enumerate(words):
        if number < len(free):
            rows.append(free[number])
            tokens[rows[-1]] = word
        else:
            rows.append(len(tokens))
            tokens.append(word)
    return tokens, rows


def count_changes(counts: WordCounts, before: FullTokenizer, after: FullTokenizer) -> Changes:
    """Returns what became of the words of a text that are not new ones themselves."""
    words = occurrences = 0
    unknown = {}
    for word, count in counts.words.items():
        if word in after.vocab:
            continue
        old, new = (t.wordpiece_tokenizer.pieces[word] for t in (before, after))
        if old != new:
            words += 1
            occurrences += count
            if new == ("[UNK]",):
                unknown[word] = count
    return Changes(words, occurrences, sorted(unknown, key=lambda word: (-unknown[word], word)))
