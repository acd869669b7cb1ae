"""Words -> features: `[CLS] window of a sentence or document [SEP]`, tagged at the first WordPiece of each word (Devlin
et al. 2019, section 5.3).

What is longer than a window is cut into windows that overlap by half. Each word counts, in training as in prediction,
in the one of them that shows the most context on both sides of it, so that none is lost and none counts twice.

Shapes: S sequence, n tokens of a feature, w words that count in it, W words of a file.
"""

from collections.abc import Iterator
from itertools import accumulate, groupby
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from finetuning.length_records import Row
from finetuning.tagging_files import TagFile
from finetuning.windows import Windows
from tokenization import FullTokenizer


class Feature(NamedTuple):
    """One window.

    Attributes:
      input_ids: int32 [n]. `[CLS] pieces [SEP]`.
      positions: int64 [w]. Where in it the first pieces of the words are that count here, at least one.
      words: int64 [w]. The numbers of these words in the file.
    """

    input_ids: np.ndarray
    positions: np.ndarray
    words: np.ndarray


def encode_file(
    file: TagFile, tokenizer: FullTokenizer, max_seq_length: int, by_document: bool
) -> list[Feature]:
    """Returns the windows of a file in order; what was cut and what has no pieces is in the log.

    Args:
      file: W words in all.
      tokenizer: of the model's vocabulary.
      max_seq_length: most tokens of a window, at least 3.
      by_document: windows go over the ends of sentences, and end with the document.

    Raises:
      ValueError: the vocabulary lacks a token that every input needs, or the documents are not marked.
    """
    tokenizer.check_special_tokens()
    if by_document and not file.num_documents:
        raise ValueError(
            f"{file.path} marks no documents, by -DOCSTART- or # newdoc: leave out --document_context"
        )
    unknown = (tokenizer.vocab["[UNK]"],)
    features, num_words, num_empty, num_cut = [], 0, 0, 0
    for words in _units(file, by_document):
        pieces = tokenizer.encode_words(words, " ".join(words))
        num_empty += pieces.count(())
        # A word may be nothing but characters that the tokenizer drops; it still needs a piece to bear a tag.
        made = _windows([ids or unknown for ids in pieces], num_words, tokenizer, max_seq_length)
        features += made
        num_cut += len(made) > 1
        num_words += len(words)
    logging.info(
        "%s: %d words in %d windows; %d %s are cut into several, %d words without a piece stand there as [UNK]",
        file.path,
        num_words,
        len(features),
        num_cut,
        "documents" if by_document else "sentences",
        num_empty,
    )
    return features


def _units(file: TagFile, by_document: bool) -> Iterator[list[str]]:
    """Yields the words of each sentence, or document."""
    if not by_document:
        yield from (sentence.words for sentence in file.sentences)
        return
    for _, sentences in groupby(file.sentences, key=lambda sentence: sentence.document):
        yield [word for sentence in sentences for word in sentence.words]


def _windows(
    pieces: list[tuple[int, ...]], first_word: int, tokenizer: FullTokenizer, max_seq_length: int
) -> list[Feature]:
    ids = np.concatenate([np.array(word, np.int32) for word in pieces])
    starts = np.array([*accumulate(map(len, pieces[:-1]), initial=0)])  # first piece of each word
    room = max_seq_length - 2
    windows = Windows(len(ids), room, max(1, room // 2))
    special = tokenizer.vocab["[CLS]"], tokenizer.vocab["[SEP]"]
    features = []
    for index in range(windows.count):
        begin, end = windows.bounds(index)
        inside = np.flatnonzero((begin <= starts) & (starts < end))
        words = inside[windows.max_context(index)[starts[inside] - begin]]
        if len(words):
            input_ids = np.pad(ids[begin:end], 1, constant_values=special)
            features.append(Feature(input_ids, 1 + starts[words] - begin, first_word + words))
    return features


def feature_spec(length: int) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the schema of a record of S = `length` tokens, padded with zeros.

    unique_ids: int64 []. Number of the window in its file, from 1; 0 for what only fills up a batch.
    input_ids, input_mask, segment_ids: int64 [S]. `[CLS] window [SEP]`; 1 for tokens; all 0.
    label_ids: int64 [S]. The tag of a word at its first piece.
    label_mask: int64 [S]. 1 where a word counts.
    """
    names = ("input_ids", "input_mask", "segment_ids", "label_ids", "label_mask")
    tokens = tf.io.FixedLenFeature([length], tf.int64)
    return {"unique_ids": tf.io.FixedLenFeature([], tf.int64)} | dict.fromkeys(names, tokens)


def feature_rows(features: list[Feature], tag_ids: np.ndarray) -> Iterator[Row]:
    """Yields the features of `feature_spec`.

    Args:
      features: of a file.
      tag_ids: int [W]. The tag of each word; negative ones are written as 0.
    """
    for number, feature in enumerate(features, 1):
        label_ids, label_mask = np.zeros([2, len(feature.input_ids)], np.int32)
        label_ids[feature.positions] = np.maximum(0, tag_ids[feature.words])
        label_mask[feature.positions] = 1
        yield {
            "unique_ids": np.int32(number),
            "input_ids": feature.input_ids,
            "input_mask": np.ones_like(feature.input_ids),
            "segment_ids": np.zeros_like(feature.input_ids),
            "label_ids": label_ids,
            "label_mask": label_mask,
        }
