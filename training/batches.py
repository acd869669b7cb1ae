"""TFRecord files -> batches of static shape, in an order that is a function of seed and step."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from training.record_files import ScannedFile, records_reader

SHUFFLE_BUFFER = 2**16
_TRAINING, _EVALUATION = 0, 1  # draw from streams of their own
_PHILOX, _PHILOX_NUMBERS = (
    1,
    4,
)  # TensorFlow's number of the generator, and how many it makes of a count


class Augmentation(NamedTuple):
    """What is drawn anew whenever a record is read.

    Attributes:
      noise_size: random numbers that a record takes.
      apply: features of B records, noise float32 [B, noise_size], uniform in [0, 1) -> features.
    """

    noise_size: int
    apply: Callable[[dict[str, tf.Tensor], tf.Tensor], dict[str, tf.Tensor]]


def train_batches(
    files: Sequence[ScannedFile],
    feature_spec: dict,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    shuffle_buffer: int = SHUFFLE_BUFFER,
    augmentation: Augmentation | None = None,
) -> tf.data.Dataset:
    """Returns endless batches, starting where a run that made `first_step` updates left off.

    Every epoch is one full pass over the records in an order of its own, drawn from the seed; a batch holds records of
    two epochs only where the number of records is no multiple of the batch size.

    Args:
      files: TFRecord files, see `scan_files`.
      feature_spec: the schema of a record, for `tf.io.parse_example`.
      batch_size: records in the global batch.
      seed: of the order.
      first_step: updates already made; their records are skipped.
      shuffle_buffer: records that the shuffle holds at a time; up to so many an epoch is shuffled uniformly. More
        are shuffled within the window that it makes over the files, which are shuffled too.
      augmentation: its noise is a function of the seed and of how many records were read before, whatever the batch
        size.
    """
    position = first_step * batch_size
    first_epoch, skipped = divmod(position, sum(file.count for file in files))
    read_file = records_reader(files)

    def epoch_records(epoch):
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(len(files)), key)
        records = tf.data.Dataset.from_tensor_slices(order).interleave(
            read_file, cycle_length=min(4, len(files))
        )
        buffer_seed = tf.random.stateless_uniform([], key, minval=None, maxval=None, dtype=tf.int64)
        return records.shuffle(shuffle_buffer, buffer_seed, reshuffle_each_iteration=False)

    epochs = tf.data.Dataset.counter(start=first_epoch)
    records = epochs.flat_map(epoch_records).skip(skipped)
    augment = _augment(augmentation, seed, _TRAINING)
    return _parsed_batches(records, feature_spec, batch_size, augment, first_step)


def eval_batches(
    files: Sequence[ScannedFile],
    feature_spec: dict,
    batch_size: int,
    repeat: bool = False,
    augmentation: Augmentation | None = None,
) -> tf.data.Dataset:
    """Returns batches of one static shape of the records in file order, for ever if `repeat`.

    A last batch that is not full is filled up with zeros. The noise of an augmentation is the same in every evaluation.
    """
    augment = _augment(augmentation, 0, _EVALUATION)
    records = tf.data.Dataset.range(len(files)).flat_map(records_reader(files))
    if repeat:
        return _parsed_batches(records.repeat(), feature_spec, batch_size, augment)

    def fill(values):
        missing = [[0, batch_size - tf.shape(values)[0]]] + [[0, 0]] * (len(values.shape) - 1)
        return tf.ensure_shape(tf.pad(values, missing), [batch_size, *values.shape[1:]])

    batches = _parsed_batches(records, feature_spec, batch_size, augment, drop_remainder=False)
    return batches.map(lambda batch: tf.nest.map_structure(fill, batch))


def _parsed_batches(records, feature_spec, batch_size, augment, first_step=0, drop_remainder=True):
    def parse(step, serialized):
        return augment(parse_records(serialized, feature_spec), step * batch_size)

    batches = records.batch(batch_size, drop_remainder=drop_remainder).enumerate(first_step)
    parsed = batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE)
    return parsed.prefetch(tf.data.AUTOTUNE)


def _augment(augmentation, seed, stream):
    """Returns a function (features, number of records that were read before, int64) -> features."""
    if augmentation is None:
        return lambda features, position: features
    counts = -(-augmentation.noise_size // _PHILOX_NUMBERS)  # that a record takes

    def augment(features, position):
        example = next(iter(features.values()))
        # The generator makes any part of its numbers: record after record, they are one endless table.
        noise = tf.raw_ops.StatelessRandomUniformV2(
            shape=[example.shape[0] or tf.shape(example)[0], counts * _PHILOX_NUMBERS],
            key=tf.cast([seed], tf.uint64),
            counter=tf.cast(tf.stack([position * counts, stream]), tf.uint64),
            alg=_PHILOX,
        )
        return augmentation.apply(features, noise[:, : augmentation.noise_size])

    return augment


def parse_records(serialized: tf.Tensor, feature_spec: dict) -> dict[str, tf.Tensor]:
    """Returns the features of one serialized `tf.train.Example`, or of [B] of them, as float32 and int32."""
    features = tf.io.parse_example(serialized, feature_spec)
    # TPUs compute in 32 bits.
    return {
        name: tf.cast(values, tf.int32) if values.dtype == tf.int64 else values
        for name, values in features.items()
    }
