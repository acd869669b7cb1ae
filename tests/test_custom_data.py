"""Anyone's files: TSV, CSV and JSONL with named columns."""

import random

import pytest

from finetuning.custom_data import Columns, label_rows, read_rows
from finetuning.tasks import MULTI, REGRESSION, SINGLE, Example, Task

COLUMNS = Columns(["text"], "label")
PAIR = Columns(["first", "second"], "stars", id="key")
TASK = Task("custom", ("no", "yes"), {})


def read(tmp_path, name, content, columns=COLUMNS, kind=SINGLE, split="train"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_rows(str(path), columns, kind, split)


def values(rows):
    return [tuple(row[1:]) for row in rows]


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.tsv", "label\ttext\tx\nyes\tGood, good.\t1\nno\tBad.\t2\n"),
        ("a.csv", 'text,x,label\n"Good, good.",1,yes\nBad.,2,no\n'),
        (
            "a.jsonl",
            '{"label": "yes", "text": "Good, good.", "x": [3]}\n{"text": "Bad.", "label": "no"}\n',
        ),
    ],
)
@pytest.mark.parametrize("change", [str.encode, lambda s: b"\xef\xbb\xbf" + s.encode()])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_format_gives_the_same_rows(name, content, change, end, tmp_path):
    rows = read(tmp_path, name, change(content.replace("\n", end)))
    assert values(rows) == [
        ("train-1", "Good, good.", None, "yes"),
        ("train-2", "Bad.", None, "no"),
    ]


def test_two_texts_and_ids_are_found_by_name(tmp_path):
    rows = read(tmp_path, "a.csv", "second,key,stars,first\nb,k7,4,a\nd,k2,1,c\n", PAIR)
    assert values(rows) == [("k7", "a", "b", "4"), ("k2", "c", "d", "1")]


def test_labels_of_a_test_set_are_not_looked_at(tmp_path):
    rows = read(tmp_path, "a.csv", "text\nGood.\n", split="test")
    assert values(rows) == [("test-1", "Good.", None, None)]
    assert label_rows(rows, TASK) == [Example("test-1", "Good.", None, "no")]


def test_a_quoted_field_of_a_csv_may_hold_anything(tmp_path):
    text = 'He said, "no"\nand\tleft.'
    quoted = text.replace('"', '""')
    content = f'label,text\nyes,"{quoted}"\nno,in "the" middle\n'
    rows = read(tmp_path, "a.csv", content)
    assert [row.text_a for row in rows] == [text, 'in "the" middle']
    assert rows[1].place.endswith("a.csv, line 4")


def test_a_field_may_be_longer_than_the_csv_module_reads(tmp_path):
    (row,) = read(tmp_path, "a.csv", f'label,text\nyes,"{"x" * 200_000}"\n')
    assert len(row.text_a) == 200_000


def test_quotation_marks_in_a_tsv_stay_and_are_reported(tmp_path, caplog):
    rows = read(tmp_path, "a.tsv", 'text\tlabel\nin "the"\tyes\n"a ""b"" c"\tno\n"\tno\n')
    assert [row.text_a for row in rows] == ['in "the"', '"a ""b"" c"', '"']
    assert "1 rows have fields in quotation marks, the first is line 3: in a .tsv " in caplog.text


def test_quotation_marks_after_a_blank_in_a_csv_stay_and_are_reported(tmp_path, caplog):
    rows = read(tmp_path, "a.csv", 'label,text\nno, in "the"\nyes, "a"\nno,"b"\nno, "\n')
    assert [row.text_a for row in rows] == [' in "the"', ' "a"', "b", ' "']
    assert "1 rows have fields in quotation marks, the first is line 3: after a" in caplog.text


@pytest.mark.parametrize(
    "value, label", [("3", "3"), ("true", "true"), ('"x"', "x"), ("2.5", "2.5")]
)
def test_labels_of_json_may_be_numbers_and_truth_values(value, label, tmp_path):
    (row,) = read(tmp_path, "a.jsonl", f'{{"text": "a", "label": {value}}}\n')
    assert row.label == label


@pytest.mark.parametrize(
    "name, content, separator",
    [
        ("a.csv", 'text,label\na,"x, y,x"\nb,\nc,z\n', ","),
        ("a.tsv", "text\tlabel\na\tx;y\nb\t;\nc\tz\n", ";"),
        (
            "a.jsonl",
            '{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": []}\n'
            '{"text": "c", "label": "z"}\n',
            ",",
        ),
    ],
)
def test_several_labels_are_a_list(name, content, separator, tmp_path):
    columns = COLUMNS._replace(label_separator=separator)
    rows = read(tmp_path, name, content, columns, MULTI)
    assert [row.label for row in rows] == [("x", "y"), (), ("z",)]
    task = Task("custom", ("x", "y", "z"), {}, MULTI)
    assert [example.label for example in label_rows(rows, task)] == [("x", "y"), (), ("z",)]


def test_spaces_around_labels_and_ids_do_not_count_those_around_texts_do(tmp_path):
    content = 'key,first,second,stars\nk1 , a ,b," 5"\n'
    assert values(read(tmp_path, "a.csv", content, PAIR)) == [("k1", " a ", "b", "5")]


