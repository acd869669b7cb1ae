"""Batches of a few static lengths: what is short is not padded to the length of what is long."""

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
