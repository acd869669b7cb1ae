"""Learns a WordPiece vocabulary from text.

The paper used the vocabulary of Wu et al. 2016 (section 4.1 there); the program that made it was never released. This
is the usual stand-in: start from single characters and keep merging the pair of neighbours that is most frequent
within words. Words are those of our own `BasicTokenizer`, so that nothing is learned that tokenizing never looks up.
Ties are broken by the pieces themselves: the same counts give the same file, in the same order.
"""

import heapq
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tokenization.vocab import SPECIAL_TOKENS

_log = logging.getLogger(__name__)

LONGEST_WORD = 200  # longer words are [UNK] to the tokenizer
ROWS_BEFORE_UNK = 99  # that every released vocabulary leaves unused between [PAD] and [UNK]


def learn_vocab(
    words: Mapping[str, int],
    vocab_size: int,
    min_frequency: int = 2,
    alphabet_size: int = 1000,
    unused_rows: int = 0,
) -> list[str]:
    """Returns the tokens of a vocabulary: special and unused ones, then characters, then merged pieces.

    Args:
      words: how often each comes, see `count_words`.
      vocab_size: number of tokens wanted; fewer come back when no pair is left that is frequent enough.
      min_frequency: a pair of pieces that occurs less often is not merged.
      alphabet_size: number of characters kept, the most frequent ones; words with others are not learned from.
      unused_rows: number of tokens [unused0], [unused1], ..., see `special_rows`.

    Raises:
      ValueError: special and unused tokens and characters alone are more than `vocab_size`.
    """
    alphabet = _most_frequent_characters(words, alphabet_size)
    usable = {w: n for w, n in words.items() if len(w) <= LONGEST_WORD and alphabet.issuperset(w)}
    _log_unused(words, usable, alphabet)
    special, characters = special_rows(unused_rows), _single_characters(alphabet, words)
    needed = len(special) + len(characters)
    if needed > vocab_size:
        raise ValueError(
            f"--vocab_size={vocab_size} is too small for {len(SPECIAL_TOKENS)} special tokens, {unused_rows} unused "
            f"rows and {len(characters)} single characters: raise it to {needed} or more, or lower --alphabet_size "
            "or --unused_rows"
        )
    vocab = special + characters
    return _merge(_Pairs(usable, min_frequency), vocab, vocab_size)


def special_rows(unused_rows: int) -> list[str]:
    """Returns the first tokens of a vocabulary, unused ones around the special ones as in the uncased release.

    There are 994 of them there, so that [PAD] is 0, [UNK] 100, [CLS] 101, [SEP] 102, [MASK] 103, and the first
    character 999. With 99 the special tokens have the same ids; with fewer they come earlier.
    """
    unused = [f"[unused{number}]" for number in range(unused_rows)]
    pad, *others = SPECIAL_TOKENS
    return [pad, *unused[:ROWS_BEFORE_UNK], *others, *unused[ROWS_BEFORE_UNK:]]


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


def _merge(pairs: "_Pairs", vocab: list[str], vocab_size: int) -> list[str]:
    # No piece is made twice: what happens inside a stretch of a word, as long as nothing merges across its ends,
    # depends on the stretch alone, so that a piece is always put together the same way.
    while len(vocab) < vocab_size:
        pair = pairs.pop_most_frequent()
        if pair is None:
            break
        vocab.append(pairs.merge(pair))
    return vocab


class _Pairs:
    """Neighbouring pieces within words, counted; the counts follow the merges.

    The heap is lazy: a pair may sit in it with a count that has fallen since; this is found out when it comes up. A
    count rises only in the merge that makes a piece of the pair, so one that is too low then is never looked at again.

    Args:
      words: word -> count.
      min_frequency: pairs of a lower count are not merged.
    """

    def __init__(self, words: Mapping[str, int], min_frequency: int):
        self._min_frequency = min_frequency
        self._counts_of_words = list(words.values())
        tails = {
            char: f"##{char}" for char in set().union(*words)
        }  # one object each, not one a letter
        self._words = [[word[0], *map(tails.__getitem__, word[1:])] for word in words]
        self._counts = Counter()
        self._places = defaultdict(list)  # pair -> indices of words that hold it, or once did
        for index, word in enumerate(self._words):
            for pair in zip(word, word[1:], strict=False):
                self._counts[pair] += self._counts_of_words[index]
                self._places[pair].append(index)
        self._heap = []
        self._push(self._counts)

    def pop_most_frequent(self) -> tuple[str, str] | None:
        """Returns the pair of the highest count, the alphabetically first of them; None if all are too low."""
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            count = self._counts[pair]
            if count == -negative:
                return pair
            if count >= self._min_frequency:
                heapq.heappush(self._heap, (-count, pair))
        return None

    def merge(self, pair: tuple[str, str]) -> str:
        """Makes one piece of `pair` wherever it stands, and returns that piece."""
        piece = pair[0] + pair[1].removeprefix("##")
        grown = set()
        for index in self._places.pop(pair):
            self._merge_in_word(index, pair, piece, grown)
        del self._counts[pair]
        self._push(grown)
        return piece

    def _merge_in_word(self, index: int, pair: tuple[str, str], piece: str, grown: set) -> None:
        word, count, counts = self._words[index], self._counts_of_words[index], self._counts
        (left, right), place = pair, 0
        while left in word[place:-1]:
            place = word.index(left, place)
            if word[place + 1] != right:
                place += 1
                continue
            word[place : place + 2] = [piece]
            if place:
                counts[word[place - 1], left] -= count
                self._count_new((word[place - 1], piece), index, grown)
            place += 1
            if place < len(word):
                counts[right, word[place]] -= count
                self._count_new((piece, word[place]), index, grown)

    def _count_new(self, pair: tuple[str, str], index: int, grown: set) -> None:
        self._counts[pair] += self._counts_of_words[index]
        self._places[pair].append(index)
        grown.add(pair)

    def _push(self, pairs: Iterable[tuple[str, str]]) -> None:
        for pair in pairs:
            if self._counts[pair] >= self._min_frequency:
                heapq.heappush(self._heap, (-self._counts[pair], pair))
            else:
                self._places.pop(pair, None)
