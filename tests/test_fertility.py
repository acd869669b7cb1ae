"""Fertility: counted by hand on four words."""

import pytest

from tokenization.fertility import fertility_table, measure_fertility
from tokenization.word_counts import count_words

VOCAB = {token: i for i, token in enumerate(["[UNK]", "hug", "##s", "b", "##un", ","])}
COUNTS = count_words(["hugs hug, bun\n\nhugs x\n"])  # 6 words, 19 characters, 2 lines


def test_every_number_is_that_of_the_running_text():
    measured = measure_fertility(VOCAB, COUNTS, num_split=10)
    # hug ##s | hug | , | b ##un | hug ##s | [UNK]
    assert (measured.tokens, measured.words, measured.pieces) == (6, 6, 9)
    assert measured.pieces_per_word == pytest.approx(9 / 6)
    assert measured.whole_words == pytest.approx(2 / 6)
    assert measured.unknown_words == pytest.approx(1 / 6)
    assert measured.pieces_per_line == pytest.approx(9 / 2)
    assert measured.pieces_per_1000_characters == pytest.approx(9000 / 19)


def test_the_commonest_split_words_come_first():
    assert measure_fertility(VOCAB, COUNTS, num_split=1).commonest_split == [
        ("hugs", 2, ("hug", "##s"))
    ]
    assert [row[0] for row in measure_fertility(VOCAB, COUNTS, 9).commonest_split] == [
        "hugs",
        "bun",
    ]


def test_the_table_has_a_column_for_each_vocabulary():
    columns = {name: measure_fertility(VOCAB, COUNTS, 1) for name in ("ours", "theirs")}
    lines = fertility_table(columns).split("\n")
    assert lines[0].split() == ["ours", "theirs"]
    assert lines[4].split()[-2:] == ["1.5000", "1.5000"]
    assert lines[-1].split() == ["2", "hug", "##s"]
