"""Text -> ids inside TensorFlow graphs: `tf.data` pipelines and SavedModels (`tokenization.py` of the original).

tensorflow_text's own BERT tokenizers give other ids than the original. Its FastWordpieceTokenizer alone does not,
when it is fed text that was cleaned, lowered and stripped by the rules of `tokenization.basic`. That is done here.

ICU's tables and Python's belong to different versions of Unicode. On the few characters where they disagree
(`deviating_characters`) the text gets a stand-in that no vocabulary holds: a word with such a character is [UNK] to
the original as well, as long as the vocabulary does not hold the character. If it does, Python does the work.
"""

import functools
import logging
import os
import unicodedata

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from tokenization import code_points
from tokenization.full import FullTokenizer
from tokenization.vocab import load_vocab

_log = logging.getLogger(__name__)

_UNKNOWN = "[UNK]"
_MAX_CHARS = 200  # of a word, as in WordpieceTokenizer
_MAX_PIECE_BYTES = 256  # of FastWordpieceTokenizer, without the "##"
_RESERVED = "\0\x11"  # FastWordpieceTokenizer keeps them for itself

# The patterns let only one repetition be under way at a time: RE2 runs out of memory on, say, `.*[^ ]{201}.*`.
_PLAIN = rf"[ \t\n\r]*(?:[!-~]{{1,{_MAX_CHARS}}}[ \t\n\r]+)*[!-~]{{0,{_MAX_CHARS}}}"
_UTF_8 = r"[\x{0}-\x{D7FF}\x{E000}-\x{10FFFF}]*"
# Ideographs end words, too. Without them every long line of Chinese would be taken for a long word.
_END = r" 、。\x{4E00}-\x{9FFF}"
_SHORT_WORDS = rf"[^{_END}]{{0,{_MAX_CHARS}}}(?:[{_END}][^{_END}]{{0,{_MAX_CHARS}}})*"


class GraphTokenizer:
    """`FullTokenizer.encode` for tensors of strings, fast in batches of some hundreds.

    It has no variables. A SavedModel holds all of it (and needs `import tensorflow_text` where it is loaded), unless
    there is a `fallback_reason`: Python is not saved with a model.

    Args:
      vocab: file of a vocabulary (see `load_vocab`), or token -> id.
      do_lower_case: see `BasicTokenizer`.

    Attributes:
      vocab: token -> id. It is read once: later changes are not seen.
      fallback_reason: None, or a sentence that says why FastWordpieceTokenizer cannot represent the vocabulary. Then
        `FullTokenizer` does the work, one text after the other; this is logged once as a warning.
    """

    def __init__(self, vocab: str | os.PathLike | dict[str, int], do_lower_case: bool = True):
        source = "vocabulary" if isinstance(vocab, dict) else os.fspath(vocab)
        self.vocab = vocab = vocab if isinstance(vocab, dict) else load_vocab(source)
        self._lower = do_lower_case
        self.fallback_reason = _why_not(vocab, do_lower_case)
        if not self.fallback_reason:
            self._stand_in = _stand_in(vocab)
            try:
                self._wordpiece = _fast_wordpiece(sorted(vocab, key=vocab.__getitem__))
            except RuntimeError as error:
                self.fallback_reason = f"tensorflow_text refuses it: {error}"
        if self.fallback_reason:
            _log.warning("%s: tokenizing in Python, slowly: %s", source, self.fallback_reason)
            self._python = FullTokenizer.from_vocab(vocab, do_lower_case)

    def tokenize(self, texts) -> tf.RaggedTensor:
        """Cuts texts into pieces.

        Args:
          texts: string [N]. UTF-8; bytes that are not are dropped, as the original drops them from `bytes`. An
            encoded surrogate is such bytes, while the original keeps a lone surrogate of a `str` (as [UNK]).

        Returns:
          int32 [N, (pieces)]. ids
        """
        return self._tokenize(tf.convert_to_tensor(texts, tf.string))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def _tokenize(self, texts):
        if self.fallback_reason:
            ids, sizes = tf.numpy_function(self._encode_in_python, [texts], [tf.int32, tf.int64])
            return tf.RaggedTensor.from_row_lengths(
                tf.ensure_shape(ids, [None]), tf.ensure_shape(sizes, [None]), validate=False
            )
        return self._wordpiece.tokenize(self._normalize(texts))

    def _encode_in_python(self, texts):
        rows = [self._python.encode(text) for text in texts]
        sizes = np.array([len(row) for row in rows], np.int64)
        return np.array([index for row in rows for index in row], np.int32), sizes

    def _normalize(self, texts):
        """Makes ICU's rules for words give the original's words: string [N] -> string [N]."""
        if self._lower:
            # ASCII only. It also keeps a Turkish locale, which ICU would obey, from touching "I" below.
            texts = tf.strings.lower(texts)
        return _change(texts, ~_matches(texts, _PLAIN), self._normalize_unicode)

    def _normalize_unicode(self, texts):
        texts = _change(texts, ~_matches(texts, _UTF_8), _drop_invalid)
        texts = _replace(texts, code_points.class_where(code_points.deleted), "")
        if self._lower:
            # Before the stand-ins come, because a sigma looks at its neighbours.
            texts = _change(texts, _matches(texts, "(?s).*Σ.*"), _lower_sigmas)
        deviating = code_points.class_of(deviating_characters(self._lower))
        texts = _replace(texts, deviating, self._stand_in)
        if self._lower:
            texts = _lower_and_strip(texts)
        return _change(texts, ~_matches(texts, _SHORT_WORDS), self._hide_long_words)

    def _hide_long_words(self, texts):
        """Puts the stand-in for words of more than 200 characters: FastWordpieceTokenizer counts bytes."""
        texts = _replace(texts, f"({code_points.class_where(code_points.apart)})", r" \1 ")
        texts = _replace(texts, code_points.class_where(code_points.blanks), " ")
        words = tf.strings.split(texts, " ")
        is_long = tf.strings.length(words.flat_values, unit="UTF8_CHAR") > _MAX_CHARS
        words = words.with_flat_values(tf.where(is_long, self._stand_in, words.flat_values))
        return tf.ensure_shape(tf.strings.reduce_join(words, axis=-1, separator=" "), [None])


