"""Learns a WordPiece vocabulary from text.

The paper used the vocabulary of Wu et al. 2016 (section 4.1 there); the program that made it was never released. This
is the usual stand-in: start from single characters and keep merging the pair of neighbours that is most frequent
within words. Words are those of our own `BasicTokenizer`, so that nothing is learned that tokenizing never looks up.
Ties are broken by the pieces themselves: the same counts give the same file, in the same order.
"""

import heapq
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable

from tokenization.basic import BasicTokenizer, chunks
from tokenization.vocab import SPECIAL_TOKENS

_log = logging.getLogger(__name__)

LONGEST_WORD = 200  # longer words are [UNK] to the tokenizer


def learn_vocab(
    lines: Iterable[str],
    vocab_size: int,
    do_lower_case: bool = True,
    min_frequency: int = 2,
    alphabet_size: int = 1000,
) -> list[str]:
    """Returns the tokens of a vocabulary: [PAD] [UNK] [CLS] [SEP] [MASK], then characters, then merged pieces.

    Args:
      lines: the text.
      vocab_size: number of tokens wanted; fewer come back when no pair is left that is frequent enough.
      do_lower_case: see `BasicTokenizer`.
      min_frequency: a pair of pieces that occurs less often is not merged.
      alphabet_size: number of characters kept, the most frequent ones; words with others are not learned from.

    Raises:
      ValueError: the text has no words, or special tokens and characters alone are more than `vocab_size`.
    """
    words = count_words(lines, do_lower_case)
    if not words:
        raise ValueError("there is no word in the text (--input_file)")
    alphabet = _most_frequent_characters(words, alphabet_size)
    usable = {w: n for w, n in words.items() if len(w) <= LONGEST_WORD and alphabet.issuperset(w)}
    _log_unused(words, usable, alphabet)
    vocab = [*SPECIAL_TOKENS, *_single_characters(alphabet, words)]
    if len(vocab) > vocab_size:
        raise ValueError(
            f"--vocab_size={vocab_size} is too small for {len(SPECIAL_TOKENS)} special tokens and "
            f"{len(vocab) - len(SPECIAL_TOKENS)} single characters: raise it to {len(vocab)} or more, "
            "or lower --alphabet_size"
        )
    return _merge(_Pairs(usable), vocab, vocab_size, min_frequency)


def count_words(lines: Iterable[str], do_lower_case: bool = True) -> Counter[str]:
    """Returns how often each word of `BasicTokenizer` occurs."""
    seen = Counter()
    for line in lines:
        seen.update(chunks(line))
    tokenizer, words = BasicTokenizer(do_lower_case), Counter()
    for chunk, count in seen.items():
        for word in tokenizer.split_chunk(chunk):
            words[word] += count
    return words


def _most_frequent_characters(words: dict[str, int], size: int) -> set[str]:
    counts = Counter()
    for word, count in words.items():
        for char in word:
            counts[char] += count
    return set(sorted(counts, key=lambda char: (-counts[char], char))[:size])


def _single_characters(alphabet: set[str], words: Iterable[str]) -> list[str]:
    """Every character as a word's first piece; and as a later piece unless it only comes alone (punctuation, CJK)."""
    joined = {char for word in words if len(word) > 1 for char in word}
    return sorted(alphabet) + [f"##{char}" for char in sorted(alphabet & joined)]


def _log_unused(words, usable, alphabet) -> None:
    unused = words.keys() - usable.keys()
    if unused:
        rare = {char for word in unused for char in word} - alphabet
        _log.info(
            "%d of %d different words (%.4f %% of the running text) are not learned from: they are longer than "
            "%d characters or hold one of %d rare characters (--alphabet_size)",
            len(unused),
            len(words),
            100 * sum(words[word] for word in unused) / sum(words.values()),
            LONGEST_WORD,
            len(rare),
        )


def _merge(pairs: "_Pairs", vocab: list[str], vocab_size: int, min_frequency: int) -> list[str]:
    # No piece is made twice: what happens inside a stretch of a word, as long as nothing merges across its ends,
    # depends on the stretch alone, so that a piece is always put together the same way.
    while len(vocab) < vocab_size:
        pair = pairs.pop_most_frequent(min_frequency)
        if pair is None:
            break
        vocab.append(pairs.merge(pair))
    return vocab


class _Pairs:
    """Neighbouring pieces within words, counted; the counts follow the merges.

    The heap is lazy: a pair may sit in it with a count that has fallen since; this is found out when it comes up.

    Args:
      words: word -> count.
    """

    def __init__(self, words: dict[str, int]):
        self._counts_of_words = list(words.values())
        self._words = [[word[0], *(f"##{char}" for char in word[1:])] for word in words]
        self._counts = Counter()
        self._places = defaultdict(set)  # pair -> indices of words that hold it, or once did
        for index, word in enumerate(self._words):
            for pair in zip(word, word[1:], strict=False):
                self._counts[pair] += self._counts_of_words[index]
                self._places[pair].add(index)
        self._heap = [(-count, pair) for pair, count in self._counts.items()]
        heapq.heapify(self._heap)

    def pop_most_frequent(self, min_frequency: int) -> tuple[str, str] | None:
        """Returns the pair of the highest count, the alphabetically first of them; None below `min_frequency`."""
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            count = self._counts[pair]
            if count == -negative and count >= min_frequency:
                return pair
            if min_frequency <= count < -negative:
                heapq.heappush(self._heap, (-count, pair))
        return None

    def merge(self, pair: tuple[str, str]) -> str:
        """Makes one piece of `pair` wherever it stands, and returns that piece."""
        piece = pair[0] + pair[1].removeprefix("##")
        grown = set()
        for index in self._places.pop(pair):
            count, word = self._counts_of_words[index], self._words[index]
            for old in zip(word, word[1:], strict=False):
                self._counts[old] -= count
            self._words[index] = word = _join(word, pair, piece)
            for new in zip(word, word[1:], strict=False):
                self._counts[new] += count
                if piece in new:
                    self._places[new].add(index)
                    grown.add(new)
        del self._counts[pair]
        for new in grown:
            heapq.heappush(self._heap, (-self._counts[new], new))
        return piece


def _join(word: list[str], pair: tuple[str, str], piece: str) -> list[str]:
    joined, place = [], 0
    while place < len(word):
        if word[place] == pair[0] and tuple(word[place : place + 2]) == pair:
            joined.append(piece)
            place += 2
        else:
            joined.append(word[place])
            place += 1
    return joined
