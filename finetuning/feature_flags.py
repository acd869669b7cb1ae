"""From examples to records as the flags say: how long they are, and what of a long text stays."""

import numpy as np
from absl import flags

from finetuning.features import encode_examples, row_owners, write_split
from finetuning.length_records import LengthRecords
from finetuning.long_texts import TRUNCATIONS
from finetuning.tasks import Example, Task
from tokenization import FullTokenizer
from training.buckets import count_by_length
from training.data_flags import define_length_buckets, length_buckets

FLAGS = flags.FLAGS


def define_feature_flags() -> None:
    """Defines the flags."""
    define_length_buckets()
    flags.DEFINE_enum(
        "truncation",
        "head",
        TRUNCATIONS,
        "What of texts stays that are too long: the beginning; a quarter from the beginning and the rest from the "
        "end; or all in windows that overlap by half: each is trained on, and an answer is their mean.",
    )


def encode(examples: list[Example], task: Task, tokenizer: FullTokenizer) -> dict[str, np.ndarray]:
    """Returns the features of examples."""
    options = (FLAGS.max_seq_length, tokenizer, task.kind, FLAGS.truncation)
    return encode_examples(examples, task.labels, *options)


def owners_of(examples: list[Example], tokenizer: FullTokenizer) -> np.ndarray:
    """Returns the example of each row of features, of which windows make several."""
    return row_owners(examples, FLAGS.max_seq_length, tokenizer, FLAGS.truncation)


def write_features(
    output_dir: str, split: str, examples: list[Example], task: Task, tokenizer
) -> tuple[LengthRecords, np.ndarray]:
    """Writes the records of a split and returns them, with the example of each."""
    features = encode(examples, task, tokenizer)
    lengths = length_buckets(features["input_mask"].sum(axis=1), split)
    records, rows = write_split(output_dir, split, features, lengths)
    return records, owners_of(examples, tokenizer)[rows]


def count_lengths(examples: list[Example], task: Task, tokenizer) -> dict[int, int]:
    """Returns the number of records of each static length; without buckets and windows nothing is tokenized for it."""
    if not FLAGS.length_buckets:
        return {FLAGS.max_seq_length: len(owners_of(examples, tokenizer))}
    num_tokens = encode(examples, task, tokenizer)["input_mask"].sum(axis=1)
    return count_by_length(num_tokens, length_buckets(num_tokens, "train"))
