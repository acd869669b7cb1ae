"""The table of tasks and the reader of their files."""

import csv
import json
import pathlib
import random

import pytest

from finetuning.tasks import TASKS, Example, find_task, read_examples

# Columns of a MultiNLI file; those that matter hold more than a dot.
MNLI_HEADER = "index\t.\t.\t.\t.\t.\t.\t.\tsentence1\tsentence2\tlabel1\tgold_label\n"
XNLI_HEADER = "language\tgold_label\t.\t.\t.\t.\tsentence1\tsentence2\n"
FILES = {
    ("cola", "train"): ("train.tsv", "gj\t1\t\tIt rains.\ngj\t0\t*\tRains it.\n"),
    ("cola", "dev"): ("dev.tsv", "gj\t0\t*\tIt rain.\n"),
    ("cola", "test"): ("test.tsv", "index\tsentence\n7\tIt snows.\n9\tSnow.\n"),
    ("mnli", "train"): (
        "train.tsv",
        MNLI_HEADER
        + "71\t.\t.\t.\t.\t.\t.\t.\tA dog.\tAn animal.\tneutral\tentailment\n"
        + "40\t.\t.\t.\t.\t.\t.\t.\tA cat.\tA dog.\tneutral\tcontradiction\n",
    ),
    ("mnli", "dev"): (
        "dev_matched.tsv",
        MNLI_HEADER + "5\t.\t.\t.\t.\t.\t.\t.\tA\tB\tl1\tl2\tl3\tl4\tl5\tneutral\n",
    ),
    ("mnli", "test"): (
        "test_matched.tsv",
        MNLI_HEADER + "5\t.\t.\t.\t.\t.\t.\t.\tA\tB\n",
    ),
    ("mrpc", "train"): (
        "train.tsv",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\tOne.\tTwo.\n1\t9\t9\tX\tY\n",
    ),
    ("mrpc", "dev"): ("dev.tsv", "Quality\t#1 ID\t#2 ID\tA\tB\n1\t7\t8\tOne.\tTwo.\n"),
    ("mrpc", "test"): ("test.tsv", "index\t#1 ID\t#2 ID\tA\tB\n1\t7\t8\tOne.\tTwo.\n"),
    ("xnli", "train"): (
        "multinli/multinli.train.zh.tsv",
        "premise\thypo\tlabel\n下雨\t下雪\tcontradictory\n晴\t好\tentailment\n",
    ),
    ("xnli", "dev"): (
        "xnli.dev.tsv",
        XNLI_HEADER + "ar\tneutral\n"
        "zh\tneutral\t.\t.\t.\t.\t下雨\t下雪\n"
        "en\tbogus\t.\t.\t.\t.\ta\tb\n"
        "zh\tcontradiction\t.\t.\t.\t.\t晴\t好\n",
    ),
}
EXAMPLES = {
    ("cola", "train"): [
        ("train-0", "It rains.", None, "1"),
        ("train-1", "Rains it.", None, "0"),
    ],
    ("cola", "dev"): [("dev-0", "It rain.", None, "0")],
    ("cola", "test"): [("test-1", "It snows.", None, "0"), ("test-2", "Snow.", None, "0")],
    ("mnli", "train"): [
        ("train-71", "A dog.", "An animal.", "entailment"),
        ("train-40", "A cat.", "A dog.", "contradiction"),
    ],
    ("mnli", "dev"): [("dev_matched-5", "A", "B", "neutral")],
    ("mnli", "test"): [("test-5", "A", "B", "contradiction")],
    ("mrpc", "train"): [("train-1", "One.", "Two.", "0"), ("train-2", "X", "Y", "1")],
    ("mrpc", "dev"): [("dev-1", "One.", "Two.", "1")],
    ("mrpc", "test"): [("test-1", "One.", "Two.", "0")],
    ("xnli", "train"): [
        ("train-1", "下雨", "下雪", "contradiction"),
        ("train-2", "晴", "好", "entailment"),
    ],
    ("xnli", "dev"): [("dev-2", "下雨", "下雪", "neutral"), ("dev-4", "晴", "好", "contradiction")],
}


def write(folder, name, content):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(folder, content, task="cola", split="train"):
    write(folder, TASKS[task].tables[split].file, content)
    return read_examples(TASKS[task], str(folder), split)


@pytest.mark.parametrize("task, split", FILES)
def test_every_file_is_read_by_the_rules_of_its_task(task, split, tmp_path):
    write(tmp_path, *FILES[task, split])
    found = read_examples(find_task(task), str(tmp_path), split)
    assert found == [Example(*values) for values in EXAMPLES[task, split]]


