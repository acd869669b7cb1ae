"""Text -> ids. Imports no TensorFlow; the tokenizer for TensorFlow graphs is `tokenization.graph`."""

from tokenization.basic import (
    BasicTokenizer,
    convert_to_unicode,
    printable_text,
    whitespace_tokenize,
)
from tokenization.casing import validate_case_matches_checkpoint
from tokenization.full import FullTokenizer
from tokenization.vocab import (
    SPECIAL_TOKENS,
    convert_by_vocab,
    convert_ids_to_tokens,
    convert_tokens_to_ids,
    load_vocab,
)
from tokenization.wordpiece import WordpieceTokenizer

__all__ = [
    "SPECIAL_TOKENS",
    "BasicTokenizer",
    "FullTokenizer",
    "WordpieceTokenizer",
    "convert_by_vocab",
    "convert_ids_to_tokens",
    "convert_to_unicode",
    "convert_tokens_to_ids",
    "load_vocab",
    "printable_text",
    "validate_case_matches_checkpoint",
    "whitespace_tokenize",
]
