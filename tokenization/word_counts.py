"""The words of a text and how often each comes, in bounded memory.

Words are those of our own `BasicTokenizer`, so that what is learnt from them is what the tokenizer will look up.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tokenization.basic import BasicTokenizer, chunks

MAX_WORDS = 1_000_000
_MAX_CHUNKS = 1 << 18


class WordCounts(NamedTuple):
    """What a text holds.

    Attributes:
      words: word -> how often it comes.
      characters: of the text, line ends left out.
      lines: that are not blank; of a corpus for BERT these are its sentences.
      pruned: occurrences of words that were forgotten to save memory, see `count_words`; mostly 0.
    """

    words: Counter[str]
    characters: int
    lines: int
    pruned: int


def count_words(
    texts: Iterable[str], do_lower_case: bool = True, max_words: int = MAX_WORDS
) -> WordCounts:
    """Counts the words of `texts`, each of which begins and ends at white space.

    Whenever more than `max_words` different ones are held, the rarest are forgotten, by whole levels of frequency (all
    that came once so far, then all that came twice, ...) until at most half of `max_words` are left. A word that comes
    again later starts from 0, so that counts may be too small by what was forgotten, and never too large.

    Args:
      texts: in this order; it matters only where words are forgotten.
      do_lower_case: see `BasicTokenizer`.
      max_words: different words held, 2 or more.
    """
    tokenizer = BasicTokenizer(do_lower_case)
    seen, words = Counter(), Counter()
    characters = lines = pruned = 0
    for text in texts:
        characters += len(text) - text.count("\n")
        lines += sum(1 for line in text.split("\n") if line and not line.isspace())
        seen.update(chunks(text))
        if len(seen) > _MAX_CHUNKS:
            _add_words(words, seen, tokenizer)
            pruned += _prune(words, max_words)
    _add_words(words, seen, tokenizer)
    pruned += _prune(words, max_words)
    return WordCounts(words, characters, lines, pruned)


def _add_words(words: Counter[str], seen: Counter[str], tokenizer: BasicTokenizer) -> None:
    for chunk, count in seen.items():
        for word in tokenizer.split_chunk(chunk):
            words[word] += count
    seen.clear()


def _prune(words: Counter[str], max_words: int) -> int:
    """Forgets the rarest words if there are too many; returns how often they came."""
    if len(words) <= max_words:
        return 0
    # The count of the first word that must go; all of that count go with it.
    level = sorted(words.values(), reverse=True)[max_words // 2]
    rare = [word for word, count in words.items() if count <= level]
    return sum(words.pop(word) for word in rare)
