"""TFRecord files -> batches of static shape, in an order that is a function of seed and step."""

from collections.abc import Sequence

import tensorflow as tf

from training.record_files import ScannedFile, records_reader

SHUFFLE_BUFFER = 2**16


def train_batches(
    files: Sequence[ScannedFile],
    feature_spec: dict,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    shuffle_buffer: int = SHUFFLE_BUFFER,
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
    return _parsed_batches(records, feature_spec, batch_size)


def eval_batches(
    files: Sequence[ScannedFile], feature_spec: dict, batch_size: int, repeat: bool = False
) -> tf.data.Dataset:
    """Returns batches of one static shape of the records in file order, for ever if `repeat`.

    A last batch that is not full is filled up with zeros.
    """
    records = tf.data.Dataset.range(len(files)).flat_map(records_reader(files))
    if repeat:
        return _parsed_batches(records.repeat(), feature_spec, batch_size)

    def fill(values):
        missing = [[0, batch_size - tf.shape(values)[0]]] + [[0, 0]] * (len(values.shape) - 1)
        return tf.ensure_shape(tf.pad(values, missing), [batch_size, *values.shape[1:]])

    batches = _parsed_batches(records, feature_spec, batch_size, drop_remainder=False)
    return batches.map(lambda batch: tf.nest.map_structure(fill, batch))


def _parsed_batches(records, feature_spec, batch_size, drop_remainder=True):
    batches = records.batch(batch_size, drop_remainder=drop_remainder)
    parsed = batches.map(
        lambda serialized: parse_records(serialized, feature_spec),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return parsed.prefetch(tf.data.AUTOTUNE)


def parse_records(serialized: tf.Tensor, feature_spec: dict) -> dict[str, tf.Tensor]:
    """Returns the features of one serialized `tf.train.Example`, or of [B] of them, as float32 and int32."""
    features = tf.io.parse_example(serialized, feature_spec)
    # TPUs compute in 32 bits.
    return {
        name: tf.cast(values, tf.int32) if values.dtype == tf.int64 else values
        for name, values in features.items()
    }
