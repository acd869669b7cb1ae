"""The flags that say what SQuAD's data are and how a context is cut, and what is read by them."""

from collections.abc import Iterator
from itertools import chain

from absl import flags

from finetuning.squad_examples import Paragraph, read_paragraphs
from finetuning.squad_features import EncodedQuestion, encode_questions
from finetuning.squad_records import RecordSet, check_not_empty, prepare_records
from tokenization import FullTokenizer
from tokenization.files import match_files
from training.buckets import count_by_length
from training.data_flags import define_length_buckets, length_buckets

FLAGS = flags.FLAGS


def define_squad_flags() -> None:
    """Defines the flags: names and defaults of the original, then what it did not have."""
    flags.DEFINE_string("train_file", None, "SQuAD's JSON to train on: a comma list of globs.")
    flags.DEFINE_string("predict_file", None, "SQuAD's JSON to answer: a comma list of globs.")
    flags.DEFINE_integer(
        "doc_stride", 128, "WordPieces from the start of a window to that of the next."
    )
    flags.DEFINE_integer("max_query_length", 64, "WordPieces of a question that are used.", 1)
    flags.DEFINE_bool("version_2_with_negative", False, "SQuAD 2.0: there may be no answer.")
    flags.DEFINE_bool(
        "skip_bad_answers",
        True,
        "Leave out, and name, training questions whose answer is not at its answer_start; false: stop there.",
    )
    define_length_buckets(
        " Padding then takes no part in softmax and n-best lists, where the original includes it."
    )


def window_flags() -> dict[str, int]:
    """Returns the flags that decide how a context is cut."""
    return {
        name: FLAGS[name].value for name in ("max_seq_length", "doc_stride", "max_query_length")
    }


def read_file(split: str) -> Iterator[Paragraph]:
    """Yields the paragraphs of train_file or predict_file; the split is "train" or "predict"."""
    return read_paragraphs(
        _files(split),
        for_training=split == "train",
        version_2_with_negative=FLAGS.version_2_with_negative,
    )


def read_questions(split: str, tokenizer: FullTokenizer) -> Iterator[EncodedQuestion]:
    """Yields the questions of a split with their features, but for those that are left out."""
    return encode_questions(
        read_file(split),
        tokenizer,
        for_training=split == "train",
        bad_answers=[] if FLAGS.skip_bad_answers else None,
        **window_flags(),
    )


def count_questions(split: str, tokenizer: FullTokenizer) -> int:
    """Returns the number of `read_questions`."""
    return sum(1 for _ in read_questions(split, tokenizer))


def count_lengths(tokenizer: FullTokenizer) -> tuple[int, dict[int, int]]:
    """Returns the number of questions to train on, and that of their features of each static length.

    Raises:
      ValueError: there is no feature.
    """
    questions = [
        [feature.num_tokens for feature in encoded.features]
        for encoded in read_questions("train", tokenizer)
    ]
    num_tokens = [*chain.from_iterable(questions)]
    check_not_empty(num_tokens)
    return len(questions), count_by_length(num_tokens, length_buckets(num_tokens, "train"))


def prepare(output_dir: str, split: str, tokenizer: FullTokenizer) -> RecordSet:
    """Writes the records of a split into output_dir, unless they are there."""
    return prepare_records(
        output_dir,
        {"train": "train", "predict": "eval"}[split],
        _files(split),
        tokenizer,
        FLAGS.vocab_file,
        lengths=_static_lengths(split, tokenizer),
        for_training=split == "train",
        version_2_with_negative=FLAGS.version_2_with_negative,
        skip_bad_answers=FLAGS.skip_bad_answers,
        **window_flags(),
    )


def _static_lengths(split, tokenizer) -> list[int]:
    """To choose lengths, the questions are encoded once more."""
    questions = read_questions(split, tokenizer) if FLAGS.length_buckets == "auto" else ()
    num_tokens = [feature.num_tokens for encoded in questions for feature in encoded.features]
    return length_buckets(num_tokens or [FLAGS.max_seq_length], split)


def _files(split) -> list[str]:
    return match_files(FLAGS[f"{split}_file"].value, f"{split}_file")
