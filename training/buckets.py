"""Batches of a few static lengths: what is short is not padded to the length of what is long."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from training.batches import train_batches
from training.record_files import scan_files

# More records than this are shuffled within a window; they are bytes, about 1 kB each. All of MNLI fits in.
MAX_SHUFFLE_BUFFER = 2**19


def parse_length_buckets(text: str, max_seq_length: int) -> list[int]:
    """Returns the static lengths that `--length_buckets` asks for, ascending, `max_seq_length` last.

    Args:
      text: comma-separated lengths, for example "128,256"; empty for one length.
      max_seq_length: the longest; it need not be named.

    Raises:
      ValueError: a length is not a positive integer, or longer than `max_seq_length`.
    """
    lengths = {max_seq_length}
    for part in filter(None, map(str.strip, text.split(","))):
        if not part.isdecimal() or not 0 < int(part) <= max_seq_length:
            raise ValueError(
                f"--length_buckets={text}: {part!r} is not a length from 1 to --max_seq_length={max_seq_length}"
            )
        lengths.add(int(part))
    return sorted(lengths)


def choose_lengths(num_tokens: Sequence[int], max_seq_length: int, least: int) -> list[int]:
    """Returns the static lengths, at most four and ascending, with which the sequences have the least padding.

    They are multiples of 8, or `max_seq_length`; each is traced, and compiled, once.

    Args:
      num_tokens: of each sequence, at least one of them.
      max_seq_length: the most that there are.
      least: sequences that a length must have, if there are as many in all: those of a rare one would be met too often
        or too rarely, because a batch is of one length.
    """
    longest = -(-max(num_tokens) // 8) * 8
    edges = [min(edge, max_seq_length) for edge in range(8, longest + 1, 8)]
    fitting = np.searchsorted(np.sort(num_tokens), edges, side="right").tolist()  # up to each edge
    least = min(least, len(num_tokens))
    # For each edge: the positions of all sequences up to it, and the lengths that make them so few.
    best = [(math.inf, [])] * len(edges)
    for _ in range(4):
        before = [(0, 0, []), *((n, *plan) for n, plan in zip(fitting, best, strict=True))]
        best = [
            min(
                (positions + (n - m) * edge, [*lengths, edge]) if n - m >= least else (math.inf, [])
                for m, positions, lengths in before[: number + 1]
            )
            for number, (edge, n) in enumerate(zip(edges, fitting, strict=True))
        ]
    return best[-1][1]


def count_by_length(num_tokens: Iterable[int], lengths: Sequence[int]) -> dict[int, int]:
    """Returns how many sequences get each static length, the least that they fit in; lengths of none are absent.

    Args:
      num_tokens: of each sequence.
      lengths: ascending; no sequence is longer than the last.
    """
    counts = Counter(lengths[bisect_left(lengths, number)] for number in num_tokens)
    return dict(sorted(counts.items()))


class BucketedBatches(NamedTuple):
    """Training batches from several datasets, each with one static shape.

    Attributes:
      datasets: endless; each begins with its batch of the first step that is still to be made.
      schedule: int [num_train_steps]. Which dataset each step of the run takes its batch from.
    """

    datasets: list[tf.data.Dataset]
    schedule: np.ndarray

    def same_dataset(self, step: int, until: int) -> int:
        """Returns how many steps from `step` on, before `until`, use the dataset of `step`."""
        others = np.flatnonzero(self.schedule[step:until] != self.schedule[step])
        return int(others[0]) if len(others) else until - step


def bucketed_train_batches(
    files: Mapping[int, str],
    counts: Mapping[int, int],
    feature_spec: Callable[[int], dict],
    batch_size: int,
    seed: int,
    num_train_steps: int,
    first_step: int = 0,
) -> BucketedBatches:
    """Returns the batches of a run over records that were sorted into files by length.

    Args:
      files: static length -> TFRecord file.
      counts: static length -> records in the file.
      feature_spec: static length -> schema of a record.
      batch_size: records in the global batch.
      seed: of the order, of steps and of records.
      num_train_steps: of the whole run.
      first_step: updates already made.
    """
    schedule = bucket_schedule([counts[length] for length in files], num_train_steps, seed)
    datasets = [
        train_batches(
            scan_files([file]),
            feature_spec(length),
            batch_size,
            seed,
            int(np.sum(schedule[:first_step] == bucket)),
            min(counts[length], MAX_SHUFFLE_BUFFER),
        )
        for bucket, (length, file) in enumerate(files.items())
    ]
    return BucketedBatches(datasets, schedule)


def bucket_schedule(counts: list[int], num_train_steps: int, seed: int) -> np.ndarray:
    """Returns which bucket each step draws from, int [num_train_steps]: in the proportion of the counts, shuffled.

    Every bucket gets a step if there are enough steps, so that no record is left out for being of a rare length.
    """
    shares = num_train_steps * np.asarray(counts) / sum(counts)
    steps = np.maximum(np.floor(shares), 1).astype(int)
    while steps.sum() < num_train_steps:
        steps[np.argmax(shares - steps)] += 1
    while steps.sum() > num_train_steps:
        steps[np.argmax(steps)] -= 1
    # The legacy generator: its numbers are the same in every version of numpy.
    random = np.random.RandomState(seed % 2**32)
    return random.permutation(np.repeat(np.arange(len(counts)), steps))
