"""The report of an evaluation, as files."""

import html
import json
import os
import re

import numpy as np

from finetuning import report
from finetuning.findings import (
    Answer,
    LabelScore,
    TaggedSentence,
    compare_classes,
    compare_label_sets,
    compare_numbers,
    compare_tags,
)
from finetuning.report import console_table, write_report
from training.progress import ScalarWriter
from training.results import Run

RUN = Run(
    ["python", "run_it.py", "--name=a b"],
    {"name": "a b", "seed": 7, "dtype": "float32", "files": ["x", "y"], "limit": None},
    frozenset({"name"}),
)
CLASSES = compare_classes(
    [
        Answer("dev-1", {"one": "first", "two": "second"}, "no", "yes", {"no": 0.25, "yes": 0.75}),
        Answer("dev-2", {"one": "third", "two": "fourth"}, "no", "no", {"no": 0.9, "yes": 0.1}),
        Answer("dev-3", {"one": "fifth", "two": "sixth"}, "yes", "yes", {"no": 0.2, "yes": 0.8}),
    ],
    ["no", "yes"],
)


def write(folder, findings, results=None, run=RUN):
    """Returns the page as it is, its visible text, and results.json."""
    write_report(str(folder), "task", results or {"eval_accuracy": 0.5}, 1713, findings, run)
    page = (folder / "report.html").read_text(encoding="utf-8")
    body = re.sub("<svg.*?</svg>", "", page[page.index("<body>") :], flags=re.DOTALL)
    text = html.unescape(re.sub("<[^>]*>", " ", body))

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    content = json.loads((folder / "results.json").read_text("utf-8"), parse_constant=refuse)
    return page, " ".join(text.split()), content


def test_results_json_holds_numbers_findings_and_how_they_came_about(tmp_path):
    _, _, content = write(tmp_path, CLASSES, {"eval_f1": np.float32(0.75), "eval_accuracy": 0.5})
    assert content == {
        "task": "task",
        "global_step": 1713,
        "metrics": {"eval_accuracy": 0.5, "eval_f1": 0.75},
        "num_examples": 3,
        "num_errors": 1,
        "baseline": 2 / 3,
        "labels": {
            "no": {"precision": 1, "recall": 0.5, "f1": 2 / 3, "count": 2},
            "yes": {"precision": 0.5, "recall": 1, "f1": 2 / 3, "count": 1},
        },
        "confusion": [["no", "no", 1], ["no", "yes", 1], ["yes", "yes", 1]],
        "command": "python run_it.py '--name=a b'",
        "flags": {"name": "a b", "seed": 7, "dtype": "float32", "files": ["x", "y"], "limit": None},
    }


def test_numbers_that_json_does_not_have_are_null(tmp_path):
    metrics = {"eval_pearson": float("nan"), "eval_loss": np.float32("inf"), "eval_count": 3}
    page, text, content = write(tmp_path, CLASSES, metrics)
    assert content["metrics"] == {"eval_count": 3, "eval_loss": None, "eval_pearson": None}
    assert "eval_pearson nan" in text


def test_the_page_of_classes_has_scores_confusions_and_errors(tmp_path):
    _, text, _ = write(tmp_path, CLASSES)
    assert (
        "Evaluated at step 1,713 on 3 examples, of which 1 (33.3%) are wrong; "
        "the commonest label makes up 66.7%."
    ) in text
    assert "no 1.000 0.500 0.667 2 yes 0.500 1.000 0.667 1" in text
    assert "predicted → no yes no 1 1 yes 0 1" in text
    assert "dev-1 gold no (0.250) predicted yes (0.750) one first two second" in text
    assert "dev-2" not in text


def test_sentences_are_told_from_their_words(tmp_path):
    sentences = [
        TaggedSentence("s", "abc", ("O", "B-x", "O"), ("O", "O", "O")),
        TaggedSentence("t", "defg", ("O",) * 4, ("O",) * 4),
    ]
    _, text, _ = write(tmp_path, compare_tags(sentences))
    assert (
        "Evaluated at step 1,713 on 7 words in 2 sentences, of which 1 (50.0%) have a wrong tag; "
        "the commonest tag is that of 85.7% of the words."
    ) in text


def test_a_model_that_was_only_loaded_has_no_step(tmp_path):
    write_report(str(tmp_path), "mrpc", {}, 0, CLASSES, RUN)
    assert "Evaluated as it was loaded on 3 examples" in (tmp_path / "report.html").read_text()


def test_sets_of_labels_are_named(tmp_path):
    answers = [Answer("7", {"text": "t"}, (), ("a", "b"), {"a": 0.75, "b": 0.5, "c": 0.25})]
    _, text, content = write(tmp_path, compare_label_sets(answers, ["a", "b", "c"]))
    assert "gold none predicted a (0.750) , b (0.500)" in text
    assert "c - - - 0" in text
    assert content["baseline"] is None


def test_numbers_are_drawn_and_the_farthest_off_are_shown(tmp_path):
    answers = [Answer(str(i), {"text": f"t{i}"}, float(i), np.float32(1.5 * i)) for i in range(5)]
    page, text, content = write(tmp_path, compare_numbers(answers))
    assert page.count("<circle") == 5
    assert re.findall("text t([0-9])", text) == list("43210")
    assert "gold 3 predicted 4.5" in text
    assert content["num_errors"] is None and "wrong" not in text