def test_every_split_of_every_task_is_tested_here():
    assert {(task.name, split) for task in TASKS.values() for split in task.tables} == set(FILES)


def test_labels_are_in_the_order_of_the_original():
    entailment = ("contradiction", "entailment", "neutral")
    assert {task.name: task.labels for task in TASKS.values()} == {
        "cola": ("0", "1"),
        "mnli": entailment,
        "mrpc": ("0", "1"),
        "xnli": entailment,
    }


def test_names_of_tasks_are_found_in_any_case():
    assert find_task("MRPC") is find_task("mrpc") is TASKS["mrpc"]


def test_an_unknown_task_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="--task_name=mprc is none of cola, mnli, mrpc, xnli"):
        find_task("mprc")


def test_a_task_without_test_set_says_so(tmp_path):
    with pytest.raises(ValueError, match="task xnli has no test set: it has train, dev"):
        read_examples(TASKS["xnli"], str(tmp_path), "test")


def test_quotation_marks_are_characters_like_others(tmp_path):
    (one, two) = read(tmp_path, 'gj\t1\t\t"Yes," he said\ngj\t0\t\t"No\n')
    assert (one.text_a, two.text_a) == ('"Yes," he said', '"No')


def test_files_with_carriage_returns_and_marks_and_without_last_newline_read_the_same(tmp_path):
    plain = read(tmp_path, "gj\t1\t\tIt rains.\ngj\t0\t\tIt.\n")
    assert read(tmp_path, "\ufeffgj\t1\t\tIt ra\rins.\r\ngj\t0\t\tIt.\r") == plain


def test_only_line_feeds_end_a_line(tmp_path):
    text = "one\u2028two\x0bthree\x85four\0"
    assert [e.text_a for e in read(tmp_path, f"gj\t1\t\t{text}\n")] == [text]


def test_a_field_may_be_longer_than_the_csv_module_reads(tmp_path):
    (example,) = read(tmp_path, "gj\t1\t\t" + "x" * 200_000)
    assert len(example.text_a) == 200_000


