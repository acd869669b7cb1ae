"""Every Unicode character, through both tokenizers, against the plain transcription of the original's rules."""

import functools
import re
import unicodedata

import pytest
import tensorflow as tf

from benchmarks import original_tokenizer
from tokenization import FullTokenizer, code_points
from tokenization.graph import GraphTokenizer, deviating_characters

# Where Unicode has assigned characters; everything else is private, reserved or a surrogate.
NAMED = [(0, 0xFFFF), (0x10000, 0x1FFFF), (0x20000, 0x32FFF), (0xE0000, 0xE0FFF)]
OTHERS = [(0x33000, 0x3FFFF), (0xE1000, 0xEFFFF), (0xF0000, 0xFFFFF), (0x100000, 0x10FFFF)]
OTHERS += [(plane << 16, (plane << 16) + 0xFFFF) for plane in range(4, 14)]
BATCH = 1 << 14


def characters_of(block: tuple[int, int]) -> list[str]:
    first, last = block
    return [chr(code) for code in range(first, last + 1) if not 0xD800 <= code <= 0xDFFF]


@functools.cache
def normal(char: str, do_lower_case: bool) -> str:
    return original_tokenizer.strip_accents(char.lower()) if do_lower_case else char


def vocabulary_of(chars, do_lower_case: bool) -> dict[str, int]:
    """Every character and what becomes of it, as a head and as a tail: no difference can hide behind [UNK].

    The characters on which ICU and Python disagree stay out, because with them GraphTokenizer is FullTokenizer.
    """
    known = set("abABσς").union(chars, *(normal(char, do_lower_case) for char in chars))
    for char in deviating_characters(do_lower_case):
        known.difference_update(char, normal(char, do_lower_case))
    letters = sorted(char for char in known if not char.isspace() and char not in "\0\x11")
    pieces = ["[UNK]", *letters, *("##" + letter for letter in letters)]
    return {piece: index for index, piece in enumerate(pieces)}


def different(chars, texts, do_lower_case: bool) -> list[str]:
    """Names the characters whose texts an engine cuts otherwise than the transcription."""
    vocab = vocabulary_of(chars, do_lower_case)
    graph = GraphTokenizer(vocab, do_lower_case)
    python = FullTokenizer.from_vocab(vocab, do_lower_case)
    assert graph.fallback_reason is None
    rows = []
    for start in range(0, len(texts), BATCH):
        rows += graph.tokenize(tf.constant(texts[start : start + BATCH])).to_list()
    found = []
    for char, text, row in zip(chars, texts, rows, strict=True):
        expected = original_tokenizer.encode(text, vocab, do_lower_case)
        if row != expected:
            found.append(f"graph: U+{ord(char):04X}")
        if python.encode(text) != expected:
            found.append(f"Python: U+{ord(char):04X}")
    return found


def alone_and_in_context(chars) -> list[str]:
    """Alone at both ends of a text; inside a word; between words. Blanks keep the four apart."""
    return [f"{char} a{char}b A {char} B {char}" for char in chars]


def test_sweep_holds_every_scalar_value_once():
    swept = [char for block in NAMED + OTHERS for char in characters_of(block)]
    assert len(swept) == len(set(swept)) == 0x110000 - 2048


@pytest.mark.parametrize("do_lower_case", [True, False])
@pytest.mark.parametrize("block", NAMED, ids="{0[0]:X}".format)
def test_assigned_characters_give_the_originals_ids(block, do_lower_case):
    chars = characters_of(block)
    assert different(chars, alone_and_in_context(chars), do_lower_case) == []


@pytest.mark.slow
@pytest.mark.parametrize("do_lower_case", [True, False])
@pytest.mark.parametrize("block", OTHERS, ids="{0[0]:X}".format)
def test_all_other_characters_give_the_originals_ids(block, do_lower_case):
    chars = characters_of(block)
    assert different(chars, alone_and_in_context(chars), do_lower_case) == []


@pytest.mark.parametrize("block", NAMED[:2], ids="{0[0]:X}".format)
def test_every_character_beside_a_sigma_gives_the_originals_ids(block):
    """Only letters without case are left out: they are many and alike."""
    chars = [
        char for char in characters_of(block) if unicodedata.category(char) not in ("Lo", "Cn")
    ]
    texts = [f"{char}Σ A{char}Σ AΣ{char} AΣ{char}A AΣ.{char}" for char in chars]
    assert different(chars, texts, do_lower_case=True) == []


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_icu_and_python_disagree_on_characters_too_new_for_one_of_them_only(do_lower_case):
    """Why no vocabulary made from real text is affected.

    ICU of tensorflow_text is newer than Python: characters (most of them punctuation) that Python does not know yet.
    ICU of TensorFlow's core is older: capital letters that came with Unicode 14 or later, without a small one.
    """
    for char in deviating_characters(do_lower_case):
        new_capital = do_lower_case and char.lower() != char
        assert unicodedata.category(char) == "Cn" or new_capital, f"U+{ord(char):04X}"
    assert len(deviating_characters(do_lower_case)) < 300


def test_classes_leave_out_only_private_and_unassigned_characters():
    everything = {char for block in NAMED + OTHERS for char in characters_of(block)}
    left_out = everything.difference(code_points.characters())
    assert {unicodedata.category(char) for char in left_out} == {"Cn", "Co"}


def test_class_matches_its_characters_and_no_others():
    pattern = code_points.class_of("xyzß-]^\\\U0001f600b")
    codes = r"\\x\{([0-9A-F]+)\}"
    ranges = re.findall(f"{codes}-{codes}", pattern)
    chars = [chr(c) for a, b in ranges for c in range(int(a, 16), int(b, 16) + 1)]
    assert chars == sorted("xyzß-]^\\\U0001f600b")
    kept = tf.strings.regex_replace("awxyz-ß]^\\[é😀b", pattern, "")
    assert kept.numpy().decode() == "aw[é"


def test_empty_class_matches_nothing():
    assert not tf.strings.regex_full_match(["a", "", "é"], code_points.class_of("")).numpy().any()


def test_classes_are_those_of_the_interpreter():
    assert code_points.deleted("\x0b\t\u200b\u00a0") == ["\x0b", "\u200b"]
    assert code_points.apart("$推€") == ["$", "推"]
    assert code_points.cased("ß'") == ["ß"]
    assert code_points.case_ignorable("\u0301!") == ["\u0301"]
