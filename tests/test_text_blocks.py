"""Blocks: where text is cut, whatever it is packed in."""

import bz2
import gzip
import lzma

import pytest

from pretraining import text_blocks
from pretraining.text_blocks import read_blocks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 11)
    monkeypatch.setattr(text_blocks, "MAX_DOCUMENT_BYTES", 29)


def blocks(tmp_path, *contents):
    paths = []
    for number, content in enumerate(contents):
        paths.append(str(tmp_path / f"{number}.txt"))
        (tmp_path / f"{number}.txt").write_bytes(content)
    return list(read_blocks(paths))


@pytest.mark.parametrize("blank", ["", " \t", "\r", "\u00a0", "\u2003\u3000", "\x1c\x85"])
def test_a_block_ends_at_the_first_blank_line_after_its_size(tmp_path, blank):
    first = f"a\n{blank}\nwords more\n{blank}\n".encode()
    found = blocks(tmp_path, first + b"last\n")
    assert [block.data for block in found] == [first, b"last\n"]


def test_blocks_know_their_place(tmp_path):
    found = blocks(tmp_path, b"some words.\n\nsome more...\n\nthe last", b"another file")
    assert [(b.file, b.number, b.line, b.offset) for b in found] == [
        (0, 0, 1, 0),
        (0, 1, 3, 13),
        (0, 2, 5, 27),
        (1, 0, 1, 0),
    ]


def test_blocks_hold_all_text_of_a_file_end_to_end(tmp_path):
    text = b"".join(
        b"%d\n\n" % 7 ** (n % 5) + b"word " * (n % 5) + b"\n" * (n % 3) for n in range(40)
    )
    found = blocks(tmp_path, text)
    assert b"".join(block.data for block in found) == text
    assert not any(block.cuts_document for block in found)


@pytest.mark.parametrize("text", [b"", b"\xef\xbb\xbf"])
def test_a_file_without_text_has_no_block(tmp_path, text):
    assert blocks(tmp_path, text) == []


def test_a_byte_order_mark_is_no_text(tmp_path):
    (block,) = blocks(tmp_path, b"\xef\xbb\xbfword")
    assert (block.data, block.offset) == (b"word", 3)


def test_a_long_document_is_cut_between_lines(tmp_path):
    found = blocks(tmp_path, b"seventeen letters\nand some more\nthe end\n")
    assert [(b.data, b.cuts_document, b.cuts_line) for b in found] == [
        (b"seventeen letters\n", True, False),
        (b"and some more\nthe end\n", False, False),
    ]


def test_a_long_document_after_a_short_one_is_cut_as_late_as_alone(tmp_path):
    found = blocks(tmp_path, b"short\n\nseventeen letters\nand more\n\nend\n")
    assert [(b.data, b.cuts_document) for b in found] == [
        (b"short\n\n", False),
        (b"seventeen letters\nand more\n\n", False),
        (b"end\n", False),
    ]


def test_a_long_line_is_cut_between_words(tmp_path):
    found = blocks(tmp_path, b"eleven more words for a line that is long")
    assert [(b.data, b.cuts_line) for b in found] == [
        (b"eleven more words for a line ", True),
        (b"that is long", False),
    ]


def test_a_line_without_blanks_is_cut_between_characters(tmp_path):
    text = "語" * 13
    found = blocks(tmp_path, text.encode())
    assert len(found) == 2 and "".join(block.data.decode() for block in found) == text


@pytest.mark.parametrize("packer", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_give_the_same_blocks(tmp_path, packer):
    text = b"some words\n\nsome more\n\nthe last"
    plain, packed = blocks(tmp_path, text), blocks(tmp_path, packer(text))
    assert packed == plain


def test_a_packed_file_that_is_cut_off_is_an_error_with_its_name(tmp_path):
    with pytest.raises(ValueError, match="0.txt is damaged or cut off"):
        blocks(tmp_path, gzip.compress(b"some words\n" * 17, mtime=0)[:-9])
