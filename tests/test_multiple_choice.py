"""Questions with several choices: how they are read, and what becomes of them in records."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from finetuning.length_records import write_by_length
from finetuning.multiple_choice import (
    Question,
    encode_questions,
    feature_spec,
    in_file_order,
    read_questions,
)
from tokenization import FullTokenizer

# As the first lines of SWAG's published files, in their columns.
HEADER = (
    ",video-id,fold-ind,startphrase,sent1,sent2,gold-source,ending0,ending1,ending2,ending3,label"
)
ROWS = [
    '0,v1,7,"He sits. He","He sits, ""there"".",He,gold,runs.,sleeps.,"sings, loudly.",eats.,3',
    "1,v2,8,She runs. It,She runs.,It,gen,stops.,falls.,is red.,is blue.,0",
]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefg"]


@pytest.fixture
def read(tmp_path):
    """Writes lines and reads them as a file of questions."""

    def call(*lines, name="val.csv", with_labels=True):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return read_questions(str(path), with_labels)

    return call


def test_the_published_columns_are_read(read, tmp_path):
    first, second = read(HEADER, *ROWS)
    assert first == Question(
        f"{tmp_path}/val.csv, line 2",
        'He sits, "there".',
        ["He runs.", "He sleeps.", "He sings, loudly.", "He eats."],
        3,
    )
    assert second.choices[2] == "It is red." and second.label == 0


def test_prediction_needs_no_labels(read):
    without = [line.rpartition(",")[0] for line in (HEADER, *ROWS)]
    assert [question.label for question in read(*without, with_labels=False)] == [0, 0]


def test_lines_of_json_have_the_same_fields_and_any_number_of_endings(read):
    values = dict(sent1="a", sent2="", ending0="b", ending1="c", ending2="d", label=2)
    (question,) = read(json.dumps(values), name="val.jsonl")
    assert question[1:] == ("a", ["b", "c", "d"], 2)


def test_empty_situations_and_labels_that_are_all_the_same_are_told(read, caplog):
    lines = [changed(), changed(sent1=" "), changed(sent1="")]
    assert len(read(*lines, name="val.jsonl")) == 3
    assert "2 questions without sent1, the first is " in caplog.text
    assert "val.jsonl, line 2" in caplog.text and "val.jsonl: all labels are 1" in caplog.text


def test_sound_questions_give_no_warning(read, caplog):
    read(HEADER, *ROWS)
    read(HEADER, ROWS[0])
    read(*[changed()] * 2, name="val.jsonl", with_labels=False)
    assert not caplog.records


def changed(**values):
    fields = dict(sent1="a", sent2="b", ending0="c", ending1="d", label=1)
    fields.update(values)
    return json.dumps({name: value for name, value in fields.items() if value != "absent"})


BAD = {
    "a label too high": (changed(label=2), "line 2: label 2 is none of 0 to 1"),
    "a label that is no number": (changed(label="first"), 'label "first" is none'),
    "no label": (changed(label="absent"), "line 2: there is no field 'label'"),
    "no situation": (changed(sent1="absent"), "'sent1'"),
    "one ending": (changed(ending1="absent"), "'ending1'"),
    "an empty ending": (changed(ending1=" "), "line 2: ending1 is empty"),
    "an ending that is no text": (changed(ending0=None), "line 2: ending0 is null"),
    "more endings": (changed(ending2="e"), "line 2: 3 endings where"),
    "a gap": (changed(ending3="e"), "line 2: there is no ending2"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_line(read, case):
    line, expected = BAD[case]
    with pytest.raises(ValueError, match="val.jsonl, line 2") as error:
        read(changed(), line, name="val.jsonl")
    assert expected in str(error.value)


def test_a_file_without_questions_is_named(read):
    with pytest.raises(ValueError, match="holds no question"):
        read(HEADER)


@pytest.fixture
def tokenizer():
    return FullTokenizer.from_vocab({token: number for number, token in enumerate(VOCAB)})


def text(ids):
    return " ".join(VOCAB[number] for number in ids if number)


def test_each_choice_is_a_sequence_with_the_situation(tokenizer, tmp_path):
    questions = [Question("", "a b", ["c", "d e f"], 1), Question("", "a", ["b", "c"], 0)]
    rows = encode_questions(questions, tokenizer, 11)
    (path,) = write_by_length(str(tmp_path), "train", rows, [11]).files.values()
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    parsed = tf.io.parse_example(tf.constant(records), feature_spec(11, 2))
    assert [[text(ids) for ids in question] for question in parsed["input_ids"].numpy()] == [
        ["[CLS] a b [SEP] c [SEP]", "[CLS] a b [SEP] d e f [SEP]"],
        ["[CLS] a [SEP] b [SEP]", "[CLS] a [SEP] c [SEP]"],
    ]
    assert parsed["input_mask"].numpy().sum(-1).tolist() == [[6, 8], [5, 5]]
    assert parsed["segment_ids"].numpy().sum(-1).tolist() == [[2, 4], [2, 2]]
    assert parsed["segment_ids"][0, 1].numpy().tolist() == [0] * 4 + [1] * 4 + [0] * 3
    assert parsed["label_ids"].numpy().tolist() == [1, 0]
    assert parsed["unique_ids"].numpy().tolist() == [0, 1]
    assert parsed["is_real_example"].numpy().tolist() == [1, 1]


def test_long_questions_are_truncated_as_pairs_are_and_counted(tokenizer, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    questions = [Question("", "a b c d e", ["f", "f g a b c d"], 0), Question("", "a", ["b"], 0)]
    long, _ = encode_questions(questions, tokenizer, 7)
    assert [text(ids) for ids in long["input_ids"]] == [
        "[CLS] a b c [SEP] f [SEP]",
        "[CLS] a b [SEP] f g [SEP]",
    ]
    assert "2 questions with 2 choices, 1 of them truncated to --max_seq_length=7" in caplog.text


def test_the_length_is_that_of_the_longest_choice(tokenizer):
    (row,) = encode_questions([Question("", "a", ["b", "b c d"], 0)], tokenizer, 11)
    assert row["input_ids"].shape == (2, 7)
    np.testing.assert_array_equal(row["input_ids"] > 0, row["input_mask"])


def test_scores_are_put_in_the_order_of_the_file_without_what_fills_batches():
    batches = [
        {"unique_ids": np.array([2, 0]), "is_real_example": np.array([1, 1])},
        {"unique_ids": np.array([1, 0]), "is_real_example": np.array([1, 0])},
    ]
    for batch in batches:
        batch["outputs"] = batch["unique_ids"][:, np.newaxis] * 10.0
    assert in_file_order(batches)["outputs"].tolist() == [[0.0], [10.0], [20.0]]
