"""The pre-training record: its schema, stated once for the writer and the reader, and its files.

The features, their types and their lengths are those of the original's TFRecord files.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import tensorflow as tf
from google.protobuf.message import DecodeError

from pretraining.original_instances import Instance
from training.record_files import ScannedFile, bad_records_named, records_reader

NO_LABEL = -1  # of a sequence without the next sentence task; the original's loss of it is 0, too


def feature_spec(
    max_seq_length: int, max_predictions_per_seq: int, masked: bool = True, num_slots: int = 0
) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the schema of a record of S tokens and P predictions, both padded with zeros.

    input_ids: int64 [S]. `[CLS] A [SEP] B [SEP]`, chosen tokens replaced.
    input_mask: int64 [S]. 1 for tokens, 0 for padding.
    segment_ids: int64 [S]. 0 for `[CLS] A [SEP]`, 1 for `B [SEP]`.
    masked_lm_positions: int64 [P]. Positions to predict, ascending.
    masked_lm_ids: int64 [P]. The tokens that stood there.
    masked_lm_weights: float32 [P]. 1 for predictions, 0 for padding.
    next_sentence_labels: int64 [1]. 1 if B is random (sentence order: if it comes before A), 0 if it follows A, -1 if
      that is not asked.

    Args:
      max_seq_length: S.
      max_predictions_per_seq: P.
      masked: whether there are masks; without them, tokens are as they were and there is no `masked_lm_*`.
      num_slots: K, sequences that a row has room for. Unless it is 0 there is one more feature, and the next sentence
        labels are int64 [K], -1 in empty slots:
        sequence_starts: int64 [K]. Position of the [CLS] of each sequence in the row; S for empty slots.
    """

    def feature(size, dtype=tf.int64):
        return tf.io.FixedLenFeature([size], dtype)

    spec = {name: feature(max_seq_length) for name in ("input_ids", "input_mask", "segment_ids")}
    if masked:
        spec["masked_lm_positions"] = spec["masked_lm_ids"] = feature(max_predictions_per_seq)
        spec["masked_lm_weights"] = feature(max_predictions_per_seq, tf.float32)
    spec["next_sentence_labels"] = feature(num_slots or 1)
    if num_slots:
        spec["sequence_starts"] = feature(num_slots)
    return spec


def to_example(instance: Instance, spec: Mapping[str, tf.io.FixedLenFeature]) -> tf.train.Example:
    """Encodes an instance, padded with zeros to the lengths of the schema.

    Args:
      instance: what to encode.
      spec: `feature_spec` of lengths that the instance fits in.
    """
    length = len(instance.input_ids)
    values = {
        "input_ids": instance.input_ids,
        "input_mask": [1] * length,
        "segment_ids": [0] * instance.b_start + [1] * (length - instance.b_start),
        "masked_lm_positions": instance.masked_lm_positions,
        "masked_lm_ids": instance.masked_lm_ids,
        "masked_lm_weights": [1.0] * len(instance.masked_lm_ids),
        "next_sentence_labels": [int(instance.is_random_next)],
    }
    example = tf.train.Example()
    features = example.features.feature
    for name, schema in spec.items():
        padding = [0] * (schema.shape[0] - len(values[name]))
        # Extending in place takes half the time of building a Feature and adding it.
        _values(features[name], schema).extend(values[name] + padding)
    return example


def _values(feature: tf.train.Feature, schema: tf.io.FixedLenFeature):
    return (feature.float_list if schema.dtype == tf.float32 else feature.int64_list).value


@contextlib.contextmanager
def record_writer(
    paths: Sequence[str], max_seq_length: int, max_predictions_per_seq: int
) -> Iterator[Callable[[Instance], None]]:
    """Gives a function that writes instances to the files in turn; they appear when all are whole.

    Until then their names end in `.tmp`. When the body of the `with` block raises, these are removed
    and what had the final names before stays as it was.

    Raises:
      OSError: a file cannot be created or written.
    """
    spec = feature_spec(max_seq_length, max_predictions_per_seq)
    temporary = [f"{path}.tmp" for path in paths]
    try:
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(tf.io.TFRecordWriter(path)) for path in temporary]
            turns = itertools.cycle(writers)
            yield lambda instance: next(turns).write(to_example(instance, spec).SerializeToString())
        for unfinished, path in zip(temporary, paths, strict=True):
            tf.io.gfile.rename(unfinished, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"the records cannot be written: {error.message}") from error
    finally:
        for unfinished in filter(tf.io.gfile.exists, temporary):
            tf.io.gfile.remove(unfinished)


