"""SQuAD's features -> TFRecord files, by length if asked for, kept for the next run with the same data and flags."""

import os
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import accumulate
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from finetuning.squad_examples import read_paragraphs
from finetuning.squad_features import EncodedQuestion, Feature, encode_questions
from tokenization import FullTokenizer
from training.record_cache import (
    Manifest,
    RecordFile,
    content_hash,
    differences,
    install,
    read_manifest,
)
from training.records import Varints, serialize_int64, varint

FORMAT = 1  # count up when other records are made of the same data
_IDS_PER_LINE = 8


class RecordSet(NamedTuple):
    """The records of a split."""

    files: dict[
        int, str
    ]  # static length -> TFRecord file, ascending; lengths without a feature are absent
    counts: dict[int, int]  # static length -> number of features
    num_examples: int  # questions, those left out not counted
    num_tokens: int  # in all features, padding not counted


def feature_spec(length: int, for_training: bool) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the schema of a record of S = `length` tokens, padded with zeros; that of the original.

    unique_ids: int64 []. `Feature.unique_id`.
    input_ids: int64 [S]. `[CLS] question [SEP] window [SEP]`.
    input_mask: int64 [S]. 1 for tokens, 0 for padding.
    segment_ids: int64 [S]. 0 for `[CLS] question [SEP]`, 1 for `window [SEP]`.

    And for training:

    start_positions, end_positions: int64 []. First and last token of the answer; 0 if it is not in the window.
    is_impossible: int64 []. 1 for a question without answer.
    """
    tokens = tf.io.FixedLenFeature([length], tf.int64)
    scalar = tf.io.FixedLenFeature([], tf.int64)
    spec = {
        "unique_ids": scalar,
        "input_ids": tokens,
        "input_mask": tokens,
        "segment_ids": tokens,
    }
    if for_training:
        spec |= {"start_positions": scalar, "end_positions": scalar, "is_impossible": scalar}
    return spec


def prepare_records(
    output_dir: str,
    split: str,
    files: Sequence[str],
    tokenizer: FullTokenizer,
    vocab_file: str,
    *,
    lengths: Sequence[int],
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
    for_training: bool,
    version_2_with_negative: bool,
    skip_bad_answers: bool,
) -> RecordSet:
    """Writes `<split>.tf_record`, or one `<split>.<length>.tf_record` a length, unless that was done already.

    It was if `<split>.tf_record.json`, which is written last, says that data and vocabulary had the same content and
    the flags the same values. What happened is in the log.

    Args:
      output_dir: folder, which exists.
      split: "train" or "eval".
      files: SQuAD files.
      tokenizer: of the vocabulary in `vocab_file`.
      vocab_file: only its content is looked at.
      lengths: static lengths of the records, ascending to `max_seq_length`; a feature goes to the least that it fits.
      max_seq_length, doc_stride, max_query_length, for_training: see `encode_questions`.
      version_2_with_negative: see `read_paragraphs`.
      skip_bad_answers: leave questions out of training whose answer is not at its place; otherwise the first such
        question is an error.

    Raises:
      OSError: a file cannot be read or written.
      ValueError: see `read_paragraphs` and `encode_questions`; or there is nothing to train on.
    """
    encoding = {
        "max_seq_length": max_seq_length,
        "doc_stride": doc_stride,
        "max_query_length": max_query_length,
        "for_training": for_training,
    }
    reading = {"for_training": for_training, "version_2_with_negative": version_2_with_negative}
    settings = {
        "format": FORMAT,
        "unicode": unicodedata.unidata_version,  # the tokenizer's rules ask it
        "do_lower_case": tokenizer.basic_tokenizer.do_lower_case,
        "length_buckets": list(lengths),
        "skip_bad_answers": skip_bad_answers,
        **encoding,
        **reading,
    }
    new = Manifest(_contents(files, vocab_file), settings, [], {})
    old = read_manifest(output_dir, split)
    if old and not differences(new, old, output_dir):
        _report_reuse(split, old)
        return _record_set(output_dir, old)
    if old:
        reasons = "; ".join(differences(new, old, output_dir))
        logging.info("%s.tf_record is made again: %s", split, reasons)
    bad_answers = [] if skip_bad_answers else None
    paragraphs = read_paragraphs(files, **reading)
    questions = encode_questions(paragraphs, tokenizer, **encoding, bad_answers=bad_answers)
    new = _make_records(output_dir, split, questions, new, old, bad_answers)
    return _record_set(output_dir, new)


def check_not_empty(features: Collection) -> None:
    """Raises ValueError if a training set has no feature."""
    if not features:
        raise ValueError("--train_file has nothing to train on: no question of it has a feature")


def _contents(files: Sequence[str], vocab_file: str) -> dict[str, list[str]]:
    return {
        "data": [content_hash(path) for path in files],
        "vocabulary": [content_hash(vocab_file)],
    }


def _make_records(
    output_dir: str,
    split: str,
    questions: Iterable[EncodedQuestion],
    new: Manifest,
    old: Manifest | None,
    bad_answers: list[str] | None,
) -> Manifest:
    """Writes the files of the split, which take the place of the old ones when they are whole."""
    names = _names(split, new.settings["length_buckets"])
    temporary = {length: os.path.join(output_dir, f"{name}.tmp") for length, name in names.items()}
    try:
        written = _write(questions, temporary, new.settings["for_training"])
        left_out = bad_answers or []
        _report(split, written, left_out, new.settings["max_seq_length"])
        if new.settings["for_training"]:
            check_not_empty(written.counts)
        new = new._replace(
            files=[
                RecordFile(length, names[length], tf.io.gfile.stat(path).length, count)
                for length, path in temporary.items()
                if (count := written.counts.get(length))
            ],
            totals={
                "num_examples": written.num_examples,
                "num_tokens": written.num_tokens,
                "num_left_out": len(left_out),
            },
        )
        install(output_dir, split, new, old)
        return new
    except tf.errors.OpError as error:
        raise OSError(f"{output_dir}: the records cannot be written: {error.message}") from error
    finally:
        for path in filter(tf.io.gfile.exists, temporary.values()):
            tf.io.gfile.remove(path)


def _record_set(output_dir: str, manifest: Manifest) -> RecordSet:
    return RecordSet(
        {file.length: os.path.join(output_dir, file.name) for file in manifest.files},
        {file.length: file.records for file in manifest.files},
        manifest.totals["num_examples"],
        manifest.totals["num_tokens"],
    )


def _names(split: str, lengths: Sequence[int]) -> dict[int, str]:
    if len(lengths) == 1:
        return {lengths[0]: f"{split}.tf_record"}
    return {length: f"{split}.{length}.tf_record" for length in lengths}


class _Serializer:
    """Features -> bytes of records."""

    def __init__(self, for_training: bool):
        self._for_training = for_training
        self._varints = Varints()
        self._document = None

    def serialize(self, feature: Feature, length: int) -> bytes:
        """Returns the record of `feature_spec(length, for_training)`."""
        num_tokens, query_tokens = feature.num_tokens, len(feature.query)
        padding, varints = bytes(length - num_tokens), self._varints
        values = {
            "unique_ids": varint(feature.unique_id),
            "input_ids": self._input_ids(feature) + padding,
            "input_mask": b"\1" * num_tokens + padding,
            "segment_ids": bytes(query_tokens) + b"\1" * (num_tokens - query_tokens) + padding,
        }
        if self._for_training:
            values["start_positions"] = varints[feature.start_position]
            values["end_positions"] = varints[feature.end_position]
            values["is_impossible"] = varints[feature.is_impossible]
        return serialize_int64(values)

    def _input_ids(self, feature: Feature) -> bytes:
        """Keeps the bytes of a document, because all of its features come one after the other."""
        encode = self._varints.__getitem__
        if feature.document is not self._document:
            pieces = [*map(encode, feature.document.ids)]
            self._document = feature.document
            self._offsets = [*accumulate(map(len, pieces), initial=0)]
            self._bytes = b"".join(pieces)
        start, end = map(self._offsets.__getitem__, feature.window)
        query = b"".join(map(encode, feature.query))
        return query + self._bytes[start:end] + encode(feature.query[-1])


class _Written(NamedTuple):
    counts: dict[int, int]  # static length -> features
    num_examples: int
    num_empty: int  # questions without a feature
    num_tokens: int


def _write(
    questions: Iterable[EncodedQuestion], paths: Mapping[int, str], for_training: bool
) -> _Written:
    """Writes each feature to the path of the least length that it fits in."""
    lengths, serializer = list(paths), _Serializer(for_training)
    counts, writers = Counter(), {}
    num_examples = num_empty = num_tokens = 0
    with ExitStack() as stack:
        for encoded in questions:
            num_examples += 1
            num_empty += not encoded.features
            for feature in encoded.features:
                length = lengths[bisect_left(lengths, feature.num_tokens)]
                if length not in writers:
                    writer = tf.io.TFRecordWriter(paths[length])
                    writers[length] = stack.enter_context(writer)
                writers[length].write(serializer.serialize(feature, length))
                counts[length] += 1
                num_tokens += feature.num_tokens
    return _Written(counts, num_examples, num_empty, num_tokens)


def _report_reuse(split: str, manifest: Manifest) -> None:
    logging.info(
        "%s.tf_record is there for the same data, vocabulary and flags, and reused: %d questions, %d features; %d "
        "other questions were left out because their answer is not at its answer_start",
        split,
        manifest.totals["num_examples"],
        sum(file.records for file in manifest.files),
        manifest.totals["num_left_out"],
    )


def _report(split: str, written: _Written, bad_answers: list[str], max_seq_length: int) -> None:
    logging.info(
        "%s.tf_record: %d questions, %d features, %s; %d questions have none because their context has no words, "
        "%d others are left out because their answer is not at its answer_start",
        split,
        written.num_examples,
        sum(written.counts.values()),
        _padding(written, max_seq_length),
        written.num_empty,
        len(bad_answers),
    )
    for start in range(0, len(bad_answers), _IDS_PER_LINE):
        ids = bad_answers[start : start + _IDS_PER_LINE]
        logging.warning("%s.tf_record: left out: %s", split, " ".join(ids))


def _padding(written: _Written, max_seq_length: int) -> str:
    """Says which share of the positions is padding, and which it would be with one length."""
    positions = sum(length * count for length, count in written.counts.items())
    if not positions:
        return "no padding"
    share = f"{1 - written.num_tokens / positions:.1%} of the positions are padding"
    if set(written.counts) == {max_seq_length}:
        return share
    most = max_seq_length * sum(written.counts.values())
    return f"{share} instead of {1 - written.num_tokens / most:.1%}"
