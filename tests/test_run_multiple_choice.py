"""run_multiple_choice.py as a user runs it."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import (
    WORDS,
    finish,
    model_flags,
    names,
    refusal,
    results,
    run,
    start,
    succeed,
    write_model,
)

from modeling.checkpoint import read_names_and_shapes

CHOICES = 3


def write(path, rng, number, with_labels=True):
    """Writes questions whose right ending has the word `red`; the endings differ in length."""
    header = ["", "video-id", "sent1", "sent2", *(f"ending{n}" for n in range(CHOICES)), "label"]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header if with_labels else header[:-1])
        for row in range(number):
            label = int(rng.integers(CHOICES))
            endings = [
                " ".join([*rng.choice(WORDS[5:], rng.integers(0, 7)), "red" if n == label else "a"])
                for n in range(CHOICES)
            ]
            values = [row, "v", " ".join(rng.choice(WORDS[4:], 3)), "the", *endings, label]
            writer.writerow(values if with_labels else values[:-1])


def make_files(folder):
    rng = np.random.default_rng(11)
    write_model(folder)
    write(folder / "train.csv", rng, 37)
    write(folder / "val.csv", rng, 11)
    write(folder / "test.csv", rng, 13, with_labels=False)
    return folder


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that trained, evaluated and predicted; its files, and what it said. Nothing in it may be changed."""
    files = make_files(tmp_path_factory.mktemp("trained"))
    wanted = dict.fromkeys(("do_train", "do_eval", "do_predict"), "true")
    flags = flags_of(files, **wanted, num_train_epochs=23.0, learning_rate=1e-2)
    return files, *succeed("run_multiple_choice.py", **flags, length_buckets="11,13")


def flags_of(files, **changes):
    flags = dict(
        train_file=files / "train.csv",
        dev_file=files / "val.csv",
        test_file=files / "test.csv",
        max_seq_length=17,
        train_batch_size=4,
        num_train_epochs=1.0,
    )
    return model_flags(files) | flags | changes


def probabilities(folder):
    lines = (folder / "test_results.tsv").read_text().splitlines()
    return np.array([line.split("\t") for line in lines], float)


def test_training_evaluation_and_prediction_in_one_run(trained):
    files, stdout, _ = trained
    scores = results(files / "run")
    assert set(scores) == {"eval_accuracy", "eval_loss", "global_step", "loss"}
    assert scores["global_step"] == 37 * 23 // 4
    assert scores["eval_accuracy"] > 0.8  # it learns what is to be learnt
    assert stdout.startswith((files / "run/eval_results.txt").read_text())
    shapes = read_names_and_shapes(str(files / f"run/model.ckpt-{scores['global_step']:.0f}"))
    assert "output_weights" in shapes and "bert/pooler/dense/kernel/adam_m" in shapes
    assert json.loads((files / "run/results.json").read_text())
    assert "<html" in (files / "run/report.html").read_text()


def test_test_results_are_in_the_order_of_the_file(trained):
    files, *_ = trained
    found = probabilities(files / "run")
    assert found.shape == (13, CHOICES)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    with open(files / "test.csv") as file:
        rows = list(csv.DictReader(file))
    right = [next(n for n in range(CHOICES) if "red" in row[f"ending{n}"].split()) for row in rows]
    assert np.mean(found.argmax(1) == right) > 0.8


@pytest.mark.slow
def test_prediction_alone_says_the_same_without_buckets(trained):
    files, *_ = trained
    output = files.parent / "alone"
    flags = flags_of(files, do_predict="true", init_checkpoint=files / "run", output_dir=output)
    succeed("run_multiple_choice.py", **{**flags, "train_file": None})
    np.testing.assert_allclose(probabilities(output), probabilities(files / "run"), atol=1e-4)


@pytest.mark.slow
def test_the_same_command_again_trains_no_more(files):
    flags = flags_of(files, do_train="true", do_predict="true")
    succeed("run_multiple_choice.py", **flags)
    before = probabilities(files / "run")
    _, stderr = succeed("run_multiple_choice.py", **flags)
    assert "Training is complete" in stderr
    np.testing.assert_array_equal(probabilities(files / "run"), before)


def test_a_dry_run_lists_all_problems_together(files):
    (files / "val.csv").write_text("sent1,sent2,ending0,label\n")
    status, _, stderr = run(
        "run_multiple_choice.py",
        **flags_of(files, do_train="true", do_eval="true", dry_run="true", max_seq_length=31),
        length_buckets="37",
    )
    problems = stderr.split("error: ")[1].splitlines()
    assert status == 1 and problems[0] == "3 problems found by --dry_run:"
    for problem, word in zip(
        problems[1:], ("--max_seq_length=31", "--length_buckets=37", "ending1"), strict=True
    ):
        assert word in problem
    assert "Traceback" not in stderr and not (files / "run").exists()


@pytest.mark.slow
def test_a_dry_run_counts_a_sequence_for_each_choice(files):
    stdout, _ = succeed(
        "run_multiple_choice.py", **flags_of(files, do_train="true", dry_run="true")
    )
    assert "Steps        9 of 12 sequences" in stdout
    assert "of 111" in stdout
    assert not (files / "run").exists()


def test_a_dry_run_plans_with_the_length_buckets(trained):
    files, *_ = trained
    counts = {
        length: sum(
            1 for _ in tf.data.TFRecordDataset(str(files / f"run/train.{length}.tf_record"))
        )
        for length in (11, 13, 17)
    }
    mean = sum(length * count for length, count in counts.items()) / 37
    flags = flags_of(files, do_train="true", length_buckets="11,13", output_dir=files / "another")
    stdout, _ = succeed("run_multiple_choice.py", **flags, dry_run="true")
    assert f"{round(mean, 1):g} in a sequence, padding included" in stdout and 11 < mean < 17


BAD_INPUT = {
    "nothing to do": ({}, "--do_train"),
    "no file": (dict(do_eval="true", dev_file=None), "--do_eval needs --dev_file"),
    "no such file": (dict(do_train="true", train_file="nowhere.csv"), "nowhere.csv does not exist"),
    "no label": (dict(do_eval="true", dev_file="test.csv"), "there is no column 'label'"),
    "no weights": (dict(do_predict="true"), "no --init_checkpoint"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line(files, case):
    changes, expected = BAD_INPUT[case]
    if changes.get("dev_file"):
        changes = {**changes, "dev_file": files / changes["dev_file"]}
    before = sorted(files.rglob("*"))
    assert expected in refusal("run_multiple_choice.py", **flags_of(files, **changes))
    assert sorted(files.rglob("*")) == before


@pytest.mark.slow
def test_two_workers_predict_as_one_process_does_with_their_weights(files, tmp_path):
    flags = flags_of(files, do_train="true", do_predict="true", length_buckets="13")
    together, alone = ({**flags, "output_dir": tmp_path / name} for name in ("together", "alone"))
    workers = start("run_multiple_choice.py", tmp_path, together, together)
    (status, stderr), (other, _) = finish(workers)
    assert (status, other) == (0, 0), stderr
    succeed(
        "run_multiple_choice.py",
        **{**alone, "do_train": "false", "init_checkpoint": tmp_path / "together"},
    )
    found = [probabilities(tmp_path / name) for name in ("together", "alone")]
    np.testing.assert_allclose(*found, atol=1e-5)
    assert not names(tmp_path / "scratch1")
