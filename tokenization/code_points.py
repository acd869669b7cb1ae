r"""What `unicodedata` says about characters, as character classes of regular expressions.

RE2 and the two copies of ICU inside TensorFlow and tensorflow_text each have a Unicode version of their own, so that
`\p{P}` there means other characters than "punctuation" does in Python. An explicit list means the same everywhere.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable

from tokenization.basic import CJK_BLOCKS, is_punctuation


@functools.cache
def characters() -> str:
    """Returns every character that Unicode has given, or may soon give, a meaning.

    That is planes 0 to 3 and the start of plane 14, without surrogates. Planes 4 to 13 have never held a character,
    15 and 16 are for private use: they are letters to everyone.
    """
    blocks = ((0, 0xD7FF), (0xE000, 0x3FFFF), (0xE0000, 0xE0FFF))
    return "".join(chr(code) for first, last in blocks for code in range(first, last + 1))


# Rules choose from a text at once, because all `characters` are asked for when a script starts.


def deleted(chars: str) -> list[str]:
    """Returns what the original drops before anything else; tab and line ends are its only other controls."""
    return [
        char
        for char in chars
        if char == "\ufffd" or (unicodedata.category(char) in ("Cc", "Cf") and char not in "\t\n\r")
    ]


def apart(chars: str) -> list[str]:
    """Returns the characters that are always words of their own: punctuation and CJK."""
    ideographs = "".join(f"{chr(first)}-{chr(last)}" for first, last in CJK_BLOCKS)
    return [*filter(is_punctuation, chars), *re.findall(f"[{ideographs}]", chars)]


def blanks(chars: str) -> list[str]:
    """Returns what is white space to Python."""
    return list(filter(str.isspace, chars))


def accents(chars: str) -> list[str]:
    """Returns what goes when the case is lowered (category Mn)."""
    return [char for char in chars if unicodedata.category(char) == "Mn"]


def cased(chars: str) -> list[str]:
    """Returns the letters that keep a sigma before them from being final (asks `str.lower`, which knows the rule)."""
    return [char for char in chars if ("AΣ" + char).lower()[1] != "ς"]


def case_ignorable(chars: str) -> list[str]:
    """Returns what the rule of the final sigma looks through, such as accents and apostrophes."""
    either = [char for char in chars if ("AΣ" + char + "A").lower()[1] != "ς"]
    return sorted(set(either).difference(cased("".join(either))))


@functools.cache
def class_where(rule: Callable[[str], Iterable[str]]) -> str:
    """Returns the regular expression for one of all `characters` that a rule chooses."""
    return class_of(rule(characters()))


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
