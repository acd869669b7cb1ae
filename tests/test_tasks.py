"""The table of tasks and the reader of their files."""

import csv
import json
import pathlib
import random

import pytest

from finetuning.task_files import read_examples
from finetuning.tasks import TASKS, XNLI_LANGUAGES, Example, find_task

# Columns of a MultiNLI file; those that matter hold more than a dot.
MNLI_HEADER = "index\t.\t.\t.\t.\t.\t.\t.\tsentence1\tsentence2\tlabel1\tgold_label\n"
STSB_HEADER = "index\t.\t.\t.\t.\t.\t.\tsentence1\tsentence2"
QQP_HEADER = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
QNLI_HEADER = "index\tquestion\tsentence\tlabel\n"
PAIR_HEADER = "index\tsentence1\tsentence2\tlabel\n"
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
    ("xnli", "test"): ("xnli.test.tsv", XNLI_HEADER + "zh\tneutral\t.\t.\t.\t.\t晴\t好\n"),
    ("mnli-mm", "train"): (
        "train.tsv",
        MNLI_HEADER + "71\t.\t.\t.\t.\t.\t.\t.\tA dog.\tAn animal.\tneutral\tentailment\n",
    ),
    ("mnli-mm", "dev"): (
        "dev_mismatched.tsv",
        MNLI_HEADER + "5\t.\t.\t.\t.\t.\t.\t.\tA\tB\tl1\tneutral\n",
    ),
    ("mnli-mm", "test"): (
        "test_mismatched.tsv",
        MNLI_HEADER + "5\t.\t.\t.\t.\t.\t.\t.\tA\tB\n",
    ),
    ("sst-2", "train"): ("train.tsv", 'sentence\tlabel\nfine \t1\n"dull" \t0\n'),
    ("sst-2", "dev"): ("dev.tsv", "sentence\tlabel\nslow\t0\n"),
    ("sst-2", "test"): ("test.tsv", "index\tsentence\n0\tlong\n1\tgood\n"),
    ("sts-b", "train"): ("train.tsv", STSB_HEADER + "\tscore\n3\t.\t.\t.\t.\t.\t.\tA\tB\t3.800\n"),
    ("sts-b", "dev"): ("dev.tsv", STSB_HEADER + "\tscore\n4\t.\t.\t.\t.\t.\t.\tC\tD\t0.000\n"),
    ("sts-b", "test"): ("test.tsv", STSB_HEADER + "\n5\t.\t.\t.\t.\t.\t.\tE\tF\n"),
    ("qqp", "train"): (
        "train.tsv",
        QQP_HEADER + "133273\t213221\t213222\tHow?\tWhy?\t0\n" + "402555\t536040\tcut\n",
    ),
    ("qqp", "dev"): ("dev.tsv", QQP_HEADER + "8\t9\t10\tWho?\tWho is?\t1\n"),
    ("qqp", "test"): ("test.tsv", "id\tquestion1\tquestion2\n0\tWhat?\tWhen?\n"),
    ("qnli", "train"): ("train.tsv", QNLI_HEADER + "0\tWhen?\tNow.\tentailment\n"),
    ("qnli", "dev"): ("dev.tsv", QNLI_HEADER + "0\tWho?\tHere.\tnot_entailment\n"),
    ("qnli", "test"): ("test.tsv", "index\tquestion\tsentence\n0\tWhat?\tThat.\n"),
    ("rte", "train"): ("train.tsv", PAIR_HEADER + "0\tA.\tB.\tnot_entailment\n"),
    ("rte", "dev"): ("dev.tsv", PAIR_HEADER + "0\tC.\tD.\tentailment\n"),
    ("rte", "test"): ("test.tsv", "index\tsentence1\tsentence2\n0\tE.\tF.\n"),
    ("wnli", "train"): ("train.tsv", PAIR_HEADER + "0\tA.\tB.\t1\n"),
    ("wnli", "dev"): ("dev.tsv", PAIR_HEADER + "0\tC.\tD.\t0\n"),
    ("wnli", "test"): ("test.tsv", "index\tsentence1\tsentence2\n0\tE.\tF.\n"),
    ("ax", "dev"): (
        "diagnostic-full.tsv",
        "Lexical Semantics\t.\tLogic\t.\tDomain\tPremise\tHypothesis\tLabel\n"
        "Quantifiers\t\tUniversal\t\tNews\tAll.\tSome.\tentailment\n",
    ),
    ("ax", "test"): ("diagnostic.tsv", "index\tsentence1\tsentence2\n0\tAll.\tNone.\n"),
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
    ("xnli", "test"): [("test-1", "晴", "好", "neutral")],
    ("mnli-mm", "train"): [("train-71", "A dog.", "An animal.", "entailment")],
    ("mnli-mm", "dev"): [("dev_mismatched-5", "A", "B", "neutral")],
    ("mnli-mm", "test"): [("test_mismatched-5", "A", "B", "contradiction")],
    ("sst-2", "train"): [("train-1", "fine ", None, "1"), ("train-2", '"dull" ', None, "0")],
    ("sst-2", "dev"): [("dev-1", "slow", None, "0")],
    ("sst-2", "test"): [("test-1", "long", None, "0"), ("test-2", "good", None, "0")],
    ("sts-b", "train"): [("train-1", "A", "B", 3.8)],
    ("sts-b", "dev"): [("dev-1", "C", "D", 0.0)],
    ("sts-b", "test"): [("test-1", "E", "F", 0.0)],
    ("qqp", "train"): [("train-1", "How?", "Why?", "0")],
    ("qqp", "dev"): [("dev-1", "Who?", "Who is?", "1")],
    ("qqp", "test"): [("test-1", "What?", "When?", "0")],
    ("qnli", "train"): [("train-1", "When?", "Now.", "entailment")],
    ("qnli", "dev"): [("dev-1", "Who?", "Here.", "not_entailment")],
    ("qnli", "test"): [("test-1", "What?", "That.", "entailment")],
    ("rte", "train"): [("train-1", "A.", "B.", "not_entailment")],
    ("rte", "dev"): [("dev-1", "C.", "D.", "entailment")],
    ("rte", "test"): [("test-1", "E.", "F.", "entailment")],
    ("wnli", "train"): [("train-1", "A.", "B.", "1")],
    ("wnli", "dev"): [("dev-1", "C.", "D.", "0")],
    ("wnli", "test"): [("test-1", "E.", "F.", "0")],
    ("ax", "dev"): [("dev-1", "All.", "Some.", "entailment")],
    ("ax", "test"): [("test-1", "All.", "None.", "contradiction")],
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
    assert {task.name: task.labels for task in TASKS.values() if task.is_of_original} == {
        "cola": ("0", "1"),
        "mnli": entailment,
        "mrpc": ("0", "1"),
        "xnli": entailment,
    }


