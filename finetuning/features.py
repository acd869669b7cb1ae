"""Examples -> features: `[CLS] A [SEP] B [SEP]`, padded (Devlin et al. 2019, figure 2; `run_classifier.py` of old).

Shapes: N examples, S sequence, C labels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from finetuning.length_records import LengthRecords, log_padding, record_paths
from finetuning.long_texts import HEAD, WINDOWS, cut
from finetuning.tasks import MULTI, REGRESSION, SINGLE, Example
from tokenization import FullTokenizer

_TOKENS = ("input_ids", "input_mask", "segment_ids")
_COLUMN_TYPES = {tf.int64: np.int32, tf.float32: np.float32}


def feature_spec(
    max_seq_length: int, kind: str = SINGLE, num_labels: int = 0
) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the schema of a record of S tokens, padded with zeros.

    Args:
      max_seq_length: S.
      kind: of the task, one of `tasks.KINDS`.
      num_labels: C, which only a task with any number of labels needs.

    input_ids: int64 [S]. `[CLS] A [SEP]`, and `B [SEP]` for a pair.
    input_mask: int64 [S]. 1 for tokens, 0 for padding.
    segment_ids: int64 [S]. 0 for `[CLS] A [SEP]`, 1 for `B [SEP]`.
    label_ids: int64 []. The place of the label in the task's list; with any number of labels int64 [C], 1 for those
      that apply; for a regression float32 [], the number.
    is_real_example: int64 []. 0 for what only fills up a batch, and weighs nothing.
    """
    tokens = tf.io.FixedLenFeature([max_seq_length], tf.int64)
    scalar = tf.io.FixedLenFeature([], tf.int64)
    labels = {
        SINGLE: scalar,
        MULTI: tf.io.FixedLenFeature([num_labels], tf.int64),
        REGRESSION: tf.io.FixedLenFeature([], tf.float32),
    }
    return dict.fromkeys(_TOKENS, tokens) | {"label_ids": labels[kind], "is_real_example": scalar}


def encode_examples(
    examples: Sequence[Example],
    labels: Sequence[str],
    max_seq_length: int,
    tokenizer: FullTokenizer,
    kind: str = SINGLE,
    truncation: str = HEAD,
) -> dict[str, np.ndarray]:
    """Tokenizes, truncates and pads; says in the log how many examples were truncated or hold no token.

    Args:
      examples: N of them, with labels from `labels`.
      labels: of the task, in the order of their ids.
      max_seq_length: S, at least 3.
      tokenizer: of the model's vocabulary.
      kind: of the task, one of `tasks.KINDS`.
      truncation: see `long_texts.cut`. With windows there is a row for each, and N is the number of rows.

    Returns:
      The features of `feature_spec` as columns: int32 [N, S], and [N] for the scalars, int32 or float32.

    Raises:
      ValueError: the vocabulary lacks a token that every input needs.
    """
    spec = feature_spec(max_seq_length, kind, len(labels))
    owners = row_owners(examples, max_seq_length, tokenizer, truncation)
    features = {
        name: np.zeros([len(owners), *schema.shape], _COLUMN_TYPES[schema.dtype])
        for name, schema in spec.items()
    }
    features["is_real_example"][:] = 1
    features["label_ids"][:] = [_label_ids(examples[owner].label, labels, kind) for owner in owners]
    rows = iter(range(len(owners)))
    truncated = empty = 0
    for texts in _token_ids(examples, tokenizer):
        room = truncated_lengths(*map(len, texts), max_seq_length)
        truncated += room != (len(texts[0]), len(texts[1]))
        empty += not any(texts)
        for ids_a, ids_b in cut(texts, room, truncation):
            _fill(features, next(rows), ids_a, ids_b, tokenizer.vocab)
    logging.info(
        "%d examples, %d of them truncated to --max_seq_length=%d, %d without any token",
        len(examples),
        truncated,
        max_seq_length,
        empty,
    )
    if truncation == WINDOWS:
        logging.info("nothing of what is too long is left out: they are %d windows", len(owners))
    return features


