"""run_squad.py as a user runs it."""

import json
import shlex

import numpy as np
import pytest
from tiny_runs import (
    WITHOUT_DROPOUT,
    WORDS,
    change_config,
    finish,
    model_flags,
    names,
    refusal,
    results,
    start,
    succeed,
    write_model,
)

from modeling.checkpoint import read_names_and_shapes

ORIGINAL_FILES = {"predictions.json", "nbest_predictions.json"}


def article(rng, questions):
    """Returns an article of one paragraph, with questions that ask for two words in a row."""
    words = rng.choice(WORDS, 19).tolist()
    qas = []
    for _ in range(questions):
        first = int(rng.integers(0, 17))
        answer = {
            "text": " ".join(words[first : first + 2]),
            "answer_start": len(" ".join([*words[:first], ""])),
        }
        text = " ".join(rng.choice(WORDS, 3))
        qas.append({"id": f"q{rng.integers(1 << 40)}", "question": text, "answers": [answer]})
    return {"title": "words", "paragraphs": [{"context": " ".join(words), "qas": qas}]}


def write(path, articles):
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    return path


@pytest.fixture
def files(tmp_path):
    """A model, training questions and questions to answer, of both versions, all tiny."""
    rng = np.random.default_rng(11)
    write_model(tmp_path)
    for version in (1, 2):
        for split, number in (("train", 7), ("dev", 3)):
            articles = [article(rng, 5) for _ in range(number)]
            if version == 2:
                for one in articles:
                    one["paragraphs"][0]["qas"][2] |= {"is_impossible": True, "answers": []}
            write(tmp_path / f"{split}-v{version}.json", articles)
    return tmp_path


def flags_of(files, version=1, **changes):
    flags = dict(
        train_file=files / f"train-v{version}.json",
        predict_file=files / f"dev-v{version}.json",
        max_seq_length=23,
        doc_stride=7,
        max_query_length=5,
        train_batch_size=4,
        num_train_epochs=1.0,
        version_2_with_negative="true" if version == 2 else None,
    )
    return model_flags(files) | flags | changes


def read(path):
    return json.loads(path.read_text())


def ids(path):
    return [
        question["id"]
        for one in read(path)["data"]
        for paragraph in one["paragraphs"]
        for question in paragraph["qas"]
    ]


@pytest.mark.parametrize("version", [1, 2])
def test_the_commands_of_the_original_write_its_files(files, version):
    flags = flags_of(files, version, do_train="True", do_predict="True")
    _, stderr = succeed("run_squad.py", **flags)
    assert "step 8/8 (100.0%)" in stderr  # int(35 / 4 * 1.0), by questions and not by windows
    written = {path.name for path in (files / "run").iterdir()}
    expected = ORIGINAL_FILES | ({"null_odds.json"} if version == 2 else set())
    assert {name for name in written if name.endswith(".json")} - {
        "train.tf_record.json",
        "eval.tf_record.json",
    } == expected
    assert {"train.tf_record", "eval.tf_record"} < written
    for name in expected:
        assert list(read(files / "run" / name)) == ids(flags["predict_file"])
    names = read_names_and_shapes(str(files / "run/model.ckpt-8"))
    assert {"cls/squad/output_weights", "cls/squad/output_bias", "bert/pooler/dense/bias"} < set(
        names
    )
    assert not [name for name in names if "pooler" in name and "adam" in name]


def test_a_file_with_answers_is_scored_in_the_same_run(files):
    flags = flags_of(files, do_train="true", do_eval="true", error_report="true")
    stdout, _ = succeed("run_squad.py", **flags)
    scores = results(files / "run")
    assert set(scores) == {"exact_match", "f1", "global_step", "total"}
    assert scores["total"] == 15 and scores["global_step"] == 8
    assert stdout == (files / "run/eval_results.txt").read_text()
    record = read(files / "run/results.json")
    assert record["metrics"] == {name: scores[name] for name in ("exact_match", "f1", "total")}
    assert shlex.split(record["command"])[:2] == ["python", "run_squad.py"]
    assert record["flags"]["do_train"] and record["flags"]["output_dir"] == str(files / "run")
    predictions = read(files / "run/predictions.json")
    hits = [
        predictions[question["id"]].split() == question["answers"][0]["text"].split()
        for one in read(flags["predict_file"])["data"]
        for question in one["paragraphs"][0]["qas"]
    ]
    # "the" and "a" are not counted by the official score, so it may find more.
    assert scores["exact_match"] >= 100 * np.mean(hits) - 1e-6
    rows = (files / "run/error_report.tsv").read_text().splitlines()
    assert len(rows) == 1 + round(15 * (1 - scores["exact_match"] / 100))
    assert (files / "run/error_report.html").read_text().startswith("<!doctype html>")


def test_the_best_null_threshold_is_applied_where_it_is_asked_for(files):
    flags = flags_of(files, 2, do_train="true", do_eval="true")
    succeed("run_squad.py", **flags, null_score_diff_threshold="auto")
    scores = results(files / "run")
    assert scores["f1"] == scores["best_f1"]
    assert scores["HasAns_total"] == 12 and scores["NoAns_total"] == 3
    odds, texts = (read(files / f"run/{name}.json") for name in ("null_odds", "predictions"))
    for name, text in texts.items():
        assert (text == "") == (odds[name] > scores["best_f1_thresh"])


