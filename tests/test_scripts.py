"""The scripts as a user runs them: what they write, and what they say to bad input."""

import ast
import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_runs import (
    ROOT,
    change_config,
    classifier_flags,
    command,
    pretraining_flags,
    record_flags,
    refusal,
    results,
    run,
    succeed,
)

from modeling.checkpoint import read_bundle

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if path.name != "setup.py")


def test_pretraining_then_fine_tuning_then_prediction(files):
    succeed("create_pretraining_data.py", **record_flags(files))
    stdout, stderr = succeed(
        "run_pretraining.py", **pretraining_flags(files, do_eval="true", max_eval_steps=3)
    )
    metrics = results(files / "run")
    assert set(metrics) == {
        "global_step",
        "loss",
        "masked_lm_accuracy",
        "masked_lm_loss",
        "next_sentence_accuracy",
        "next_sentence_loss",
    }
    assert metrics["global_step"] == 5
    assert stdout == (files / "run/eval_results.txt").read_text()
    assert "step 5/5 (100.0%)" in stderr

    flags = classifier_flags(
        files,
        output_dir=files / "mrpc",
        init_checkpoint=files / "run/model.ckpt-5",
        do_eval="true",
        do_predict="true",
    )
    stdout, stderr = succeed("run_classifier.py", **flags)
    assert "output_weights" in stderr  # named among what the checkpoint lacks
    metrics = results(files / "mrpc")
    assert set(metrics) == {"eval_accuracy", "eval_loss", "global_step", "loss"}
    assert metrics["global_step"] == int(37 / 8)
    rows = [line.split("\t") for line in (files / "mrpc/test_results.tsv").read_text().splitlines()]
    assert len(rows) == 13
    np.testing.assert_allclose(np.array(rows, float).sum(1), np.ones(13), rtol=1e-5)


@pytest.mark.usefixtures("records")
def test_a_second_run_resumes_and_says_so(files):
    succeed("run_pretraining.py", **pretraining_flags(files))
    _, stderr = succeed("run_pretraining.py", **pretraining_flags(files, num_train_steps=7))
    assert "Continuing from" in stderr and "step 5" in stderr
    assert (
        (files / "run/checkpoint").read_text().startswith('model_checkpoint_path: "model.ckpt-7"')
    )


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (dict(keep_best_metric="loss"), lambda best: {best, 4}),
        (dict(keep_checkpoint_every_n_hours=1e-7), lambda best: {0, 1, 2, 3, 4}),
    ],
    ids=["best", "hours"],
)
def test_flags_say_which_checkpoints_stay(files, flags, kept):
    flags = classifier_flags(files, save_checkpoints_steps=1, keep_checkpoint_max=1, **flags)
    succeed("run_classifier.py", **flags)
    record = files / "run/best_checkpoint.json"
    best = json.loads(record.read_text())["step"] if record.exists() else None
    steps = {int(path.stem.split("-")[1]) for path in (files / "run").glob("*.index")}
    assert steps == kept(best)


def test_prediction_alone_uses_the_checkpoint_of_the_output_directory(files):
    succeed("run_classifier.py", **classifier_flags(files, do_predict="true"))
    first = (files / "run/test_results.tsv").read_bytes()
    (files / "run/test_results.tsv").unlink()
    succeed("run_classifier.py", **classifier_flags(files, do_train="false", do_predict="true"))
    assert (files / "run/test_results.tsv").read_bytes() == first


def spoil_row(files, line):
    with open(files / "train.tsv", "a") as file:
        file.write(line + "\n")


def bad_utf8(files):
    data = (files / "train.tsv").read_bytes()
    (files / "train.tsv").write_bytes(data[:100] + b"\xff" + data[100:])


def other_architecture(files):
    (files / "other").mkdir()
    path = shutil.copy(files / "bert_config.json", files / "other/bert_config.json")
    change_config(path, intermediate_size=19)
    succeed("run_classifier.py", **classifier_flags(files, bert_config_file=path))


