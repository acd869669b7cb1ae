"""The rules of the original's tokenizer, one after the other, character by character.

The yardstick of the tests (same tokens) and of the benchmark (same work as the original does). It is meant to be
slow and obvious: do not improve it.
"""

import unicodedata

CJK_BLOCKS = [
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
]


def tokenize(text, vocab, do_lower_case=True):
    """Text -> pieces."""
    pieces = []
    for word in basic_tokenize(text, do_lower_case):
        for piece in wordpiece_tokenize(word, vocab):
            pieces.append(piece)
    return pieces


def encode(text, vocab, do_lower_case=True):
    """Text -> ids, the way a user of the original gets them."""
    ids = []
    for piece in tokenize(text, vocab, do_lower_case):
        ids.append(vocab[piece])
    return ids


def basic_tokenize(text, do_lower_case=True):
    """Text -> words."""
    text = isolate_cjk(clean(text))
    words = []
    for word in text.strip().split():
        if do_lower_case:
            word = strip_accents(word.lower())
        words.extend(split_at_punctuation(word))
    return " ".join(words).strip().split()


def clean(text):
    """Drops NUL, U+FFFD and controls; every white space becomes a blank."""
    kept = []
    for char in text:
        code = ord(char)
        if code == 0 or code == 0xFFFD or is_control(char):
            continue
        kept.append(" " if is_white_space(char) else char)
    return "".join(kept)


def isolate_cjk(text):
    """Puts blanks around CJK characters."""
    spaced = []
    for char in text:
        if is_cjk(ord(char)):
            spaced.append(" ")
            spaced.append(char)
            spaced.append(" ")
        else:
            spaced.append(char)
    return "".join(spaced)


def strip_accents(word):
    """Decomposes and drops the non-spacing marks."""
    kept = []
    for char in unicodedata.normalize("NFD", word):
        if unicodedata.category(char) == "Mn":
            continue
        kept.append(char)
    return "".join(kept)


def split_at_punctuation(word):
    """Makes every punctuation character a word of its own."""
    parts, begin_new = [], True
    for char in word:
        if is_punctuation(char):
            parts.append([char])
            begin_new = True
            continue
        if begin_new:
            parts.append([])
        begin_new = False
        parts[-1].append(char)
    return ["".join(part) for part in parts]


def wordpiece_tokenize(word, vocab, unknown="[UNK]", max_chars=200):
    """Word -> pieces, the longest first; tries every end for every start."""
    chars = list(word)
    if len(chars) > max_chars:
        return [unknown]
    pieces, start = [], 0
    while start < len(chars):
        end, found = len(chars), None
        while start < end:
            candidate = "".join(chars[start:end])
            if start > 0:
                candidate = "##" + candidate
            if candidate in vocab:
                found = candidate
                break
            end -= 1
        if found is None:
            return [unknown]
        pieces.append(found)
        start = end
    return pieces


def is_white_space(char):
    """Blank, tab, line feed, carriage return, or category Zs."""
    if char == " " or char == "\t" or char == "\n" or char == "\r":
        return True
    return unicodedata.category(char) == "Zs"


def is_control(char):
    """Categories Cc and Cf, but not the controls that are white space."""
    if char == "\t" or char == "\n" or char == "\r":
        return False
    return unicodedata.category(char) in ("Cc", "Cf")


def is_punctuation(char):
    """ASCII that is neither letter, digit, blank nor control; or a category P*."""
    code = ord(char)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(char).startswith("P")


def is_cjk(code):
    """The blocks of CJK ideographs that the original knows."""
    for first, last in CJK_BLOCKS:
        if first <= code <= last:
            return True
    return False
