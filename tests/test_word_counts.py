"""Words counted in bounded memory, from text in stretches, plain and packed."""

import bz2
import gzip
import lzma
import random

import pytest

from tokenization import BasicTokenizer, corpus
from tokenization.corpus import read_blocks
from tokenization.word_counts import count_words

TEXT = "\u00c9t\u00e9, \u00e9t\u00e9!\r\nto be\tor not\n\n  \nto \u03a3\u039f\u03a6\u039f\u03a3 x\n"


def packed(name, data):
    if name == "zstd":
        return pytest.importorskip("backports.zstd").compress(data)
    pack = {"gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    return pack.get(name, lambda data: data)(data)


def test_words_are_those_of_the_basic_tokenizer():
    counts = count_words(["\u00c9t\u00e9, \u00e9t\u00e9", "a\x0bb"])
    assert counts.words == {"ete": 2, ",": 1, "ab": 1}
    assert count_words(["\u00c9t\u00e9"], do_lower_case=False).words == {"\u00c9t\u00e9": 1}


def test_characters_and_lines_are_counted_without_line_ends_and_blank_lines():
    counts = count_words(["ab c\n\n", " \nd"])
    assert (counts.characters, counts.lines) == (6, 2)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1 << 20])
def test_stretches_are_cut_where_the_tokenizer_cuts(tmp_path, monkeypatch, block):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", block)
    path = tmp_path / "text"
    path.write_bytes(TEXT.encode())
    words = [word for text in read_blocks(str(path)) for word in BasicTokenizer().tokenize(text)]
    assert words == BasicTokenizer().tokenize(TEXT)


@pytest.mark.parametrize("name", ["plain", "gzip", "bz2", "xz", "zstd"])
def test_packed_files_are_read_whatever_their_name(tmp_path, name):
    path = tmp_path / "text"
    part = packed(name, TEXT.encode())
    path.write_bytes(part + part)
    assert "".join(read_blocks(str(path))) == TEXT + TEXT


@pytest.mark.parametrize("name", ["gzip", "bz2", "xz", "zstd"])
@pytest.mark.parametrize("cut", [slice(None, -3), slice(None, 14)])
def test_a_packed_file_that_is_cut_off_is_named(tmp_path, name, cut):
    path = tmp_path / "text.packed"
    path.write_bytes(packed(name, bytes(random.Random(3).randbytes(99)))[cut])
    with pytest.raises(ValueError, match="text.packed is damaged or cut off"):
        list(read_blocks(str(path)))


def test_the_place_of_invalid_utf8_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 5)
    path = tmp_path / "bad.txt"
    path.write_bytes(b"good line\nbad \xff line\n")
    with pytest.raises(ValueError, match="bad.txt is not UTF-8: byte 0xff at byte offset 14"):
        list(read_blocks(str(path)))


def test_the_rarest_words_are_forgotten_by_levels_and_counted():
    counts = count_words(["a a a a b b b c c d d e f"], max_words=4)
    assert counts.words == {"a": 4, "b": 3}  # 1: e, f; then c, d of 2; at most 2 may be left
    assert counts.pruned == 6
    counts = count_words(["a a b c"], max_words=3)
    assert (counts.words, counts.pruned) == ({"a": 2, "b": 1, "c": 1}, 0)


def test_a_word_forgotten_starts_again_from_nothing(monkeypatch):
    monkeypatch.setattr("tokenization.word_counts._MAX_CHUNKS", 2)
    counts = count_words(["a a b", "c c d e", "b b"], max_words=4)
    assert counts.words == {"a": 2, "c": 2, "b": 2}
    assert counts.pruned == 3