def test_a_task_without_training_set_says_so(tmp_path):
    with pytest.raises(ValueError, match="task ax has no train set: it has dev, test"):
        read_examples(TASKS["ax"], str(tmp_path), "train")


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
        ("cola", "train", GOOD + "gj\t2\t\tIt.", "line 2: column 2: label '2' is none of 0, 1"),
        ("cola", "train", "src\tlabel\t\ttext\n", "line 1: column 2: label 'label' is none"),
        ("cola", "dev", "gj\t\t\tIt.\n", "dev.tsv, line 1: column 2: label ''"),
        ("cola", "test", "index\tsentence\n3\n", "line 2: 1 columns where at least 2"),
        ("mrpc", "train", MRPC_HEADER + GOOD_PAIR + "1\t7\t8\tx\n", "line 3: 4 columns .* 5"),
        (
            "mrpc",
            "dev",
            MRPC_HEADER + "\ufeff1\t7\t8\tx\ty\n",
            r"line 2: column 1: label '\\ufeff1'",
        ),
        ("mnli", "train", MNLI_HEADER + "." + "\t." * 9 + "\n", "10 columns .* at least 11"),
        ("mnli", "dev", MNLI_HEADER + "." + "\t." * 10, "column 11: label '.' is none of contr"),
        ("mnli", "test", MNLI_HEADER + "." + "\t." * 8, "9 columns .* at least 10"),
        ("xnli", "train", "p\th\tl\na\tb\n", "line 2: 2 columns where at least 3"),
        ("xnli", "dev", XNLI_HEADER + "en\t\nzh\tneutral\n", "line 3: 2 columns .* at least 8"),
        ("xnli", "dev", XNLI_HEADER + "en\tneutral\n", "no example in language 'zh'"),
        (
            "sts-b",
            "dev",
            STSB_HEADER + "\n" + ".\t" * 9 + "5.2\n",
            "'5.2' is no number from 0 to 5",
        ),
        ("sts-b", "dev", STSB_HEADER + "\n" + ".\t" * 9 + "nan\n", "column 10: 'nan' is no number"),
        ("qqp", "test", "id\ta\tb\n0\tWhat?\n", "line 2: 2 columns where at least 3"),
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