BAD_INPUT = {
    "missing vocabulary": (dict(vocab_file="nowhere/vocab.txt"), None, "nowhere/vocab.txt"),
    "missing configuration": (dict(bert_config_file="nowhere.json"), None, "nowhere.json"),
    "missing data": (dict(data_dir="nowhere"), None, "nowhere"),
    "missing checkpoint": (dict(init_checkpoint="nowhere/bert_model.ckpt"), None, "nowhere"),
    "misspelt flag": (dict(do_trian="true"), None, "Did you mean: do_train"),
    "unknown task": (
        dict(task_name="QQR", do_train="false"),
        None,
        "--task_name=QQR: value should be one of <cola|mnli|mrpc|xnli|",
    ),
    "nothing to do": (dict(do_train="false"), None, "--do_predict"),
    "nothing to evaluate": (dict(do_train="false", do_eval="true"), None, "no --init_checkpoint"),
    "long sequences": (dict(max_seq_length=31), None, "max_position_embeddings"),
    "no number": (dict(learning_rate="nan"), None, "--learning_rate=nan"),
    "no end": (dict(num_train_epochs="inf"), None, "--num_train_epochs=inf"),
    "negative seed": (dict(seed=-1), None, "--seed=-1"),
    "batch of no size": (dict(train_batch_size=0), None, "--train_batch_size=0"),
    "large vocabulary": (
        {},
        lambda files: (files / "vocab.txt").open("a").write("one\ntwo\n"),
        "vocab_size",
    ),
    "missing column": ({}, lambda files: spoil_row(files, "1\t1\t2\tonly"), "train.tsv, line 39"),
    "unknown label": (
        {},
        lambda files: spoil_row(files, "7\t1\t2\tthe boat\tthe boat"),
        "train.tsv, line 39",
    ),
    "invalid UTF-8": ({}, bad_utf8, "byte offset 100"),
    "empty file": ({}, lambda files: (files / "train.tsv").write_text(""), "train.tsv"),
    "other run": ({}, other_architecture, "--output_dir"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_before_any_work(files, case):
    changes, prepare, expected = BAD_INPUT[case]
    if prepare:
        prepare(files)
    before = sorted(files.rglob("*"))
    assert expected in refusal("run_classifier.py", **classifier_flags(files, **changes))
    assert sorted(files.rglob("*")) == before


def test_a_stray_argument_is_refused(files):
    flags = classifier_flags(files, do_train=None)
    status, _, stderr = run("run_classifier.py", "--do_train", "False", **flags)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "'False'" in stderr and "--nodo_train" in stderr


def test_debug_shows_the_traceback(files):
    flags = classifier_flags(files, data_dir="nowhere", debug="true")
    status, _, stderr = run("run_classifier.py", **flags)
    assert status == 1 and "Traceback" in stderr


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (dict(input_file="nowhere/*.tfrecord"), "nowhere/*.tfrecord"),
        (dict(max_seq_length=19), "max_seq_length 23"),
        (dict(max_predictions_per_seq=5), "max_predictions_per_seq 3"),
        (dict(do_train="false"), "--do_eval"),
    ],
)
def test_records_that_do_not_fit_are_explained(files, changes, expected):
    assert expected in refusal("run_pretraining.py", **pretraining_flags(files, **changes))
    assert not (files / "run").exists()


@pytest.mark.usefixtures("records")
def test_records_of_a_larger_vocabulary_are_explained(files):
    change_config(files / "bert_config.json", vocab_size=7)
    assert "vocab" in refusal("run_pretraining.py", **pretraining_flags(files))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_lists_the_flags(script):
    _, stdout, _ = run(script, "--help")
    title = ast.get_docstring(ast.parse((ROOT / script).read_text())).splitlines()[0]
    assert title in stdout and "--[no]debug" in stdout


def test_a_script_started_by_python_says_nothing_of_tensorflow(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    done = subprocess.run(command("run_classifier.py", "--help"), capture_output=True)
    assert b"--task_name" in done.stdout and not done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_silences_tensorflow_is_imported_first(script):
    nodes = ast.parse((ROOT / script).read_text()).body
    first = next(node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom)))
    assert ast.unparse(first) == "from training import app"


def test_help_lists_flags_that_modules_declare():
    _, stdout, _ = run("run_pretraining.py", "--help")
    assert "--phase2_input_file" in stdout and "--masking" in stdout


def test_two_scripts_can_be_imported_in_one_process():
    code = (
        "import run_classifier, run_squad, run_pretraining, extract_features, run_tagger, "
        "run_multiple_choice"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("records")
def test_a_run_that_is_stopped_and_restarted_ends_like_one_that_is_not(files):
    """Bit for bit, with dropout, over stops at moments of chance."""
    flags = pretraining_flags(files, num_train_steps=900, iterations_per_loop=7)
    succeed("run_pretraining.py", **{**flags, "output_dir": files / "whole"})
    statuses = [stop_after(pause, "run_pretraining.py", **flags) for pause in (0.1, 0.7)]
    assert statuses == [42, 42]
    succeed("run_pretraining.py", **flags)
    whole, parts = (read_bundle(str(files / name / "model.ckpt-900")) for name in ("whole", "run"))
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values, err_msg=name)


def stop_after(pause, script, **flags):
    """Sends SIGTERM so many seconds after the first report of progress; returns the exit status."""
    words = command(script, **flags)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for line in process.stderr:
            if " loss " in line:
                break
        time.sleep(pause)
        process.terminate()
        said = process.stderr.read()
    assert "the same command goes on from there" in said
    return process.returncode
