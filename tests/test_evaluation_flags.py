"""The flags of evaluations during training, through `run_classifier.py`."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import change_config, classifier_flags, refusal, results, succeed

EVALUATING = dict(do_eval="true", eval_steps=3, learning_rate=1e-2)


def evaluations(folder):
    lines = (folder / "eval/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_best_of_the_evaluations_is_what_is_evaluated_at_the_end(files):
    flags = classifier_flags(files, num_train_epochs=2.0, **EVALUATING)
    flags |= dict(keep_best_metric="eval_loss", keep_checkpoint_max=1, use_best_checkpoint="true")
    succeed("run_classifier.py", **flags)
    *during, last = evaluations(files / "run")
    assert [entry["step"] for entry in during] == [3, 6, 9]
    best = min(during, key=lambda entry: entry["eval_loss"])
    assert last == best
    found = results(files / "run")
    assert found["global_step"] == best["step"]
    assert found["eval_loss"] == pytest.approx(best["eval_loss"])
    tags = {
        value.tag
        for path in (files / "run/eval").glob("events.out.tfevents.*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"eval_f1", "eval_accuracy", "eval_loss"} <= tags


@pytest.mark.slow
def test_training_that_was_evaluated_ends_with_the_same_weights(files):
    succeed("run_classifier.py", **classifier_flags(files))
    flags = classifier_flags(files, output_dir=files / "other", do_eval="true", eval_steps=1)
    succeed("run_classifier.py", **flags)
    readers = [tf.train.load_checkpoint(str(files / name)) for name in ("run", "other")]
    for name in readers[0].get_variable_to_shape_map():
        np.testing.assert_array_equal(*(r.get_tensor(name) for r in readers), err_msg=name)


@pytest.mark.slow
def test_frozen_layers_end_as_they_began(files):
    change_config(files / "bert_config.json", num_hidden_layers=2)
    succeed("run_classifier.py", **classifier_flags(files, freeze=1, do_eval="true"))
    first, last = (
        tf.train.load_checkpoint(str(files / f"run/model.ckpt-{step}")) for step in (0, 4)
    )
    names = [n for n in first.get_variable_to_shape_map() if "adam" not in n and n != "global_step"]
    same = {n for n in names if np.array_equal(first.get_tensor(n), last.get_tensor(n))}
    assert same == {n for n in names if "/embeddings/" in n or "/layer_0/" in n}


BAD = {
    "more than there is": (dict(freeze=3), "--freeze=3: give embeddings, or a number of encoder"),
    "no evaluation after training": (dict(eval_steps=3), "--eval_steps needs --do_train and"),
    "no evaluation in training": (
        dict(keep_best_metric="eval_f1"),
        "--keep_best_metric=eval_f1 needs --eval_steps",
    ),
    "patience alone": (
        dict(early_stopping_patience=2),
        "--early_stopping_patience needs --eval_steps",
    ),
    "patience for what": (
        dict(early_stopping_patience=2, **EVALUATING),
        "--early_stopping_patience: give --keep_best_metric one of eval_accuracy, eval_f1, eval_loss",
    ),
    "patience with the loss of training": (
        dict(early_stopping_patience=2, keep_best_metric="loss", **EVALUATING),
        "--keep_best_metric=loss: give",
    ),
    "another task's metric": (
        dict(keep_best_metric="eval_pearson", **EVALUATING),
        "--keep_best_metric=eval_pearson: give",
    ),
    "the best of what": (
        dict(use_best_checkpoint="true"),
        "--use_best_checkpoint needs --keep_best_metric",
    ),
    "no best": (
        dict(use_best_checkpoint="true", do_train="false", do_eval="true"),
        "there is no best_checkpoint.json in --output_dir",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_flags_that_do_not_go_together_are_one_line(files, case):
    changes, expected = BAD[case]
    assert expected in refusal("run_classifier.py", **classifier_flags(files, **changes))
    assert not (files / "run").exists()
