"""Flags that say how tokens are masked, for the script that makes records and for the one that trains on them."""

from collections.abc import Sequence

from absl import flags, logging

from pretraining.masking import Masker
from pretraining.recipe import MASKINGS
from tokenization import load_vocab

FLAGS = flags.FLAGS

_NAMES = ("masking", "masked_lm_prob", "max_span_words", "span_continue_prob")


def define_masking_flags(maskings: Sequence[str] = MASKINGS) -> None:
    """Defines the flags; `maskings` are the values of --masking, the default first."""
    flags.DEFINE_enum(
        "masking",
        maskings[0],
        maskings,
        "What is masked: pieces, as the original does without --do_whole_word_mask; all pieces of a word or none; "
        "or spans of several words (SpanBERT).",
    )
    flags.DEFINE_float("masked_lm_prob", 0.15, "Share of tokens to mask.", 0.0, 1.0)
    flags.DEFINE_integer("max_span_words", 10, "Longest span that is masked, in words.", 1)
    flags.DEFINE_float(
        "span_continue_prob",
        0.8,
        "How many spans of n + 1 words are masked for each of n words.",
        0.0,
        1.0,
    )
    for name in ("max_span_words", "span_continue_prob"):
        flags.register_multi_flags_validator(
            [name, "masking"],
            lambda given, name=name: FLAGS[name].using_default_value or given["masking"] == "span",
            f"--{name} needs --masking=span",
        )


def masking_settings() -> dict[str, str | float | int]:
    """Returns the flags by name, as `Masker` and `Recipe` take them."""
    return {name: FLAGS[name].value for name in _NAMES}


def masker_from_flags(
    flag: str, vocab_size: int, max_seq_length: int, max_predictions_per_seq: int
) -> Masker:
    """Returns what masks records without masks, by these flags and --vocab_file.

    Args:
      flag: that names the records.
      vocab_size: rows of the model's word embedding.
      max_seq_length: S.
      max_predictions_per_seq: P.

    Raises:
      OSError, ValueError: there is no vocabulary, or one that does not fit.
    """
    if not FLAGS.vocab_file:
        raise ValueError(
            f"the records of --{flag} hold no masks: give the --vocab_file that they were made with"
        )
    vocab = load_vocab(FLAGS.vocab_file)
    if missing := [token for token in ("[CLS]", "[SEP]", "[MASK]") if token not in vocab]:
        raise ValueError(f"--vocab_file={FLAGS.vocab_file} lacks {', '.join(missing)}")
    if (size := max(vocab.values()) + 1) > vocab_size:
        raise ValueError(
            f"--vocab_file={FLAGS.vocab_file} has {size} tokens, but --bert_config_file has vocab_size "
            f"{vocab_size}: use those that belong together"
        )
    if (wanted := round(FLAGS.masked_lm_prob * max_seq_length)) > max_predictions_per_seq:
        logging.warning(
            "--masked_lm_prob=%s of %d tokens is %d, but --max_predictions_per_seq=%d: no more will be masked",
            FLAGS.masked_lm_prob,
            max_seq_length,
            wanted,
            max_predictions_per_seq,
        )
    return Masker(vocab, max_predictions_per_seq=max_predictions_per_seq, **masking_settings())


def refuse_masking_flags() -> None:
    """Raises ValueError if the command line gives one of these flags: all records hold masks."""
    if given := [name for name in _NAMES if not FLAGS[name].using_default_value]:
        raise ValueError(
            f"--{given[0]} is for records without masks, and these hold masks: leave it out"
        )