def _matches(texts, pattern):
    return tf.strings.regex_full_match(texts, pattern)


def _replace(texts, pattern, rewrite):
    return tf.strings.regex_replace(texts, pattern, rewrite)


def _change(texts, mask, function):
    """Applies `function` to the texts under `mask` and to no other: most texts need the least of the work."""
    rows = tf.where(mask)
    return tf.tensor_scatter_nd_update(texts, rows, function(tf.gather_nd(texts, rows)))


def _drop_invalid(texts):
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")


def _lower_sigmas(texts):
    """Lowers Σ to ς at the end of a word and to σ elsewhere, by Python's idea of a word."""
    cased = code_points.class_where(code_points.cased)
    ignorable = code_points.class_where(code_points.case_ignorable)
    final = f"({cased}{ignorable}*)Σ({ignorable}*)([^{cased[1:-1]}{ignorable[1:]}|$)"
    return _replace(_replace(texts, final, r"\1ς\2\3"), "Σ", "σ")


def _lower_and_strip(texts):
    """Lowers the case, decomposes, drops accents; right for all but the deviating characters."""
    texts = tf_text.normalize_utf8(tf.strings.lower(texts, encoding="utf-8"), "NFD")
    return _replace(texts, code_points.class_where(code_points.accents), "")


def _lower_and_strip_in_python(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text.lower())
    return decomposed.translate(dict.fromkeys(map(ord, code_points.accents(decomposed))))


def _fast_wordpiece(pieces: list[str]) -> tf_text.FastWordpieceTokenizer:
    max_bytes = 4 * _MAX_CHARS  # UTF-8 has up to 4 a character
    return tf_text.FastWordpieceTokenizer(
        pieces, max_bytes_per_word=max_bytes, token_out_type=tf.int32, unknown_token=_UNKNOWN
    )


def _stand_in(vocab) -> str:
    """Returns a letter (of the last private area) that no piece holds."""
    held = set().union(*vocab)
    return next(chr(code) for code in range(0x10FFFD, 0xF0000, -1) if chr(code) not in held)


@functools.cache
def deviating_characters(do_lower_case: bool) -> frozenset[str]:
    """Returns the characters that TensorFlow splits, or lowers, otherwise than Python. Found by trying all."""
    chars = code_points.characters()
    chars = chars.translate(dict.fromkeys(map(ord, code_points.deleted(chars))))
    deviating = _split_otherwise(chars)
    if do_lower_case:
        deviating += _lowered_otherwise(chars)
    return frozenset(deviating)


def _split_otherwise(chars: str) -> list[str]:
    """Returns the characters for which "aca", c being the character, is not one, two or three words as to Python."""
    tokenizer = _fast_wordpiece([_UNKNOWN, "a"])
    words = tokenizer.tokenize([f"a{char}a" for char in chars]).row_lengths().numpy().tolist()
    blanks, apart = set(code_points.blanks(chars)), set(code_points.apart(chars))
    return [
        char
        for char, found in zip(chars, words, strict=True)
        if found != (2 if char in blanks else 3 if char in apart else 1)
    ]


def _lowered_otherwise(chars: str) -> list[str]:
    # The mark (category Mc, the lowest combining class that has one) changes places with a character that only ICU
    # knows as a mark. A control character keeps the texts apart: in one piece they take a tenth of the time.
    texts = "\1".join(char + "\U00016ff0" for char in chars)
    lowered = _lower_and_strip(tf.strings.lower(texts)).numpy().split(b"\1")
    expected = _lower_and_strip_in_python(texts).encode().split(b"\1")
    return [c for c, x, y in zip(chars, lowered, expected, strict=True) if x != y]


def _why_not(vocab: dict[str, int], do_lower_case: bool) -> str | None:
    """Returns why FastWordpieceTokenizer would not give the ids of `FullTokenizer`, or None: it would."""
    if _UNKNOWN not in vocab:
        return f"there is no {_UNKNOWN}; a word that needs it will be an error"
    if sorted(vocab.values()) != list(range(len(vocab))):
        return "ids are missing or not unique, because of duplicate tokens"
    for piece, index in vocab.items():
        if len(piece.removeprefix("##").encode("utf-8", "replace")) > _MAX_PIECE_BYTES:
            return f"token {index} is longer than {_MAX_PIECE_BYTES} bytes: {piece[:20]!r}..."
        if any(map(_is_out_of_reach, piece)):
            return f"token {index} holds a blank, a surrogate, U+0000 or U+0011: {piece!r}"
    return _why_no_stand_in(set().union(*vocab), do_lower_case)


def _is_out_of_reach(char: str) -> bool:
    # FastWordpieceTokenizer would find "new york" in the text "new york", which to the original is two words.
    return char.isspace() or char in _RESERVED or "\ud800" <= char <= "\udfff"


def _why_no_stand_in(held: set[str], do_lower_case: bool) -> str | None:
    for char in sorted(deviating_characters(do_lower_case)):
        letters = _lower_and_strip_in_python(char) if do_lower_case else char
        is_word = letters and not (code_points.apart(letters) or code_points.blanks(letters))
        if not is_word or not held.isdisjoint(letters):
            return f"TensorFlow's Unicode tables and Python's differ on U+{ord(char):04X}, which is needed"
    return None
