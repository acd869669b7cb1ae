"""The scripts as a user runs them: what they write, and what they say to bad input."""

import ast
import json
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from modeling.checkpoint import read_bundle

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORDS = "the a red blue boat house runs sleeps fast slowly and or not ever".split()
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "."]


def run(script, *positional, **flags):
    """Runs a script; returns (status, stdout, stderr)."""
    arguments = [f"--{name}={value}" for name, value in flags.items() if value is not None]
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments, *positional],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return done.returncode, done.stdout, done.stderr


def succeed(script, **flags):
    status, stdout, stderr = run(script, **flags)
    assert status == 0, stderr
    return stdout, stderr


def results(directory):
    """Reads eval_results.txt; its keys must be sorted."""
    lines = (directory / "eval_results.txt").read_text().splitlines()
    pairs = [line.split(" = ") for line in lines]
    assert pairs == sorted(pairs)
    return {key: float(value) for key, value in pairs}


def sentence(rng):
    return " ".join(rng.choice(WORDS, 5)) + " ."


@pytest.fixture
def files(tmp_path):
    """A configuration, a vocabulary, a text and an MRPC folder, all tiny."""
    rng = np.random.default_rng(3)
    config = dict(
        vocab_size=len(VOCAB),
        hidden_size=15,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=17,
        max_position_embeddings=29,
        type_vocab_size=2,
    )
    (tmp_path / "bert_config.json").write_text(json.dumps(config))
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCAB))
    documents = ["\n".join(sentence(rng) for _ in range(7)) for _ in range(11)]
    (tmp_path / "text.txt").write_text("\n\n".join(documents) + "\n")
    for name, rows in (("train", 37), ("dev", 11), ("test", 13)):
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        lines += [f"{row % 2}\t1\t2\t{sentence(rng)}\t{sentence(rng)}" for row in range(rows)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def classifier_flags(files, **changes):
    flags = dict(
        task_name="MRPC",
        data_dir=files,
        vocab_file=files / "vocab.txt",
        bert_config_file=files / "bert_config.json",
        output_dir=files / "run",
        max_seq_length=23,
        train_batch_size=8,
        num_train_epochs=1.0,
        do_train="true",
    )
    return {**flags, **changes}


def record_flags(files, **changes):
    flags = dict(
        input_file=files / "text.txt",
        output_file=files / "records.tfrecord",
        vocab_file=files / "vocab.txt",
        max_seq_length=23,
        max_predictions_per_seq=3,
    )
    return {**flags, **changes}


def pretraining_flags(files, **changes):
    flags = dict(
        input_file=files / "records.tfrecord",
        bert_config_file=files / "bert_config.json",
        output_dir=files / "run",
        max_seq_length=23,
        max_predictions_per_seq=3,
        train_batch_size=8,
        num_train_steps=5,
        num_warmup_steps=2,
        do_train="true",
    )
    return {**flags, **changes}


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


def test_a_second_run_resumes_and_says_so(files):
    succeed("create_pretraining_data.py", **record_flags(files))
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
    config = json.loads((files / "bert_config.json").read_text())
    path = files / "other/bert_config.json"
    path.write_text(json.dumps({**config, "intermediate_size": 19}))
    succeed("run_classifier.py", **classifier_flags(files, bert_config_file=path))


BAD_INPUT = {
    "missing vocabulary": (dict(vocab_file="nowhere/vocab.txt"), None, "nowhere/vocab.txt"),
    "missing configuration": (dict(bert_config_file="nowhere.json"), None, "nowhere.json"),
    "missing data": (dict(data_dir="nowhere"), None, "nowhere"),
    "missing checkpoint": (dict(init_checkpoint="nowhere/bert_model.ckpt"), None, "nowhere"),
    "misspelt flag": (dict(do_trian="true"), None, "Did you mean: do_train"),
    "unknown task": (dict(task_name="QQR"), None, "cola, mnli, mrpc, xnli"),
    "nothing to do": (dict(do_train="false"), None, "--do_predict"),
    "nothing to evaluate": (dict(do_train="false", do_eval="true"), None, "no --init_checkpoint"),
    "long sequences": (dict(max_seq_length=31), None, "max_position_embeddings"),
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
    status, stdout, stderr = run("run_classifier.py", **classifier_flags(files, **changes))
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert status == 1
    assert len(errors) == 1 and stderr.splitlines()[-1] == errors[0]
    assert expected in errors[0]
    assert "Traceback" not in stderr and not stdout
    assert sorted(files.rglob("*")) == before


def test_a_stray_argument_is_refused(files):
    flags = classifier_flags(files, do_train=None)
    status, _, stderr = run("run_classifier.py", "--do_train", "False", **flags)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "'False'" in stderr and "--nodo_train" in stderr


def test_debug_shows_the_traceback(files):
    flags = classifier_flags(files, task_name="QQR", debug="true")
    status, _, stderr = run("run_classifier.py", **flags)
    assert status == 1 and "Traceback" in stderr


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
    succeed("create_pretraining_data.py", **record_flags(files))
    status, _, stderr = run("run_pretraining.py", **pretraining_flags(files, **changes))
    assert status == 1 and expected in stderr.splitlines()[-1]
    assert not (files / "run").exists()


def test_records_of_a_larger_vocabulary_are_explained(files):
    succeed("create_pretraining_data.py", **record_flags(files))
    config = json.loads((files / "bert_config.json").read_text())
    (files / "bert_config.json").write_text(json.dumps({**config, "vocab_size": 7}))
    status, _, stderr = run("run_pretraining.py", **pretraining_flags(files))
    assert status == 1 and "vocab" in stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "script",
    sorted(path.name for path in ROOT.glob("*.py") if path.name != "setup.py"),
)
def test_help_lists_the_flags(script):
    _, stdout, _ = run(script, "--help")
    title = ast.get_docstring(ast.parse((ROOT / script).read_text())).splitlines()[0]
    assert title in stdout and "--[no]debug" in stdout


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


def test_a_run_that_is_stopped_and_restarted_ends_like_one_that_is_not(files):
    """Bit for bit, with dropout, over stops at moments of chance."""
    succeed("create_pretraining_data.py", **record_flags(files))
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
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    command = [sys.executable, str(ROOT / script), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        for line in process.stderr:
            if " loss " in line:
                break
        time.sleep(pause)
        process.terminate()
        said = process.stderr.read()
    assert "the same command goes on from there" in said
    return process.returncode