def test_wrong_tags_are_marked_at_their_words(tmp_path):
    sentence = TaggedSentence("s", ("in", "<b>", "now"), ("O", "B-x", "O"), ("O", "O", "O"))
    page, _, content = write(tmp_path, compare_tags([sentence], {"x": LabelScore(None, 0, 0, 1)}))
    assert "in <mark>&lt;b&gt; <small><bdi>B-x</bdi> → <bdi>O</bdi></small></mark> now</p>" in page
    assert content["confusion"] == [["B-x", "O", 1], ["O", "O", 2]]


def test_what_is_too_long_is_cut_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MAX_SHOWN", 2)
    monkeypatch.setattr(report, "MAX_CHARACTERS", 11)
    monkeypatch.setattr(report, "MAX_WORDS", 3)
    answers = [Answer(str(i), {"text": "x" * 1013}, "a", "b", {"a": i / 9}) for i in range(5)]
    page, text, _ = write(tmp_path, compare_classes(answers, ["a", "b"]))
    assert page.count("<article>") == 2 and "2 of 5; the others are left out here." in text
    assert "text " + "x" * 11 + " [1,002 characters left out]" in text
    sentence = TaggedSentence("s", ("w",) * 7, ("O",) * 7, ("B",) * 7)
    _, text, _ = write(tmp_path, compare_tags([sentence]))
    assert text.count("w O → B") == 3 and "[4 words left out]" in text


def test_of_many_labels_those_with_most_errors_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MAX_LABELS", 2)
    answers = [Answer("", {}, "ok", "ok")] * 5 + [Answer("", {}, "bad", "worse")] * 3
    _, text, content = write(tmp_path, compare_classes(answers, ["ok", "bad", "worse"]))
    assert "These are the 2 of 3 labels with the most errors." in text
    assert "predicted → bad worse bad 0 3 worse 0 0" in text
    assert ["ok", "ok", 5] in content["confusion"]


def test_curves_pair_training_with_evaluation(tmp_path):
    training, evaluation = ScalarWriter(str(tmp_path)), ScalarWriter(str(tmp_path / "eval"))
    for step in (10, 20, 30):
        training.write(step, {"loss": 1 / step, "learning_rate": 1e-5, "tokens_per_second": 3.0})
    for step in (15, 30):
        evaluation.write(step, {"eval_loss": 0.5, "loss": 0.25, "eval_f1": step / 100})
    page, _, _ = write(tmp_path, CLASSES)
    figures = re.findall("<figcaption>(.*?)</figcaption>.*?</svg>(.*?)</figure>", page, re.DOTALL)
    series = {title: re.findall("<bdi>(.*?)</bdi>", legend) for title, legend in figures}
    assert series == {
        "loss": ["training", "evaluation"],
        "f1": ["evaluation"],
        "learning_rate": ["training"],
    }
    assert list(series) == ["loss", "f1", "learning_rate"]


def test_one_evaluation_alone_is_no_curve(tmp_path):
    ScalarWriter(str(tmp_path / "eval")).write(5, {"eval_accuracy": 0.5})
    page, text, _ = write(tmp_path, CLASSES)
    assert "<figure>" not in page and "Training" not in text


def test_settings_that_were_given_come_first(tmp_path):
    _, text, _ = write(tmp_path, CLASSES)
    assert (
        "python run_it.py \\ '--name=a b' setting value --name a b --seed 7 3 more settings, as they are by "
        "default setting value --dtype float32 --files ['x', 'y'] --limit None"
    ) in text


HOSTILE = "<script>alert(1)</script> \x00\ud800 \" ' onload='x' {0} {style} %s"


def test_hostile_text_stays_text(tmp_path):
    wrong = Answer(HOSTILE, {HOSTILE: HOSTILE}, HOSTILE, "x", {HOSTILE: 0.5})
    sentence = TaggedSentence(HOSTILE, (HOSTILE,), (HOSTILE,), ("O",))
    run = Run(["python", HOSTILE, HOSTILE], {HOSTILE: HOSTILE}, frozenset())
    for findings in (compare_classes([wrong], [HOSTILE, "x"]), compare_tags([sentence])):
        page, _, _ = write(tmp_path, findings, {HOSTILE: 0.5}, run)
        assert "<script" not in page and "onload='" not in page


def test_the_page_needs_nothing_else(tmp_path):
    page, _, _ = write(tmp_path, CLASSES)
    assert page.startswith("<!doctype html>")
    assert not re.search("url\\(|@import|https?:|<link|<script|<img|<iframe", page)


def test_nothing_else_is_written(tmp_path):
    write(tmp_path, CLASSES)
    assert sorted(os.listdir(tmp_path)) == ["report.html", "results.json"]


def test_the_console_table_is_aligned():
    scores = {"a": LabelScore(None, 0.5, 2 / 3, 1234), "longer": LabelScore(1, 0, 0, 5)}
    assert console_table(scores).splitlines() == [
        "label   precision  recall     F1  count",
        "a               -   0.500  0.667  1,234",
        "longer      1.000   0.000  0.000      5",
    ]


def test_the_console_is_kept_short_and_calm(monkeypatch):
    monkeypatch.setattr(report, "MAX_LABELS", 2)
    score = LabelScore(1, 1, 1, 7)
    table = console_table(dict.fromkeys(["\x1b[2Jé\n", "b", "c", "d", "e"], score))
    assert [line.split()[0] for line in table.splitlines()] == ["label", "\\x1b[2Jé\\n", "b", "and"]
    assert table.endswith("and 3 more in report.html")


def test_labels_are_confused_in_the_order_of_the_task(tmp_path):
    answers = [Answer("", {}, *pair) for pair in ("ab", "ba", "cc")]
    _, text, _ = write(tmp_path, compare_classes(answers, "cabd"))
    assert "predicted → c a b c 1 0 0 a 0 0 1 b 0 1 0" in text