def schema_of(
    files: Sequence[ScannedFile], max_seq_length: int, max_predictions_per_seq: int
) -> dict[str, tf.io.FixedLenFeature]:
    """Returns `feature_spec` of records with masks or without, packed or not, as the first of them is.

    Raises:
      ValueError: this record is damaged, or something else.
    """
    first = _first_features(files, 0)
    slots = _int64s(first, "sequence_starts")
    return feature_spec(
        max_seq_length, max_predictions_per_seq, "masked_lm_ids" in first, len(slots)
    )


def asks_next_sentence(files: Sequence[ScannedFile]) -> bool:
    """Returns whether there is a next sentence label in the first record; the others of a builder are like it."""
    labels = _int64s(_first_features(files, 0), "next_sentence_labels")
    return any(label != NO_LABEL for label in labels)


def check_first_records(
    files: Sequence[ScannedFile],
    spec: Mapping[str, tf.io.FixedLenFeature],
    vocab_size: int,
    flag_prefix: str = "",
) -> None:
    """Compares the first record of each file with the flags and the model that will read them.

    Args:
      files: of `scan_files`.
      spec: `schema_of` these files, of the values of the flags --max_seq_length and --max_predictions_per_seq.
      vocab_size: rows of the model's word embedding.
      flag_prefix: what the names of these two flags begin with.

    Raises:
      ValueError: the record is damaged, or something else than a record of this schema, or has other lengths, or
        token ids beyond the vocabulary. The message says which and what to change.
    """
    for index, file in enumerate(files):
        features = _first_features(files, index)
        _check_names(file.path, features, spec)
        values = {name: _values(features[name], schema) for name, schema in spec.items()}
        _check_lengths(file.path, values, spec, flag_prefix)
        ids = ("input_ids", "masked_lm_ids")
        _check_range(file.path, values, ids, 0, vocab_size, "vocab_size")
        length = spec["input_ids"].shape[0]
        _check_range(file.path, values, ("masked_lm_positions",), 0, length, "max_seq_length")
        _check_range(file.path, values, ("sequence_starts",), 0, length + 1, "end of the row")
        _check_range(file.path, values, ("next_sentence_labels",), NO_LABEL, 2, "number of labels")


def _check_names(path: str, features: Mapping, spec: Mapping) -> None:
    missing = [name for name in spec if name not in features]
    kinds = [
        name
        for name in ("masked_lm_ids", "sequence_starts")
        if (name in features) != (name in spec)
    ]
    if kinds and "input_ids" in features:
        raise ValueError(
            f"records in {path} differ from the first of the others: only one kind has {' and '.join(kinds)}; "
            "give files that were created with the same flags"
        )
    if missing:
        raise ValueError(
            f"records in {path} lack {', '.join(missing)}: they are not from "
            "create_pretraining_data.py"
        )


def _check_lengths(path: str, values: Mapping, spec: Mapping, flag_prefix: str) -> None:
    for name, flag in (
        ("input_ids", "max_seq_length"),
        ("masked_lm_ids", "max_predictions_per_seq"),
    ):
        if name in spec and len(values[name]) != spec[name].shape[0]:
            raise ValueError(
                f"records in {path} have {flag} {len(values[name])} but "
                f"--{flag_prefix}{flag}={spec[name].shape[0]}: use the value that the records were created with"
            )
    for name, schema in spec.items():
        if len(values[name]) != schema.shape[0]:
            raise ValueError(
                f"records in {path} have {len(values[name])} values of {name!r}, "
                f"not {schema.shape[0]}: create them again"
            )


def _check_range(
    path: str, values: Mapping, names: Iterable[str], low: int, limit: int, meaning: str
) -> None:
    for name in names:
        outside = [value for value in values.get(name, ()) if not low <= value < limit]
        if outside:
            raise ValueError(
                f"records in {path} hold {max(outside, key=abs)} in {name!r}, outside {low} to "
                f"{limit - 1} ({meaning} is {limit}): they were made for another vocabulary or model"
            )


def _first_features(files: Sequence[ScannedFile], index: int) -> Mapping[str, tf.train.Feature]:
    """Returns the features of the first record of one of the files, by name."""
    with bad_records_named([files[index]], feature_spec(0, 0)):
        read = records_reader(files)(tf.constant(index))
        (record,) = read.take(1).as_numpy_iterator()
    try:
        return tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError(
            f"the records in {files[index].path} are not of the type tf.train.Example"
        ) from error


def _int64s(features: Mapping[str, tf.train.Feature], name: str) -> Sequence[int]:
    return features[name].int64_list.value if name in features else ()
