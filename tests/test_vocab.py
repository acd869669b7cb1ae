"""Vocabulary files: what the original's reader does, and what is said about it."""

import logging

import pytest

from tokenization import (
    SPECIAL_TOKENS,
    convert_by_vocab,
    convert_ids_to_tokens,
    convert_tokens_to_ids,
    load_vocab,
    validate_case_matches_checkpoint,
)

SPECIAL_LINES = b"".join(f"{token}\n".encode() for token in SPECIAL_TOKENS)


def load(tmp_path, data: bytes) -> list[tuple[str, int]]:
    """Writes a file and returns what `load_vocab` makes of it, in its order."""
    path = tmp_path / "vocab.txt"
    path.write_bytes(data)
    return list(load_vocab(str(path)).items())


def warnings(caplog) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)


def test_id_is_the_line_number_with_or_without_a_final_newline(tmp_path):
    assert load(tmp_path, b"a\nb\nc\n") == [("a", 0), ("b", 1), ("c", 2)]
    assert load(tmp_path, b"a\nb\nc") == [("a", 0), ("b", 1), ("c", 2)]


def test_carriage_returns_vanish_wherever_they_stand(tmp_path):
    assert load(tmp_path, b"a\r\nb\rc\r\r\n\rd\n\r") == [("a", 0), ("bc", 1), ("d", 2)]


def test_carriage_returns_vanish_before_the_bytes_are_decoded(tmp_path):
    assert load(tmp_path, b"caf\xc3\r\xa9\n") == [("caf\u00e9", 0)]


@pytest.mark.parametrize("char", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_only_newline_ends_a_line(tmp_path, char):
    assert load(tmp_path, f"a{char}b\nc\n".encode()) == [(f"a{char}b", 0), ("c", 1)]


def test_white_space_around_a_token_is_stripped(tmp_path):
    assert load(tmp_path, "\u3000a\u00a0\n\tb c \x0b\n".encode()) == [("a", 0), ("b c", 1)]


def test_last_duplicate_wins_but_keeps_the_first_place(tmp_path, caplog):
    assert load(tmp_path, b"a\nb\n a \nc\n") == [("a", 2), ("b", 1), ("c", 3)]
    assert "duplicate tokens, the last id wins: line 3 ('a' of line 1)" in warnings(caplog)


def test_many_duplicates_are_told_in_one_short_warning(tmp_path, caplog):
    load(tmp_path, SPECIAL_LINES + b"a\n" * 13)
    (message,) = [r.getMessage() for r in caplog.records]
    assert message.count("'a' of line 6") == 5 and message.endswith("and 7 more")


def test_blank_lines_are_the_empty_token(tmp_path, caplog):
    assert load(tmp_path, b"a\n\nb\n \t\n") == [("a", 0), ("", 3), ("b", 2)]
    assert "blank lines, each counts as the token '': line 2, 4" in warnings(caplog)


def test_byte_order_mark_stays_in_the_first_token(tmp_path, caplog):
    assert load(tmp_path, b"\xef\xbb\xbfa\nb\n") == [("\ufeffa", 0), ("b", 1)]
    assert "line 1 begins with a byte order mark" in warnings(caplog)


def test_missing_special_tokens_are_told(tmp_path, caplog):
    load(tmp_path, b"[PAD]\n[CLS]\na\n")
    assert "no line holds [UNK], [SEP], [MASK]" in warnings(caplog)


def test_a_sound_vocabulary_gives_no_warning(tmp_path, caplog):
    load(tmp_path, SPECIAL_LINES + b"a\n##a\n")
    assert not caplog.records


def test_invalid_utf8_names_file_and_byte(tmp_path):
    with pytest.raises(ValueError, match=r"vocab\.txt is not UTF-8: byte 0xff at byte offset 6 "):
        load(tmp_path, b"a\r\nb\rc\xff\n")


def test_empty_and_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"vocab\.txt is empty"):
        load(tmp_path, b"")
    with pytest.raises(FileNotFoundError, match=r"absent\.txt does not exist$"):
        load_vocab(str(tmp_path / "absent.txt"))


def test_released_vocabulary_loads(shared, caplog):
    vocab = load_vocab(str(shared / "data/vocab/uncased_vocab.txt"))
    assert len(vocab) == 30522 and not caplog.records
    assert [vocab[token] for token in SPECIAL_TOKENS] == [0, 100, 101, 102, 103]


def test_look_ups_have_no_fallback():
    vocab = {"a": 3, "##b": 5, "[UNK]": 7}
    assert convert_tokens_to_ids(vocab, ["##b", "a", "##b"]) == [5, 3, 5]
    assert convert_ids_to_tokens({3: "a", 5: "##b"}, [5, 3]) == ["##b", "a"]
    assert convert_by_vocab(vocab, ()) == []
    with pytest.raises(KeyError, match="c"):
        convert_tokens_to_ids(vocab, ["a", "c"])


@pytest.mark.parametrize(
    "folder",
    [
        "uncased_L-24_H-1024_A-16",
        "uncased_L-12_H-768_A-12",
        "multilingual_L-12_H-768_A-12",
        "chinese_L-12_H-768_A-12",
        "wwm_uncased_L-24_H-1024_A-16",
        "uncased_L-2_H-128_A-2",
    ],
)
def test_uncased_releases_need_lower_case(folder):
    for path in (f"gs://b/x.{folder}/bert_model.ckpt", f"C:\\x\\{folder}\\bert_model.ckpt"):
        validate_case_matches_checkpoint(True, path)
        with pytest.raises(
            ValueError, match=f"{folder} is an uncased model, use --do_lower_case=true"
        ):
            validate_case_matches_checkpoint(False, path)


@pytest.mark.parametrize(
    "folder",
    [
        "cased_L-12_H-768_A-12",
        "cased_L-24_H-1024_A-16",
        "multi_cased_L-12_H-768_A-12",
        "wwm_cased_L-24_H-1024_A-16",
    ],
)
def test_cased_releases_need_their_case(folder):
    validate_case_matches_checkpoint(False, f"{folder}/bert_model.ckpt")
    with pytest.raises(ValueError, match=f"{folder} is a cased model, use --do_lower_case=false"):
        validate_case_matches_checkpoint(True, f"/x/{folder}/bert_model.ckpt.index")


@pytest.mark.parametrize(
    "path", [None, "", "cased_L-12_H-768_A-12/model.ckpt-7", "my_cased_model/bert_model.ckpt"]
)
def test_other_checkpoints_pass_with_either_flag(path):
    validate_case_matches_checkpoint(True, path)
    validate_case_matches_checkpoint(False, path)