@pytest.mark.slow
def test_answers_do_not_depend_on_the_length_buckets(files):
    succeed("run_squad.py", **flags_of(files, do_train="true"))
    answers = []
    for number, buckets in enumerate(("23", "19,21", "20")):
        output = files / f"predict{number}"
        flags = flags_of(
            files,
            output_dir=output,
            init_checkpoint=files / "run/model.ckpt-8",
            do_predict="true",
            length_buckets=buckets,
        )
        _, stderr = succeed("run_squad.py", **flags)
        answers.append(read(output / "nbest_predictions.json"))
    assert (files / "predict1/eval.19.tf_record").exists()
    assert "of the positions are padding instead of" in stderr
    for other in answers[1:]:
        assert list(other) == list(answers[0])
        for name, entries in other.items():
            np.testing.assert_allclose(
                [[e["start_logit"], e["end_logit"]] for e in entries],
                [[e["start_logit"], e["end_logit"]] for e in answers[0][name]],
                atol=1e-5,
            )


def test_the_same_command_again_reuses_the_records_and_trains_no_more(files):
    flags = flags_of(files, do_train="true", do_predict="true")
    succeed("run_squad.py", **flags)
    before = (files / "run/predictions.json").read_text()
    _, stderr = succeed("run_squad.py", **flags)
    assert stderr.count("and reused") == 2 and "Training is complete: 8 of 8" in stderr
    assert (files / "run/predictions.json").read_text() == before


def test_several_training_files_are_one_training_set(files):
    rng = np.random.default_rng(3)
    write(files / "more-a.json", [article(rng, 3)])
    write(files / "more-b.json", [article(rng, 2)])
    pattern = f"{files}/train-v1.json,{files}/more-*.json"
    _, stderr = succeed("run_squad.py", **flags_of(files, do_train="true", train_file=pattern))
    assert "step 10/10" in stderr  # int((35 + 5) / 4)


def move_an_answer(files):
    data = read(files / "train-v1.json")
    question = data["data"][2]["paragraphs"][0]["qas"][1]
    question["answers"][0] = {"text": "nowhere", "answer_start": 3}
    write(files / "train-v1.json", data["data"])
    return question["id"]


def test_misplaced_answers_are_left_out_counted_and_named(files):
    name = move_an_answer(files)
    _, stderr = succeed("run_squad.py", **flags_of(files, do_train="true"))
    assert "34 questions" in stderr and name in stderr


def without_answers(files):
    data = read(files / "dev-v1.json")
    del data["data"][1]["paragraphs"][0]["qas"][0]["answers"]
    write(files / "dev-v1.json", data["data"])


def unanswerable(files):
    (files / "train-v2.json").rename(files / "train-v1.json")


def not_squad(files):
    write(files / "train-v1.json", [{"title": "x", "paragraphs": [{"context": "a", "qas": 5}]}])


BAD_INPUT = {
    "nothing to do": ({}, None, "--do_train"),
    "no training file": (dict(do_train="true", train_file=None), None, "--train_file"),
    "no file to answer": (dict(do_predict="true", predict_file=None), None, "--predict_file"),
    "no such file": (dict(do_train="true", train_file="nowhere/*.json"), None, "nowhere/*.json"),
    "no room": (dict(do_train="true", max_query_length=20), None, "--max_query_length=20"),
    "no stride": (dict(do_train="true", doc_stride=0), None, "--doc_stride=0"),
    "no length": (dict(do_train="true", length_buckets="31"), None, "--length_buckets=31"),
    "a threshold that is none": (
        dict(do_predict="true", null_score_diff_threshold="best"),
        None,
        "--null_score_diff_threshold=best",
    ),
    "a threshold without answers": (
        dict(do_predict="true", null_score_diff_threshold="auto"),
        None,
        "--do_eval",
    ),
    "a report without answers": (
        dict(do_predict="true", error_report="true"),
        None,
        "--error_report needs --do_eval",
    ),
    "another shape": (dict(do_train="true"), not_squad, "data[0].paragraphs[0].qas"),
    "2.0 as 1.1": (dict(do_train="true"), unanswerable, "--version_2_with_negative"),
    "no answers to score with": (dict(do_eval="true"), without_answers, "data[1].paragraphs[0]"),
    "a misplaced answer": (
        dict(do_train="true", skip_bad_answers="false"),
        move_an_answer,
        "--skip_bad_answers",
    ),
    "no weights": (dict(do_predict="true"), None, "--init_checkpoint"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line(files, case):
    changes, prepare, expected = BAD_INPUT[case]
    if prepare:
        prepare(files)
    assert expected in refusal("run_squad.py", **flags_of(files, **changes))
    assert not list((files / "run").glob("*.tmp"))


@pytest.mark.slow
def test_two_workers_answer_as_one_process_does(files, tmp_path):
    change_config(files / "bert_config.json", **WITHOUT_DROPOUT)
    flags = flags_of(files, do_train="true", do_eval="true", length_buckets="17")
    del flags["version_2_with_negative"]
    alone, together = ({**flags, "output_dir": tmp_path / name} for name in ("alone", "together"))
    succeed("run_squad.py", **alone)
    (status, stderr), (other, _) = finish(start("run_squad.py", tmp_path, together, together))
    assert (status, other) == (0, 0), stderr
    predictions = [read(tmp_path / name / "predictions.json") for name in ("alone", "together")]
    assert predictions[0] == predictions[1]
    assert names(tmp_path / "alone") == names(tmp_path / "together")
    assert not names(tmp_path / "scratch1")