def test_a_training_set_with_one_label_is_reported(tmp_path, caplog):
    read(tmp_path, "gj\t1\t\tIt rains.\ngj\t1\t\tIt.\n", split="dev")
    assert "all labels" not in caplog.text
    read(tmp_path, "gj\t1\t\tIt rains.\ngj\t1\t\tIt.\n")
    assert "train.tsv: all labels are 1: there is nothing to learn" in caplog.text


def test_left_out_languages_are_counted(tmp_path, caplog):
    with caplog.at_level("INFO", logger="absl"):
        read(tmp_path, FILES["xnli", "dev"][1], "xnli", "dev")
    assert "2 rows in other languages are left out" in caplog.text


def test_cut_rows_of_qqp_are_left_out_and_counted(tmp_path, caplog):
    read(tmp_path, FILES["qqp", "train"][1], "qqp")
    assert "1 rows that lack columns are left out, the first is line 3" in caplog.text


@pytest.mark.parametrize("language", XNLI_LANGUAGES)
def test_xnli_is_read_in_every_language(language, tmp_path):
    train = FILES["xnli", "train"][1]
    write(tmp_path, f"multinli/multinli.train.{language}.tsv", train)
    rows = f"{language}\tneutral\t.\t.\t.\t.\tyes\tno\nxx\tneutral\t.\t.\t.\t.\ta\tb\n"
    for split in ("dev", "test"):
        write(tmp_path, f"xnli.{split}.tsv", XNLI_HEADER + rows)
    task = find_task("xnli", language)
    assert len(read_examples(task, str(tmp_path), "train")) == 2
    for split in ("dev", "test"):
        assert [example.text_a for example in read_examples(task, str(tmp_path), split)] == ["yes"]


def test_all_of_glue_has_its_metrics_and_the_names_of_its_submission():
    correlations = ("pearson", "spearman")
    assert {t.submission: t.metrics for t in TASKS.values() if t.submission} == {
        "CoLA.tsv": ("matthews",),
        "SST-2.tsv": ("accuracy",),
        "MRPC.tsv": ("accuracy", "f1"),
        "STS-B.tsv": correlations,
        "QQP.tsv": ("accuracy", "f1"),
        "MNLI-m.tsv": ("accuracy",),
        "MNLI-mm.tsv": ("accuracy",),
        "QNLI.tsv": ("accuracy",),
        "RTE.tsv": ("accuracy",),
        "WNLI.tsv": ("accuracy",),
        "AX.tsv": ("matthews",),
    }


@pytest.mark.parametrize("task, split", sorted(FILES.keys() - {("qqp", "train")}))
def test_sound_files_give_no_warning(task, split, tmp_path, caplog):
    content = FILES[task, split][1].replace("l1\tl2\tl3\tl4\tl5\tneutral", "l1\tneutral")
    read(tmp_path, content, task, split)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    "task, folder, sizes",
    [("sst-2", "SST-2", (67349, 872, 1821)), ("sts-b", "STS-B", (5749, 1500, 1379))],
)
def test_published_files_are_read_whole(task, folder, sizes, shared, caplog):
    folder = str(shared / "data/glue" / folder)
    found = tuple(len(read_examples(TASKS[task], folder, s)) for s in ("train", "dev", "test"))
    assert found == sizes


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
