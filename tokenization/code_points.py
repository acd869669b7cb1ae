r"""What `unicodedata` says about characters, as character classes of regular expressions.

RE2 and the two copies of ICU inside TensorFlow and tensorflow_text each have a Unicode version of their own, so that
`\p{P}` there means other characters than "punctuation" does in Python. An explicit list means the same everywhere.
"""

import functools
import unicodedata
from collections.abc import Iterable, Iterator

from tokenization.basic import CJK_BLOCKS, is_punctuation


def characters() -> Iterator[str]:
    """Yields every character that Unicode has given, or may soon give, a meaning.

    That is planes 0 to 3 and the start of plane 14, without surrogates. Planes 4 to 13 have never held a character,
    15 and 16 are for private use: they are letters to everyone.
    """
    for first, last in ((0, 0xD7FF), (0xE000, 0x3FFFF), (0xE0000, 0xE0FFF)):
        yield from map(chr, range(first, last + 1))


def is_deleted(char: str) -> bool:
    """True for what the original drops before anything else; tab and line ends are its only other controls."""
    if char in "\t\n\r":
        return False
    return char in "\0\ufffd" or unicodedata.category(char) in ("Cc", "Cf")


def is_apart(char: str) -> bool:
    """True for a character that is always a word of its own: punctuation and CJK."""
    return is_punctuation(char) or any(first <= ord(char) <= last for first, last in CJK_BLOCKS)


def is_accent(char: str) -> bool:
    """True for what goes when the case is lowered (category Mn)."""
    return unicodedata.category(char) == "Mn"


def is_cased(char: str) -> bool:
    """True for a letter that keeps a sigma beside it from being final (asks `str.lower`, which knows the rule)."""
    return not _is_final_before(char)


def is_case_ignorable(char: str) -> bool:
    """True for what the rule of the final sigma looks through, such as accents and apostrophes."""
    return _is_final_before(char) and not _is_final_before(char + "A")


def _is_final_before(text: str) -> bool:
    return ("AΣ" + text).lower()[1] == "ς"


@functools.cache
def class_where(rule, *more_rules) -> str:
    """Returns the regular expression for one of all `characters` that obey one of the rules."""
    rules = (rule, *more_rules)
    return class_of(char for char in characters() if any(rule(char) for rule in rules))


def class_of(chars: Iterable[str]) -> str:
    """Returns the regular expression (RE2) for one of `chars`; it matches nothing if there are none."""
    ranges = []
    for code in sorted(map(ord, chars)):
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    if not ranges:
        return r"[^\x{0}-\x{10FFFF}]"
    return "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in ranges) + "]"
