"""Reading text into documents."""

import pytest

from pretraining import documents
from pretraining.original_documents import ReadCounts, expand_patterns, read_documents


def encode(line):
    """One id a word, its length; words of dashes are no tokens."""
    return [len(word) for word in line.split() if word != "---"]


def read(tmp_path, *contents, **options):
    paths = []
    for number, content in enumerate(contents):
        paths.append(str(tmp_path / f"{number}.txt"))
        (tmp_path / f"{number}.txt").write_bytes(content)
    counts = ReadCounts()
    return list(read_documents(paths, encode, counts, **options)), counts


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


def test_a_carriage_return_is_white_space(tmp_path):
    assert read(tmp_path, b"a\rbb\r\n\r\nccc\r\n")[0] == [[[1, 2]], [[3]]]


def test_a_carriage_return_joins_words_as_in_the_original_on_request(tmp_path):
    found, _ = read(tmp_path, b"a\rbb\r\n\r\nccc\r\n", drop_carriage_returns=True)
    assert found == [[[3]], [[3]]]


def test_lines_may_be_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "CHUNK_BYTES", 3)
    found, _ = read(tmp_path, "äöüäöüä\nb\n\nccccccc".encode())
    assert found == [[[7], [1]], [[7]]]


def test_invalid_utf8_is_found_by_file_line_and_byte(tmp_path):
    with pytest.raises(ValueError, match=r"0\.txt, line 3, byte 8 .*0xff") as caught:
        read(tmp_path, b"\xc3\xa4\r\nbb\nc\xff\n")
    assert "\n" not in str(caught.value)


def test_patterns_expand_in_their_order_and_by_name_within_one(tmp_path):
    for name in ("b1", "b0", "a3", "a2"):
        (tmp_path / name).touch()
    found = expand_patterns([str(tmp_path / "b*"), str(tmp_path / "a*")])
    assert [path[-2:] for path in found] == ["b0", "b1", "a2", "a3"]


def test_a_pattern_that_matches_nothing_is_named(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(FileNotFoundError, match="--eval_file: .*/none"):
        expand_patterns([str(tmp_path / "a"), str(tmp_path / "none*")], flag="eval_file")


def test_a_directory_is_not_taken_for_a_file(tmp_path):
    with pytest.raises(ValueError, match="is a directory"):
        expand_patterns([str(tmp_path)])
