"""`run_classifier.py` with a teacher: from two trainings to predictions that need only the student."""

import json
import re

import numpy as np
import pytest
from tiny_runs import (
    VOCAB,
    custom_flags,
    refusal,
    results,
    sentence,
    succeed,
    write_csv,
    write_model,
    write_vocab,
)

from modeling.checkpoint import read_bundle


@pytest.fixture
def distilling(files):
    """Flags of the student; the teacher, wider and deeper, was trained on the same file."""
    rng = np.random.default_rng(7)
    rows = [[f"{sentence(rng)} {word}", word] for word in ("fast", "slowly") for _ in range(11)]
    write_csv(files / "train.csv", ["text", "label"], rows)
    write_csv(files / "more.csv", ["text"], [[sentence(rng)] for _ in range(13)])
    (files / "teacher").mkdir()
    write_model(files / "teacher", hidden_size=21, num_hidden_layers=2, intermediate_size=499)
    return custom_flags(
        files,
        teacher_checkpoint=files / "teacher/run",
        teacher_config_file=files / "teacher/bert_config.json",
    )


def train_teacher(flags):
    folder, config = flags["teacher_checkpoint"], flags["teacher_config_file"]
    changes = dict(output_dir=folder, bert_config_file=config)
    flags = {**flags, **changes, "teacher_checkpoint": None, "teacher_config_file": None}
    succeed("run_classifier.py", **flags)


def test_a_student_learns_unlabelled_texts_and_is_evaluated_without_its_teacher(files, distilling):
    train_teacher(distilling)
    flags = {**distilling, "dev_file": files / "train.csv", "do_eval": "true"}
    more = dict(distill_file=files / "more.csv", distill_hidden_states="true")
    succeed("run_classifier.py", **flags, **more)
    metrics = results(files / "run")
    assert metrics["global_step"] == (22 + 13) // 8
    logged = (files / "run/metrics.jsonl").read_text().splitlines()
    reported = json.loads(logged[0]).keys()
    assert {"soft_label_loss", "hidden_state_loss", "teacher_agreement"} <= reported
    student = read_bundle(str(files / "run/model.ckpt-4"))
    assert student["distillation_projection"].shape == (15, 21)
    alone = {**flags, "do_train": "false", "teacher_checkpoint": None, "teacher_config_file": None}
    succeed("run_classifier.py", **alone)
    assert results(files / "run") == metrics


def test_a_dry_run_plans_with_the_teacher(files, distilling):
    train_teacher(distilling)
    alone = {**distilling, "teacher_checkpoint": None, "teacher_config_file": None}
    planned = dict(dry_run="true", device_memory_gb=0.05)
    stdout, _ = succeed("run_classifier.py", **distilling, **planned)
    without, _ = succeed("run_classifier.py", **alone, **planned)
    of_teacher = sum(
        value.size
        for name, value in read_bundle(str(files / "teacher/run/model.ckpt-2")).items()
        if name != "global_step" and "/adam_" not in name
    )
    assert " of the teacher" not in without and f"; {of_teacher:,} of the teacher" in stdout
    of_step = [float(re.search(r"([\d.,]+) GFLOP a step", text)[1]) for text in (without, stdout)]
    assert of_step[1] > 1.3 * of_step[0]  # its forward pass; it is larger
    largest = [int(re.search(r"Largest +([\d,]+)", text)[1]) for text in (without, stdout)]
    assert largest[1] < largest[0]  # beside its weights


BAD = {
    "no teacher": (
        dict(teacher_checkpoint=None),
        "--teacher_config_file needs --teacher_checkpoint",
    ),
    "no configuration": (
        dict(teacher_config_file=None),
        "--teacher_checkpoint needs --teacher_config_file",
    ),
    "labels of unlabelled texts": (
        dict(distill_file="more.csv", distillation_alpha=0.5),
        "--distill_file has no labels",
    ),
    "weights of no labels": (
        dict(class_weights="balanced"),
        "--class_weights needs --distillation_alpha below 1",
    ),
    "other labels": (
        dict(labels="slowly,fast"),
        "has labels fast, slowly of kind single, the task has slowly, fast",
    ),
    "another vocabulary": (dict(vocab_file="other.txt"), "is not --vocab_file="),
}


@pytest.mark.slow
def test_what_does_not_fit_the_teacher_is_one_line_before_any_work(files, distilling):
    train_teacher(distilling)
    write_vocab(files / "other.txt", [*VOCAB[:-2], "x", "y"])
    before = sorted(files.rglob("*"))
    for changes, expected in BAD.values():
        paths = {n: files / v for n, v in changes.items() if str(v).endswith((".csv", ".txt"))}
        assert expected in refusal("run_classifier.py", **{**distilling, **changes, **paths})
    assert sorted(files.rglob("*")) == before
