"""Vocabulary files and look-ups (`tokenization.py` of the original)."""

import logging
from collections.abc import Iterable

from tokenization.files import read_lines

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_SHOWN = 5

_log = logging.getLogger(__name__)


def load_vocab(vocab_file: str) -> dict[str, int]:
    r"""Reads a vocabulary: one token a line, its id is the number of the line counted from 0.

    As the original reads it: lines end at "\n" only, every "\r" is dropped, white space around a token is stripped.
    A token that comes twice has the id of its last line and the place in the dict of its first. A blank line is the
    token "". A byte order mark belongs to the first token. What of this happens is logged with the line numbers.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is empty, or not UTF-8.
    """
    tokens = [line.strip() for line in read_lines(vocab_file)]
    if not tokens:
        raise ValueError(
            f"vocabulary {vocab_file} is empty: --vocab_file must hold one token a line"
        )
    _warn(vocab_file, tokens)
    return {token: index for index, token in enumerate(tokens)}


def _warn(vocab_file: str, tokens: list[str]) -> None:
    first, again, blank = {}, [], []
    for number, token in enumerate(tokens, start=1):
        if not token:
            blank.append(str(number))
        elif token in first:
            again.append(f"{number} ({token!r} of line {first[token]})")
        first.setdefault(token, number)
    if again:
        _log.warning("%s: duplicate tokens, the last id wins: line %s", vocab_file, _some(again))
    if blank:
        _log.warning(
            "%s: blank lines, each counts as the token '': line %s", vocab_file, _some(blank)
        )
    if tokens[0].startswith("\ufeff"):
        _log.warning("%s: line 1 begins with a byte order mark, now part of its token", vocab_file)
    missing = [token for token in SPECIAL_TOKENS if token not in first]
    if missing:
        _log.warning("%s: no line holds %s", vocab_file, ", ".join(missing))


def _some(items: list[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def convert_by_vocab(vocab: dict, items: Iterable) -> list:
    """Looks every item up.

    Raises:
      KeyError: an item is not in `vocab`; there is no fallback to [UNK] here.
    """
    return [vocab[item] for item in items]


def convert_tokens_to_ids(vocab: dict[str, int], tokens: Iterable[str]) -> list[int]:
    """Looks tokens up; KeyError for one that is not in `vocab`."""
    return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(inv_vocab: dict[int, str], ids: Iterable[int]) -> list[str]:
    """Looks ids up; KeyError for one that is not in `inv_vocab`."""
    return convert_by_vocab(inv_vocab, ids)
