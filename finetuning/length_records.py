"""Features -> TFRecord files -> scores, by static length, so that what is short is not padded to what is long."""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from training.batches import eval_batches
from training.loop import predict
from training.record_files import scan_files
from training.records import Varints, serialize_int64
from training.train_step import Tensors

# Features of a record by name: numbers [], or [..., n] for n tokens, none negative.
Row = Mapping[str, np.ndarray]


class LengthRecords(NamedTuple):
    """Records by their static length; lengths without a record are absent.

    Attributes:
      files: length -> TFRecord file, ascending.
      counts: length -> number of records.
    """

    files: dict[int, str]
    counts: dict[int, int]


def write_by_length(
    output_dir: str, split: str, rows: Iterable[Row], lengths: Sequence[int]
) -> LengthRecords:
    """Writes each row, filled up with zeros, into the file of the least length that it fits in.

    The files are `<split>.tf_record`, or `<split>.<length>.tf_record` where there are several lengths; they appear
    when all are whole, and until then their names end in `.tmp`. How much is padding is in the log.

    Args:
      output_dir: folder, which exists.
      split: what the names begin with.
      rows: `input_mask` among their features, whose last axis has the length of the row.
      lengths: ascending; no row is longer than the last.

    Raises:
      OSError: they cannot be written.
    """
    paths = record_paths(output_dir, split, lengths)
    try:
        counts, num_tokens = _write(rows, paths)
        for length in counts:
            tf.io.gfile.rename(f"{paths[length]}.tmp", paths[length], overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"{output_dir}: the records cannot be written: {error.message}") from error
    finally:
        for path in filter(tf.io.gfile.exists, (f"{path}.tmp" for path in paths.values())):
            tf.io.gfile.remove(path)
    log_padding(split, counts, num_tokens)
    found = [length for length in lengths if length in counts]
    return LengthRecords({n: paths[n] for n in found}, {n: counts[n] for n in found})


def record_paths(output_dir: str, split: str, lengths: Sequence[int]) -> dict[int, str]:
    """Returns the file of each static length."""
    if len(lengths) == 1:
        return {lengths[0]: os.path.join(output_dir, f"{split}.tf_record")}
    return {n: os.path.join(output_dir, f"{split}.{n}.tf_record") for n in lengths}


def log_padding(split: str, counts: Mapping[int, int], num_tokens: float) -> None:
    """Logs how much of the records is padding.

    Args:
      split: what is told of.
      counts: static length -> number of records.
      num_tokens: in all of them.
    """
    positions = sum(length * count for length, count in counts.items())
    logging.info(
        "%s: %d records, %.1f%% of their positions are padding",
        split,
        sum(counts.values()),
        100 * (1 - num_tokens / positions),
    )


def predict_by_length(
    model: keras.Model,
    score: Callable[[keras.Model, Tensors], Tensors],
    records: LengthRecords,
    feature_spec: Callable[[int], dict],
    batch_size: int,
    strategy: tf.distribute.Strategy,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the scores of all batches as `training.loop.predict` does, those of the shortest records first.

    Args:
      feature_spec: static length -> schema of a record.
      batch_size: records in a batch.
    """
    for length, path in records.files.items():
        batches = eval_batches(scan_files([path]), feature_spec(length), batch_size)
        yield from predict(model, score, batches, strategy)


def _write(rows: Iterable[Row], paths: Mapping[int, str]) -> tuple[Counter, float]:
    """Returns the number of records of each length, and of tokens in all; of several sequences in one their mean."""
    lengths, varints = list(paths), Varints()
    counts, writers, num_tokens = Counter(), {}, 0.0
    with ExitStack() as stack:
        for row in rows:
            mask = row["input_mask"]
            length = lengths[bisect_left(lengths, mask.shape[-1])]
            if length not in writers:
                writers[length] = stack.enter_context(tf.io.TFRecordWriter(f"{paths[length]}.tmp"))
            writers[length].write(_serialized(row, length, varints))
            counts[length] += 1
            num_tokens += mask.sum() * mask.shape[-1] / mask.size
    return counts, num_tokens


def _serialized(row: Row, length: int, varints: Varints) -> bytes:
    features = {}
    for name, values in row.items():
        if values.ndim:
            values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])])
        features[name] = b"".join(map(varints.__getitem__, values.ravel().tolist()))
    return serialize_int64(features)
