"""Files of tagged words: what is read of them, and what predictions leave as it was."""

import random

import pytest

from finetuning.tagging_files import by_sentence, read_tag_file, with_tags

CONLL2003 = """\
-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
-DOCSTART- -X- -X- O

BRUSSELS NNP B-NP B-LOC
"""

CONLLU = """\
# newdoc id = a
# sent_id = 1
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\t,\t,\tPUNCT\t_\t_\t_\t_\t_\t_
3\tal mar\tal\tADP\t_\t_\t1\tobl\t_\t_

# newdoc id = b
1\t#\t#\tSYM\t_\t_\t0\troot\t_\t_
"""


@pytest.fixture
def read(tmp_path):
    """Writes a text and reads it as a file of tagged words."""

    def call(text, name="a.txt", word_column=None, tag_column=None, with_tags=True):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_tag_file(str(path), word_column, tag_column, with_tags)

    return call


def words(file):
    return [sentence.words for sentence in file.sentences]


def tags(file):
    return [sentence.tags for sentence in file.sentences]


def test_columns_are_between_blanks_and_the_last_has_the_tags(read):
    file = read(CONLL2003)
    assert words(file) == [["EU", "rejects"], ["Peter"], ["BRUSSELS"]]
    assert tags(file) == [["B-ORG", "O"], ["B-PER"], ["B-LOC"]]


def test_docstart_begins_a_document_and_is_no_sentence(read):
    file = read(CONLL2003)
    assert file.num_documents == 2
    assert [sentence.document for sentence in file.sentences] == [1, 1, 2]


def test_other_columns_can_be_asked_for(read):
    assert tags(read(CONLL2003, tag_column=1)) == [["NNP", "VBZ"], ["NNP"], ["NNP"]]
    assert words(read(CONLL2003, word_column=-1, tag_column=0))[0] == ["B-ORG", "O"]


def test_between_tabs_a_word_may_hold_blanks_and_a_line_of_tabs_is_empty(read):
    file = read("New York\tB-LOC\n\t\n\xa0\tO\n")
    assert words(file) == [["New York"], ["\xa0"]]


def test_a_hash_is_a_word_where_the_file_is_not_conllu(read):
    assert words(read("# O\n#tag O\n")) == [["#", "#tag"]]


def test_conllu_has_words_with_whole_ids_comments_and_documents(read):
    file = read(CONLLU, "a.conllu")
    assert words(file) == [["vamos", "nos", "al mar"], ["#"]]
    assert tags(file) == [["VERB", "PRON", "ADP"], ["SYM"]]
    assert [sentence.document for sentence in file.sentences] == [1, 2]


def test_line_ends_and_the_mark_of_windows_are_no_part_of_words(read):
    assert words(read(b"\xef\xbb\xbfEU O\r\nsays O\r\n")) == [["EU", "says"]]


def test_the_character_of_the_mark_may_be_a_word_further_on(read):
    file = read("\ufeffEU\tB-ORG\n\ufeff\tO\n\nsays\tO\n")
    assert words(file) == [["EU", "\ufeff"], ["says"]]
    assert with_tags(file, [["X", "Y"], ["Z"]]) == "EU\tB-ORG\tX\n\ufeff\tO\tY\n\nsays\tO\tZ\n"


def test_the_ending_of_conllu_may_be_in_capitals(read):
    assert words(read(CONLLU, "A.CONLLU")) == words(read(CONLLU, "a.conllu"))


def test_predictions_are_one_more_column_and_nothing_else_changes(read):
    file = read(CONLL2003, with_tags=False)
    text = with_tags(file, [["A", "B"], ["C"], ["D"]])
    new = ["O", None, "A", "B", None, "C", "O", None, "D"]
    lines = [
        line if tag is None else f"{line} {tag}"
        for line, tag in zip(CONLL2003.splitlines(), new, strict=True)
    ]
    assert text.splitlines() == lines


def test_predictions_take_the_place_of_the_tags_in_conllu(read):
    text = with_tags(read(CONLLU, "a.conllu", with_tags=False), [["A", "B", "C"], ["D"]])
    expected = CONLLU.replace("VERB", "A").replace("PRON", "B").replace("ADP", "C")
    assert text == expected.replace("SYM", "D")


def test_words_without_tags_can_be_predicted(read):
    file = read("EU\nsays\n\nno\n", with_tags=False)
    assert with_tags(file, [["X", "Y"], ["Z"]]) == "EU X\nsays Y\n\nno Z\n"


def test_values_of_words_are_given_back_by_sentence(read):
    assert by_sentence(read(CONLL2003), range(4)) == [[0, 1], [2], [3]]


BAD = {
    "ragged": ("a O\nb X O\n", {}, "line 2: 3 columns, 'b X O', where the lines before have 2"),
    "too few": ("a O\n", dict(tag_column=3), "no --tag_column=3 among 2"),
    "only words": ("a\nb\n", {}, "words and tags in the same"),
    "an empty tag": ("a\tO\nb\t\n", {}, "line 2: the word 'b' has no tag"),
    "an empty word": ("\tO\n", {}, "line 1: the word is empty"),
    "nothing": ("\n\n-DOCSTART- O\n", {}, "holds no word"),
    "no UTF-8": (b"a O\n\xff O\n", {}, "byte offset 4"),
    "blanks in CoNLL-U": ("1 a a X _ _ 0 root _ _\n", dict(name="a.conllu"), "1 columns"),
    "no ID": (
        "one\ta\ta\tX\t_\t_\t0\troot\t_\t_\n",
        dict(name="a.conllu"),
        "line 1: 'one' is no ID",
    ),
    "no tag in CoNLL-U": (CONLLU.replace("SYM", "_"), dict(name="a.conllu"), "line 10"),
    "CoNLL-U under another name": (CONLLU, {}, "ends in .conllu"),
}


@pytest.mark.parametrize("name, text", [("a.txt", CONLL2003), ("a.conllu", CONLLU)])
def test_any_bytes_give_words_or_one_line_of_explanation(read, name, text):
    rng = random.Random(7)
    for _ in range(100):
        data = bytearray(text.encode())
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.choice(b'\t \n\r"\x00_1-.\xff')
        try:
            file = read(bytes(data), name)
        except ValueError as error:
            assert name in str(error) and "\n" not in str(error)
            continue
        lines = with_tags(file, [sentence.tags for sentence in file.sentences]).split("\n")
        assert all(map(str.startswith, lines, (line.rstrip(" ") for line in file.lines)))


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_line(read, case):
    text, arguments, expected = BAD[case]
    with pytest.raises(ValueError) as error:
        read(text, **arguments)
    assert expected in str(error.value)
    assert arguments.get("name", "a.txt") in str(error.value)
