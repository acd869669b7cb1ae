"""What makes records of text, stated once for the builder, the manifest and the cluster."""

from typing import NamedTuple

OBJECTIVES = ("next_sentence", "sentence_order", "full_sentences", "doc_sentences")
MASKINGS = ("wordpiece", "whole_word", "span")


class Recipe(NamedTuple):
    """Everything but the text that the records depend on.

    Attributes:
      vocab_file: path of the vocabulary.
      do_lower_case: whether to lower-case the text and strip accents.
      objective: one of `OBJECTIVES`.
      max_seq_length: S, tokens of a row, special tokens counted.
      short_seq_prob: share of the passes over a document that aim at a shorter, random length.
      dupe_factor: passes over the text.
      masking: one of `MASKINGS`, or None for records without masks, which training draws.
      masked_lm_prob: share of tokens to mask.
      max_predictions_per_seq: P, masked tokens that a row has room for.
      max_span_words: longest span, in words.
      span_continue_prob: how much rarer a span is than one that is a word shorter.
      max_sequences_per_row: K, sequences packed into one row; 1 leaves them apart.
      random_seed: of everything that is drawn.
    """

    vocab_file: str
    do_lower_case: bool = True
    objective: str = "next_sentence"
    max_seq_length: int = 128
    short_seq_prob: float = 0.1
    dupe_factor: int = 10
    masking: str | None = "wordpiece"
    masked_lm_prob: float = 0.15
    max_predictions_per_seq: int = 20
    max_span_words: int = 10
    span_continue_prob: float = 0.8
    max_sequences_per_row: int = 1
    random_seed: int = 12345
