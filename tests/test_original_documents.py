"""Reading text into documents."""

import pytest

from pretraining import original_documents
from pretraining.original_documents import ReadCounts, read_documents


def encode(line):
    """One id a word, its length; words of dashes are no tokens."""
    return [len(word) for word in line.split() if word != "---"]


def read(tmp_path, *contents):
    paths = []
    for number, content in enumerate(contents):
        paths.append(str(tmp_path / f"{number}.txt"))
        (tmp_path / f"{number}.txt").write_bytes(content)
    counts = ReadCounts()
    return list(read_documents(paths, encode, counts)), counts


def test_blank_lines_divide_documents(tmp_path):
    found, _ = read(tmp_path, b"\n\na bb\nccc\n \t\n\n  dddd  \n\n")
    assert found == [[[1, 2], [3]], [[4]]]


def test_the_end_of_a_file_does_not_end_a_document(tmp_path):
    found, _ = read(tmp_path, b"a\n\nbb", b"ccc\n\n", b"dddd\n")
    assert found == [[[1]], [[2], [3]], [[4]]]


def test_a_line_without_tokens_is_dropped_and_does_not_end_a_document(tmp_path):
    found, counts = read(tmp_path, b"a\n---\nbb\n")
    assert found == [[[1], [2]]]
    assert counts.lines_without_tokens == 1


def test_counts_say_what_was_read(tmp_path):
    _, counts = read(tmp_path, b"a bb\nc\n\nd\n", b"\n\n", b"e f\n")
    assert counts == ReadCounts(files=3, documents=3, sentences=4, tokens=6, lines_without_tokens=0)


def test_lines_end_at_line_feeds_only(tmp_path):
    found, _ = read(tmp_path, "a\u2028b\x0bc\x85d\x0ce\n".encode())
    assert found == [[[1, 1, 1, 1, 1]]]


def test_a_carriage_return_joins_words(tmp_path):
    found, _ = read(tmp_path, b"a\rbb\r\n\r\nccc\r\n")
    assert found == [[[3]], [[3]]]


def test_lines_may_be_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(original_documents, "CHUNK_BYTES", 3)
    found, _ = read(tmp_path, "äöüäöüä\nb\n\nccccccc".encode())
    assert found == [[[7], [1]], [[7]]]


def test_invalid_utf8_is_found_by_file_line_and_byte(tmp_path):
    with pytest.raises(ValueError, match=r"0\.txt, line 3, byte 8 .*0xff") as caught:
        read(tmp_path, b"\xc3\xa4\r\nbb\nc\xff\n")
    assert "\n" not in str(caught.value)
