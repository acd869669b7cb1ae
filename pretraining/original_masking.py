"""The masked language model: which tokens are hidden, and behind what (paper, section 3.1, task 1).

15 % of the tokens are chosen. Of these 80 % become [MASK], 10 % a random token, 10 % stay. The order
of the random draws is that of `create_masked_lm_predictions` in the original.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

Word = tuple[int, ...]  # positions of the pieces that are chosen together


class MaskedTokens(NamedTuple):
    """A sequence of S tokens with P holes, and what was there.

    token_ids: int [S]. The sequence, chosen tokens replaced.
    positions: int [P]. Chosen positions, ascending.
    label_ids: int [P]. The tokens that stood there.
    """

    token_ids: list[int]
    positions: list[int]
    label_ids: list[int]


class Masker:
    """Hides tokens of `[CLS] A [SEP] B [SEP]`."""

    def __init__(
        self,
        vocab: Mapping[str, int],
        masked_lm_prob: float = 0.15,
        max_predictions_per_seq: int = 20,
        do_whole_word_mask: bool = False,
    ):
        """Prepares the tables that masking needs of the vocabulary.

        Args:
          vocab: token -> id, in the order of the vocabulary file.
          masked_lm_prob: share of the tokens, special ones counted, to choose. In [0, 1].
          max_predictions_per_seq: upper limit of their number, at least 1.
          do_whole_word_mask: choose all pieces of a word or none. Each piece is still replaced by a
            draw of its own, as in the original.
        """
        self.mask_id = vocab["[MASK]"]
        # The whole vocabulary, special tokens and unused entries too, as in the original.
        self.random_ids = list(vocab.values())
        self.continuation_ids = frozenset(i for token, i in vocab.items() if token.startswith("##"))
        self.masked_lm_prob = masked_lm_prob
        self.max_predictions_per_seq = max_predictions_per_seq
        self.do_whole_word_mask = do_whole_word_mask

    def mask(self, token_ids: list[int], b_start: int, rng: random.Random) -> MaskedTokens:
        """Chooses tokens and replaces them.

        Args:
          token_ids: int [S]. `[CLS] A [SEP] B [SEP]`; it is not changed.
          b_start: position of B's first token.
          rng: source of every draw.
        """
        words = self._words(token_ids, b_start)
        shuffle(words, rng)
        output = token_ids.copy()
        positions = []
        for position in self._chosen(words, len(token_ids)):
            positions.append(position)
            output[position] = self._replacement(token_ids[position], rng)
        positions.sort()
        return MaskedTokens(output, positions, [token_ids[position] for position in positions])

    def _words(self, token_ids: list[int], b_start: int) -> list[Word]:
        a = range(1, b_start - 1)
        b = range(b_start, len(token_ids) - 1)
        if not self.do_whole_word_mask:
            return [(position,) for position in (*a, *b)]
        # A piece at the start of B, whose word was cut off, joins the last word of A, as in the original.
        words: list[Word] = []
        for position in (*a, *b):
            if words and token_ids[position] in self.continuation_ids:
                words[-1] += (position,)
            else:
                words.append((position,))
        return words

    def _chosen(self, words: Iterable[Word], length: int) -> Iterator[int]:
        """Yields the positions of the first words that fit; a word that is too long is passed over."""
        # Halves round to even, as in the original under Python 3.
        wanted = max(1, round(length * self.masked_lm_prob))
        wanted = min(self.max_predictions_per_seq, wanted)
        for word in words:
            if wanted == 0:
                return
            if len(word) <= wanted:
                wanted -= len(word)
                yield from word

    def _replacement(self, token_id: int, rng: random.Random) -> int:
        if rng.random() < 0.8:
            return self.mask_id
        if rng.random() < 0.5:
            return token_id
        return rng.choice(self.random_ids)


def shuffle(items: list, rng: random.Random) -> None:
    """`rng.shuffle(items)` with the same draws in half the time, which is where masking spends it."""
    getrandbits = rng.getrandbits
    for last in range(len(items) - 1, 0, -1):
        bits = (last + 1).bit_length()
        other = getrandbits(bits)
        while other > last:
            other = getrandbits(bits)
        items[last], items[other] = items[other], items[last]