def test_rows_are_split_as_by_the_csv_module_without_quoting(tmp_path):
    draw = random.Random(5)
    rows = ["gj\t1\t" + "".join(draw.choices("\t\t\"'\\ ,;ab\ufeffß", k=17)) for _ in range(300)]
    rows = [row for row in rows if row.count("\t") >= 3]
    write(tmp_path, "train.tsv", "\n".join(rows))
    with open(tmp_path / "train.tsv", encoding="utf-8", newline="\n") as file:
        expected = [row[3] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    found = read_examples(TASKS["cola"], str(tmp_path), "train")
    assert [example.text_a for example in found] == expected


MRPC_HEADER = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
GOOD, GOOD_PAIR = "gj\t1\t\tIt rains.\n", "1\t7\t8\tOne.\tTwo.\n"


@pytest.mark.parametrize(
    "task, split, content, message",
    [
        ("cola", "train", GOOD * 2 + "gj\t1\n", r"line 3: 2 columns where at least 4 are"),
        ("cola", "train", GOOD + "\n" + GOOD, "line 2: the line is empty"),
        ("cola", "train", GOOD + "\r\n", "line 2: the line is empty"),
        ("cola", "train", GOOD + "gj\t2\t\tIt.", "line 2: label '2' in column 2 is none of 0, 1"),
        ("cola", "train", "src\tlabel\t\ttext\n", "line 1: label 'label' in column 2 is none"),
        ("cola", "dev", "gj\t\t\tIt.\n", "dev.tsv, line 1: label '' in column 2"),
        ("cola", "test", "index\tsentence\n3\n", "line 2: 1 columns where at least 2"),
        ("mrpc", "train", MRPC_HEADER + GOOD_PAIR + "1\t7\t8\tx\n", "line 3: 4 columns .* 5"),
        ("mrpc", "dev", MRPC_HEADER + "\ufeff1\t7\t8\tx\ty\n", r"line 2: label '\\ufeff1'"),
        ("mnli", "train", MNLI_HEADER + "." + "\t." * 9 + "\n", "10 columns .* at least 11"),
        ("mnli", "dev", MNLI_HEADER + "." + "\t." * 10, "label '.' in column 11 is none of contr"),
        ("mnli", "test", MNLI_HEADER + "." + "\t." * 8, "9 columns .* at least 10"),
        ("xnli", "train", "p\th\tl\na\tb\n", "line 2: 2 columns where at least 3"),
        ("xnli", "dev", XNLI_HEADER + "en\t\nzh\tneutral\n", "line 3: 2 columns .* at least 8"),
        ("xnli", "dev", XNLI_HEADER + "en\tneutral\n", "no example in language 'zh'"),
        ("cola", "train", "", "train.tsv holds no example"),
        ("mrpc", "test", MRPC_HEADER, "test.tsv holds no example"),
        ("cola", "train", b"gj\t1\t\tIt.\r\ngj\t0\t\tna\xefve\n", "0xef at byte offset 19"),
        ("cola", "train", b"\xff\xfeg\0j\0", "train.tsv is not UTF-8: byte 0xff at byte offset 0"),
    ],
)
def test_bad_files_are_named_with_line_and_reason(task, split, content, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, content, task, split)
    name = TASKS[task].tables[split].file
    assert str(error.value).startswith(str(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("task, split", FILES)
def test_any_bytes_give_examples_or_one_line_of_explanation(task, split, tmp_path):
    name, good = FILES[task, split]
    draw = random.Random(11)
    told = 0
    for _ in range(60):
        content = bytearray(good.encode())
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(content))
            content[place : place + draw.randrange(3)] = draw.choice(
                [b"\t", b"\n", b"\r", b"\xff", b"\0", b"", "\u2028".encode(), b"0", b'"']
            )
        write(tmp_path, name, bytes(content))
        try:
            assert read_examples(TASKS[task], str(tmp_path), split)
        except ValueError as error:
            told += 1
            assert len(str(error).splitlines()) == 1
    assert told > 5


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data_dir=.*nowhere is not a folder"):
        read_examples(TASKS["cola"], str(tmp_path / "nowhere"), "train")
    with pytest.raises(FileNotFoundError, match="dev.tsv with the dev set of task cola"):
        read_examples(TASKS["cola"], str(tmp_path), "dev")
    (tmp_path / "test.tsv").mkdir()
    with pytest.raises(FileNotFoundError, match="test.tsv with the test set of task cola"):
        read_examples(TASKS["cola"], str(tmp_path), "test")


def test_the_reviews_of_the_demo_are_a_sound_and_balanced_task():
    folder = pathlib.Path(__file__).parent.parent / "examples/reviews"
    labels = {"test": (folder / "test_labels.txt").read_text().split()}
    texts = set()
    for split in TASKS["cola"].tables:
        examples = read_examples(TASKS["cola"], str(folder), split)
        classes = labels.get(split) or [example.label for example in examples]
        assert len(classes) == len(examples)
        assert classes.count("0") == classes.count("1") == len(examples) / 2
        assert texts.isdisjoint(example.text_a for example in examples)
        texts.update(example.text_a for example in examples)
    assert len(texts) == 968


@pytest.mark.parametrize(
    "task, split, content",
    [
        ("cola", "test", "7\tIt snows.\n9\tSnow.\n"),
        ("mrpc", "train", GOOD_PAIR * 2),
        ("xnli", "train", "a\tb\tcontradictory\na\tb\tneutral\n"),
    ],
)
def test_a_first_example_in_place_of_the_header_is_reported(task, split, content, tmp_path, caplog):
    assert len(read(tmp_path, content, task, split)) == 1
    assert "line 1 is left out as the header, but looks like an example" in caplog.text


def test_a_tab_too_many_is_reported(tmp_path, caplog):
    read(tmp_path, GOOD * 2 + "gj\t1\t\tIt\train\ts.\n" + GOOD)
    assert "1 rows have more columns than line 1, the first is line 3" in caplog.text


def test_left_out_languages_are_counted(tmp_path, caplog):
    with caplog.at_level("INFO", logger="absl"):
        read(tmp_path, FILES["xnli", "dev"][1], "xnli", "dev")
    assert "2 rows in other languages are left out" in caplog.text


@pytest.mark.parametrize("task, split", FILES)
def test_sound_files_give_no_warning(task, split, tmp_path, caplog):
    content = FILES[task, split][1].replace("l1\tl2\tl3\tl4\tl5\tneutral", "l1\tneutral")
    read(tmp_path, content, task, split)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("task, folder", [("cola", "CoLA"), ("mrpc", "MRPC")])
def test_examples_equal_those_of_the_original(task, folder, shared):
    recorded = json.loads((shared / f"golden/features/{task}.json").read_text())
    for split in TASKS[task].tables:
        examples = read_examples(TASKS[task], str(shared / "data/glue" / folder), split)
        expected = [
            e for e in recorded if e["guid"].startswith(split) and e["max_seq_length"] == 32
        ]
        assert len(expected) == 200
        assert examples[:200] == [
            Example(e["guid"], e["text_a"], e["text_b"], e["label"]) for e in expected
        ]
