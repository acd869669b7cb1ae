"""Which tokens are hidden, and behind what (Devlin et al. 2019, section 3.1, task 1), for many rows at a time.

One function of rows and noise for the builder of records and for training, which draws masks anew in every epoch.
Shapes: N rows, S sequence, P predictions, V vocabulary, W words of a row (at most S), M words of the longest span.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from training.batches import Augmentation

MASKED, KEPT = 0.8, 0.1  # shares of the chosen tokens; the rest become random ones


class Masker:
    """Hides tokens of rows.

    Candidates are all tokens but [CLS] and [SEP]. Of `masked_lm_prob` times the tokens of a row, special ones counted
    and a half rounded to the even number, so many are chosen: at least one, at most P, and fewer where no other word
    fits. 80 % become [MASK], 10 % stay, 10 % become a token of the whole vocabulary.

    "wordpiece" chooses pieces. "whole_word" chooses words in random order, and passes over those that do not fit; each
    piece is replaced by a draw of its own. "span" starts at words in random order and chooses several in a row (Joshi
    et al. 2020, section 3.1), up to the end of the text, the next span or what fits; a draw is for all of a span.

    Args:
      vocab: token -> id, in the order of the vocabulary file.
      masking: "wordpiece", "whole_word" or "span".
      masked_lm_prob: share of the tokens to choose, in [0, 1].
      max_predictions_per_seq: P, upper limit of their number in a row, at least 1.
      max_span_words: M, most words of a span, at least 1. Only for spans, as the next.
      span_continue_prob: how much rarer a span is than one that is a word shorter, in [0, 1]. 0.8 and 10 words are the
        paper's, and give 3.8 words on average.

    Attributes:
      vocab_size: V, one more than the largest id.
      max_predictions_per_seq: P.
    """

    def __init__(
        self,
        vocab: Mapping[str, int],
        masking: str = "wordpiece",
        masked_lm_prob: float = 0.15,
        max_predictions_per_seq: int = 20,
        max_span_words: int = 10,
        span_continue_prob: float = 0.8,
    ):
        # Arrays, not tensors: TensorFlow's runtime must not start before processes are forked.
        self.max_predictions_per_seq = max_predictions_per_seq
        self._masking = masking
        self._prob = masked_lm_prob
        self._mask_id = vocab["[MASK]"]
        # The whole vocabulary, special tokens and unused entries too, as in the original.
        self._random_ids = np.array([*vocab.values()], np.int32)
        self.vocab_size = max(vocab.values()) + 1
        self._candidates = np.ones(self.vocab_size, bool)
        self._candidates[[vocab["[CLS]"], vocab["[SEP]"]]] = False
        self._continues = np.zeros_like(self._candidates)
        self._continues[[i for token, i in vocab.items() if token.startswith("##")]] = True
        lengths = span_continue_prob ** np.arange(max_span_words if masking == "span" else 1)
        self._up_to_length = (lengths.cumsum() / lengths.sum()).astype(np.float32)  # [M]

    def noise_size(self, max_seq_length: int) -> int:
        """Returns how many numbers a row of so many tokens, S, takes."""
        return sum(self._noise_sizes(max_seq_length))

    def _noise_sizes(self, size: int) -> list[int]:
        """Returns how many numbers each decision takes: order, replacement, random token, and length of spans."""
        predictions = self.max_predictions_per_seq
        if self._masking == "span":
            return [size, size, predictions, size]
        return [size, predictions, predictions, 0]

    def augmentation(self, max_seq_length: int) -> Augmentation:
        """Returns how masks are drawn when records without masks, of so many tokens, are read."""

        def apply(features, noise):
            return features | self(features["input_ids"], features["input_mask"], noise)

        return Augmentation(self.noise_size(max_seq_length), apply)

    # Several times as fast in a graph, which drops what it no longer needs.
    @tf.function(autograph=False, reduce_retracing=True)
    def __call__(
        self, input_ids: tf.Tensor, input_mask: tf.Tensor, noise: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Masks rows, each by its own noise alone.

        Args:
          input_ids: int32 [N, S]. Ids of the vocabulary.
          input_mask: int32 [N, S]. 1 for tokens, 0 for padding.
          noise: float32 [N, noise_size(S)]. Independent, uniform in [0, 1).

        Returns:
          input_ids: int32 [N, S]. Chosen tokens replaced.
          masked_lm_positions: int32 [N, P]. Chosen positions, ascending; like the next two padded with zeros.
          masked_lm_ids: int32 [N, P]. The tokens that stood there.
          masked_lm_weights: float32 [N, P]. 1 for chosen tokens, 0 for padding.
        """
        size = input_ids.shape[1]
        order, kinds, ids, lengths = tf.split(noise, self._noise_sizes(size), axis=1)
        real = tf.not_equal(input_mask, 0)
        candidates = real & tf.gather(self._candidates, input_ids)  # [N, S]
        budgets = tf.gather(self._budgets(size), tf.reduce_sum(tf.cast(real, tf.int32), 1))  # [N]
        if self._masking == "wordpiece":
            positions = self._pieces(candidates, budgets, order)  # [N, P]
        else:
            spans = self._spans(input_ids, candidates, budgets, order, lengths)  # [N, S]
            places = tf.where(spans > 0, size - tf.range(size), 0)
            positions = size - self._largest(places).values  # [N, P]
        weights = positions < size
        positions = tf.where(weights, positions, 0)
        if self._masking == "span":
            span = tf.gather(spans, positions, batch_dims=1)
            kinds = tf.gather(kinds, tf.maximum(span - 1, 0), batch_dims=1)  # [N, P]
        labels = tf.gather(input_ids, positions, batch_dims=1)  # [N, P]
        change = tf.where(weights, self._replacements(labels, kinds, ids) - labels, 0)
        return {
            "input_ids": input_ids + _scattered(positions, change, tf.shape(input_ids)),
            "masked_lm_positions": positions,
            "masked_lm_ids": tf.where(weights, labels, 0),
            "masked_lm_weights": tf.cast(weights, tf.float32),
        }

    def mask_arrays(
        self, input_ids: np.ndarray, input_mask: np.ndarray, noise: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns what a call returns, as arrays; single pieces in a third of the time."""
        if self._masking != "wordpiece":
            return {name: t.numpy() for name, t in self(input_ids, input_mask, noise).items()}
        size = input_ids.shape[1]
        order, kinds, ids, _ = np.split(noise, np.cumsum(self._noise_sizes(size)[:3]), axis=1)
        positions = self._pieces_of_arrays(input_ids, input_mask, order)  # [N, P]
        weights = positions < size
        positions[~weights] = 0
        labels = np.take_along_axis(input_ids, positions, axis=1)  # [N, P]
        random = self._random_ids[(ids * len(self._random_ids)).astype(np.int32)]
        replacements = np.where(kinds < MASKED + KEPT, labels, random)
        replacements[kinds < MASKED] = self._mask_id
        output = input_ids.copy()
        rows, _ = np.nonzero(weights)
        output[rows, positions[weights]] = replacements[weights]
        return {
            "input_ids": output,
            "masked_lm_positions": positions,
            "masked_lm_ids": labels * weights,
            "masked_lm_weights": weights.astype(np.float32),
        }

    def _pieces_of_arrays(self, input_ids, input_mask, order):
        """Returns int32 [N, P], the positions of the chosen pieces, ascending; S where there is none."""
        size, most = input_ids.shape[1], self.max_predictions_per_seq
        real = input_mask != 0
        # Positive floats are in the order of their bits. With the position below them no two are equal.
        keys = order.view(np.int32).astype(np.int64) << 16 | np.arange(size)
        none = np.iinfo(np.int64).max
        keys[~(real & self._candidates.take(input_ids))] = none
        if most < size:
            keys = np.partition(keys, most, axis=1)[:, :most]
        keys.sort(axis=1)
        budgets = self._budgets(size).take(real.sum(1))[:, np.newaxis]
        chosen = (keys != none) & (np.arange(keys.shape[1]) < budgets)
        positions = np.where(chosen, keys & 0xFFFF, size).astype(np.int32)
        positions.sort(axis=1)
        return np.pad(positions, [(0, 0), (0, max(0, most - size))], constant_values=size)

    def _budgets(self, size: int) -> np.ndarray:
        """Returns int32 [S + 1]: how many tokens to choose of 0, 1, 2... tokens."""
        wanted = [max(1, round(length * self._prob)) for length in range(size + 1)]
        return np.minimum(wanted, self.max_predictions_per_seq).astype(np.int32)

    def _largest(self, values):
        """Returns the values [N, P] and indices of the largest of [N, S], filled up with zeros if P > S."""
        missing = max(0, self.max_predictions_per_seq - values.shape[1])
        values = tf.pad(values, [[0, 0], [0, missing]])
        return tf.math.top_k(values, self.max_predictions_per_seq)

    def _pieces(self, candidates, budgets, order):
        """Returns int32 [N, P], the positions of the chosen pieces, ascending; S where there is none."""
        first = self._largest(tf.where(candidates, 1.0 - order, 0.0))  # 1 - [0, 1) is never 0
        number = tf.range(self.max_predictions_per_seq)
        chosen = (first.values > 0.0) & (number < budgets[:, tf.newaxis])
        return tf.sort(tf.where(chosen, first.indices, candidates.shape[1]), axis=1)

    def _spans(self, input_ids, candidates, budgets, order, lengths):
        """Returns int32 [N, S], for every token the number of the span that it is in, from 1; 0 for none."""
        size = input_ids.shape[1]
        after = tf.pad(candidates[:, :-1], [[0, 0], [1, 0]])
        inside = candidates & after & tf.gather(self._continues, input_ids)
        # What is no candidate is a word without pieces, which ends spans.
        word = tf.cumsum(tf.cast(~inside, tf.int32), axis=1) - 1  # [N, S]
        pieces = _scattered(word, tf.cast(candidates, tf.int32), tf.shape(word))  # [N, W]
        order = tf.math.top_k(tf.where(pieces > 0, order, -1.0), size).indices  # [N, W]
        taken = self._taken(pieces, order, lengths, budgets)
        return tf.gather(taken, word, batch_dims=1)

    def _taken(self, pieces, order, lengths, budgets):
        """Returns for every word the number of the span that it is in, from 1; 0 for none.

        Args:
          pieces: int32 [N, W]. Number of pieces of each word.
          order: int32 [N, W]. Words where spans start, if they are free by then.
          lengths: float32 [N, W]. Noise, which says how long the first, second... span would like to be.
          budgets: int32 [N]. Pieces to take.
        """
        span = len(self._up_to_length)
        num_words = tf.math.count_nonzero(pieces, 1, dtype=tf.int32)
        pieces = tf.pad(pieces, [[0, 0], [0, span - 1]])

        def unfinished(number, left, taken):
            return tf.reduce_any((left > 0) & (number < num_words))

        def take(number, left, taken):
            window = order[:, number, tf.newaxis] + tf.range(span)  # [N, M]
            before = tf.gather(taken, window, batch_dims=1)
            wanted = tf.gather(pieces, window, batch_dims=1)
            total = tf.cumsum(wanted, axis=1)
            fits = (before == 0) & (wanted > 0) & (total <= left[:, tf.newaxis])
            if self._masking == "span":
                longest = tf.searchsorted(self._up_to_length, lengths[:, number], "right")
                fits &= tf.range(span) <= longest[:, tf.newaxis]
            fits = tf.cumsum(tf.cast(~fits, tf.int32), axis=1) == 0  # up to the first that does not
            left -= tf.reduce_sum(tf.where(fits, wanted, 0), 1)
            taken += _scattered(window, tf.where(fits, number + 1, 0), tf.shape(taken))
            return number + 1, left, taken

        start = (tf.constant(0), budgets, tf.zeros_like(pieces))
        return tf.while_loop(unfinished, take, start)[2]

    def _replacements(self, labels, kinds, ids):
        """Returns int32 [N, P], what stands in place of the labels, by two numbers each."""
        drawn = tf.cast(ids * len(self._random_ids), tf.int32)
        random = tf.gather(self._random_ids, drawn)
        other = tf.where(kinds < MASKED + KEPT, labels, random)
        return tf.where(kinds < MASKED, self._mask_id, other)


def _scattered(columns, values, shape):
    """Returns zeros [N, ...] of a shape with the values [N, K] added to the columns [N, K] of their rows."""
    rows = tf.broadcast_to(tf.range(tf.shape(columns)[0])[:, tf.newaxis], tf.shape(columns))
    return tf.scatter_nd(tf.stack([rows, columns], -1), values, shape)
