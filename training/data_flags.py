"""Flags of the scripts that the original did not have: their files, what is done with them, and static lengths."""

from collections.abc import Sequence

from absl import flags

from modeling.config import BertConfig
from tokenization import FullTokenizer, validate_case_matches_checkpoint
from training.buckets import choose_lengths, parse_length_buckets

FLAGS = flags.FLAGS

# Of each length that is chosen, so that rounding to whole batches does not matter much.
MIN_BATCHES = 4
# split -> the flag that asks for it, the flag with its file.
_SPLITS = {
    "train": ("do_train", "train_file"),
    "eval": ("do_eval", "dev_file"),
    "predict": ("do_predict", "test_file"),
}


def define_data_flags(content: str, predictions: str, sequences: str) -> None:
    """Defines them; the arguments say in their help what the files hold, what is written, and what a batch is of."""
    flags.DEFINE_string("train_file", None, f"File to train on: {content}.")
    flags.DEFINE_string("dev_file", None, "File to evaluate on.")
    flags.DEFINE_string("test_file", None, "File to predict.")
    define_text_flags()
    flags.DEFINE_bool("do_eval", False, "Evaluate on dev_file; writes eval_results.txt.")
    flags.DEFINE_bool("do_predict", False, f"Predict test_file; writes {predictions}.")
    for name, use in (("eval", "evaluation"), ("predict", "prediction")):
        flags.DEFINE_integer(f"{name}_batch_size", 8, f"{sequences} in a batch of {use}.", 1)
    define_length_buckets()


def define_text_flags() -> None:
    """Defines the flags of the tokenizer."""
    flags.DEFINE_string("vocab_file", None, "Vocabulary of the model (vocab.txt).")
    flags.DEFINE_bool("do_lower_case", True, "Lower-case the text; false for cased models.")
    flags.DEFINE_alias("do_lower", "do_lower_case")


def define_length_buckets(note: str = "") -> None:
    """Defines the flag of `length_buckets`; `note` says in its help what else it changes."""
    flags.DEFINE_string(
        "length_buckets",
        "",
        "Static lengths, as 32,64, so that what is short is not padded to max_seq_length; 'auto' chooses up to four "
        f"that suit the data.{note}",
    )


def wanted_files() -> dict[str, str]:
    """Returns the file of each split that is wanted: "train", "eval", "predict".

    Raises:
      ValueError: none is, or one of them has no file.
    """
    files = {}
    for split, (do, file) in _SPLITS.items():
        if FLAGS[do].value:
            if not FLAGS[file].value:
                raise ValueError(f"--{do} needs --{file}")
            files[split] = FLAGS[file].value
    if not files:
        raise ValueError("nothing to do: give --do_train, --do_eval, --do_predict or several")
    return files


def sequence_length(config: BertConfig) -> int:
    """Returns the length of the longest sequence, after a check that the model has positions for it."""
    config.check_seq_length(FLAGS.max_seq_length)
    return FLAGS.max_seq_length


def check_length_buckets() -> None:
    """Raises ValueError unless the flag says lengths."""
    if FLAGS.length_buckets != "auto":
        parse_length_buckets(FLAGS.length_buckets, FLAGS.max_seq_length)


def length_buckets(num_tokens: Sequence[int], split: str) -> list[int]:
    """Returns the static lengths of sequences, ascending.

    Args:
      num_tokens: of each of them, at least one.
      split: "train", "eval" or "predict".
    """
    if FLAGS.length_buckets != "auto":
        return parse_length_buckets(FLAGS.length_buckets, FLAGS.max_seq_length)
    least = MIN_BATCHES * FLAGS[f"{split}_batch_size"].value
    return choose_lengths(num_tokens, FLAGS.max_seq_length, least)


def read_tokenizer(config: BertConfig) -> FullTokenizer:
    """Returns the tokenizer, after a check that it fits the model."""
    validate_case_matches_checkpoint(FLAGS.do_lower_case, FLAGS.init_checkpoint)
    tokenizer = FullTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    tokenizer.check_special_tokens()
    config.check_vocab_size(len(tokenizer.vocab), FLAGS.vocab_file)
    return tokenizer