def row_owners(
    examples: Sequence[Example], max_seq_length: int, tokenizer: FullTokenizer, truncation: str
) -> np.ndarray:
    """Returns which example each row of its features is of, int [rows]; arguments as of `encode_examples`."""
    if truncation != WINDOWS:
        return np.arange(len(examples))
    counts = []
    for texts in _token_ids(examples, tokenizer):
        room = truncated_lengths(*map(len, texts), max_seq_length)
        counts.append(sum(1 for _ in cut(texts, room, truncation)))
    return np.repeat(np.arange(len(examples)), counts)


def _label_ids(label, labels: Sequence[str], kind: str) -> int | float | list[bool]:
    if kind == MULTI:
        return [name in label for name in labels]
    return label if kind == REGRESSION else labels.index(label)


def _token_ids(
    examples: Sequence[Example], tokenizer: FullTokenizer
) -> Iterator[tuple[list[int], list[int]]]:
    """Yields the ids of both texts of every example; none for a text that is not there."""
    tokenizer.check_special_tokens()
    for example in examples:
        yield tokenizer.encode(example.text_a), tokenizer.encode(example.text_b or "")


def _fill(features: dict[str, np.ndarray], row: int, ids_a, ids_b, vocab: dict[str, int]) -> None:
    ids = [vocab["[CLS]"], *ids_a, vocab["[SEP]"]]
    b_start = len(ids)
    if ids_b:
        ids += [*ids_b, vocab["[SEP]"]]
    features["input_ids"][row, : len(ids)] = ids
    features["input_mask"][row, : len(ids)] = 1
    features["segment_ids"][row, b_start : len(ids)] = 1


def truncated_lengths(length_a: int, length_b: int, max_seq_length: int) -> tuple[int, int]:
    """Returns how many leading tokens of each text stay, so that they fit in with [CLS] and [SEP].

    In closed form what the original does one token at a time: while a pair is too long its longer text loses the last
    token, B if they are equally long.

    Args:
      length_a: tokens of the first text.
      length_b: tokens of the second text, 0 if there is none: then one [SEP] less is needed.
      max_seq_length: at least 3.
    """
    room = max_seq_length - (3 if length_b else 2)
    kept_b = min(length_b, max(room // 2, room - length_a))
    return min(length_a, room - kept_b), kept_b


def write_split(
    output_dir: str, split: str, features: dict[str, np.ndarray], lengths: Sequence[int]
) -> tuple[LengthRecords, np.ndarray]:
    """Writes the records of a split, each cut to the least static length that its tokens fit in.

    Args:
      output_dir: folder, which exists.
      split: what the names of the files begin with, see `length_records.record_paths`.
      features: as from `encode_examples`, N of them.
      lengths: ascending, the last is S.

    Returns:
      The files; and int [N], which example each record is, those of the shortest file first.

    Raises:
      OSError: a file cannot be written.
    """
    num_tokens = features["input_mask"].sum(axis=1)
    buckets = np.searchsorted(lengths, num_tokens)
    paths, records = record_paths(output_dir, split, lengths), LengthRecords({}, {})
    for bucket in np.unique(buckets):
        length, chosen = lengths[bucket], buckets == bucket
        rows = {name: values[chosen] for name, values in features.items()}
        write_records(paths[length], rows | {name: rows[name][:, :length] for name in _TOKENS})
        records.files[length], records.counts[length] = paths[length], int(chosen.sum())
    log_padding(split, records.counts, num_tokens.sum())
    return records, np.argsort(buckets, kind="stable")


def write_records(path: str, features: dict[str, np.ndarray]) -> None:
    """Writes one record an example; the file appears when it is whole, and until then its name ends in `.tmp`.

    Args:
      path: of the TFRecord file; replaced if it exists.
      features: as from `encode_examples`.

    Raises:
      OSError: the file cannot be written.
    """
    temporary = f"{path}.tmp"
    try:
        with tf.io.TFRecordWriter(temporary) as writer:
            for row in zip(*features.values(), strict=True):
                writer.write(_serialized(dict(zip(features, row, strict=True))))
        tf.io.gfile.rename(temporary, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be written: {error.message}") from error
    finally:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)


def _serialized(values: dict[str, np.ndarray]) -> bytes:
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        kept = feature.float_list if value.dtype == np.float32 else feature.int64_list
        kept.value.extend(value.ravel().tolist())
    return example.SerializeToString()