def test_numbers_are_read_as_such(tmp_path):
    rows = read(tmp_path, "a.tsv", "text\tlabel\na\t-2.5\nb\t1e3\n", kind=REGRESSION)
    task = Task("custom", ("value",), {}, REGRESSION)
    assert [example.label for example in label_rows(rows, task)] == [-2.5, 1000.0]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", "", "a.txt: name it .tsv, .csv or .jsonl"),
        ("a.tsv", "", "a.tsv, line 1: there is no column 'text', only none"),
        ("a.tsv", "text\tlabel\n", "a.tsv holds no example"),
        ("a.jsonl", "", "a.jsonl holds no example"),
        ("a.tsv", "text,label\na,yes\n", "line 1: there is no column 'text', only 'text,label'"),
        ("a.csv", "text;label\na;yes\n", "line 1: there is no column 'text', only 'text;label'"),
        (
            "a.csv",
            "text,Label\na,yes\n",
            "there is no column 'label', only 'text', 'Label': see --",
        ),
        ("a.csv", "text,label,text\na,yes,b\n", "line 1: two columns are named text"),
        ("a.csv", "text,label\na,yes\na,b,yes\n", "line 3: 3 fields where line 1 names 2 columns"),
        (
            "a.tsv",
            'text\tlabel\n"a\nb"\tyes\n',
            "line 2: 1 fields .* marks: in a .tsv they are part",
        ),
        ("a.csv", 'text,label\na, "b, c"\n', "line 2: 3 fields .* marks: after a blank they are"),
        ("a.tsv", "text\tlabel\na\n", "line 2: 1 fields where line 1 names 2 columns$"),
        ("a.tsv", "text\tlabel\na\tyes\n\n", "line 3: the line is empty: delete it"),
        ("a.csv", "text,label\na,yes\n\n", "line 3: the line is empty: delete it"),
        ("a.csv", 'text,label\na,yes\n"No,no\nb,yes\n', "line 3: unexpected end of data: is a quo"),
        ("a.csv", 'text,label\n"Yes," he said,yes\n', "line 2: ',' expected after '\"': is a quo"),
        ("a.csv", "text,label\na,yes\nb, \n", "line 3: label is empty"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "a"\n', "line 2 is not JSON: "),
        ("a.jsonl", '{"text": "a", "label": "x"}\n \n', "line 2: the line is empty: delete it"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON: "),
        ("a.jsonl", '["a"]\n', 'line 1: \\["a"\\] where an object is expected'),
        ("a.jsonl", '{"text": "a"}\n', "line 1: there is no field 'label', only 'text'"),
        ("a.jsonl", '{"text": null, "label": "x"}\n', "text is null where a text is expected"),
        ("a.jsonl", '{"text": "a", "label": ["x"]}\n', 'label is \\["x"\\] where a text'),
        ("a.jsonl", '{"text": "\\ud800", "label": "x"}\n', "half of a surrogate pair"),
        ("a.tsv", b"text\tlabel\na\xff\tyes\n", "0xff at byte offset 12"),
    ],
)
def test_bad_files_are_named_with_line_and_reason(name, content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, name, content)
    assert name in str(error.value) and "\n" not in str(error.value)


def test_an_id_that_is_there_twice_is_refused_with_both_lines(tmp_path):
    content = "first,second,stars,key\na,b,1,k\nc,d,2,m\ne,f,3,k\n"
    with pytest.raises(ValueError, match="line 4: key 'k' is that of line 2 too"):
        read(tmp_path, "a.csv", content, PAIR)


def test_examples_without_text_are_kept_and_counted(tmp_path, caplog):
    assert len(read(tmp_path, "a.csv", "text,label\n ,yes\nb,no\n,no\n")) == 3
    assert "2 examples without text, the first is " in caplog.text
    assert "a.csv, line 2" in caplog.text


def test_pairs_of_which_one_text_is_empty_are_counted(tmp_path, caplog):
    content = "first,second,stars,key\na,b,1,k1\na, ,1,k2\n,b,1,k3\n"
    assert len(read(tmp_path, "a.csv", content, PAIR)) == 3
    assert "2 examples with an empty text, the first is " in caplog.text
    assert "a.csv, line 3" in caplog.text


def test_what_is_no_number_is_refused_with_its_line(tmp_path):
    rows = read(tmp_path, "dev.csv", "text,label\na,1\nb,n/a\n", kind=REGRESSION)
    with pytest.raises(ValueError, match="dev.csv, line 3: 'n/a' is no number$"):
        label_rows(rows, Task("custom", ("value",), {}, REGRESSION))


def test_a_label_that_training_lacks_is_refused_with_its_line(tmp_path):
    rows = read(tmp_path, "dev.csv", "text,label\na,yes\nb,maybe\n", split="dev")
    with pytest.raises(ValueError, match="dev.csv, line 3: label 'maybe' is none of no, yes "):
        label_rows(rows, TASK)


def test_of_many_labels_some_are_named(tmp_path):
    rows = read(tmp_path, "dev.csv", "text,label\na,maybe\n", split="dev")
    with pytest.raises(ValueError, match="is none of 0, 1, .*, 18, 19 and 130 more "):
        label_rows(rows, Task("custom", tuple(map(str, range(150))), {}))


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl"])
def test_any_bytes_give_rows_or_one_line_of_explanation(name, tmp_path):
    good = {
        "a.tsv": 'text\tlabel\na "b" c\tyes\nd\tno\n',
        "a.csv": 'text,label\n"a ""b"", c",yes\nd,no\n',
        "a.jsonl": '{"text": "a \\"b\\"", "label": "yes"}\n{"text": "d", "label": 7}\n',
    }[name].encode()
    draw = random.Random(7)
    told = 0
    for _ in range(200):
        content = bytearray(good)
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(content))
            content[place : place + draw.randrange(3)] = draw.choice(
                [
                    b"\t",
                    b"\n",
                    b"\r",
                    b"\xff",
                    b"\0",
                    b"",
                    b",",
                    "\u2028".encode(),
                    b"[",
                    b'"',
                    b"\\",
                ]
            )
        try:
            assert read(tmp_path, name, bytes(content))
        except ValueError as error:
            told += 1
            assert len(str(error).split("\n")) == 1
    assert told > 20
