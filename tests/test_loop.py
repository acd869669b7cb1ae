"""Training as a whole: resuming, reports, checkpoints, and the stop at a loss that is not finite."""

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE, sequence_scores
from training.loop import predict, train
from training.optimizer import AdamWeightDecay
from training.preemption import Preempted
from training.progress import Progress
from training.run_state import RunState
from training.weights import checkpoint_variables, load_weights

STEPS = 7


@pytest.fixture
def run(tiny_config, pretraining_batches, tmp_path):
    """Trains, or goes on training, up to a step; dropout is on."""
    arrays = pretraining_batches(STEPS, 6)

    def run(
        directory,
        until,
        change=lambda arrays: arrays,
        strategy=None,
        best_metric=None,
        make_state=RunState,
    ):
        strategy = strategy or tf.distribute.get_strategy()
        keras.utils.set_random_seed(5)
        with strategy.scope():
            model = BertPretrainer(tiny_config)
            adam = AdamWeightDecay(model.trainable_variables, 1e-2, STEPS, 2)
        state = make_state(str(tmp_path / directory), best_metric=best_metric)
        step = load_weights(state, None, model, adam)
        batches = tf.data.Dataset.from_tensor_slices(change(dict(arrays))).skip(step)
        progress = Progress(state.output_dir, STEPS, 6)
        settings = dict(num_train_steps=until, seed=3, save_checkpoints_steps=3)
        train(
            model,
            OBJECTIVE,
            adam,
            strategy,
            batches,
            state,
            progress,
            iterations_per_loop=1,
            **settings,
        )
        variables = checkpoint_variables(model, adam)
        return {name: variable.numpy() for name, variable in variables.items()}

    return run


def losses(directory):
    path = directory / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {entry["step"]: entry["loss"] for entry in map(json.loads, lines)}


def test_a_resumed_run_equals_an_uninterrupted_one(run, strategy, tmp_path):
    whole = run("whole", STEPS, strategy=strategy)
    run("parts", 4, strategy=strategy)
    resumed = run("parts", STEPS, strategy=strategy)
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values, err_msg=name)
    late = {step: loss for step, loss in losses(tmp_path / "whole").items() if step > 4}
    assert {s: loss for s, loss in losses(tmp_path / "parts").items() if s > 4} == late


def test_checkpoints_come_at_the_start_at_multiples_and_at_the_end(run, tmp_path):
    run("run", STEPS)
    steps = {
        int(path.stem.rsplit("-")[-1]) for path in (tmp_path / "run").glob("model.ckpt-*.index")
    }
    assert steps == {0, 3, 6, STEPS}


def test_checkpoints_are_scored_by_the_mean_since_the_one_before(run, tmp_path):
    run("run", STEPS, best_metric="loss")
    reported = losses(tmp_path / "run")  # all but step 1
    means = {6: np.mean([reported[step] for step in (4, 5, 6)]), 7: reported[7]}
    best = json.loads((tmp_path / "run/best_checkpoint.json").read_text())
    assert best["metric"] == "loss" and best["step"] == min(means, key=means.get)
    assert best["value"] == pytest.approx(means[best["step"]])


def test_an_unknown_metric_stops_the_run_after_its_first_step(run, tmp_path):
    with pytest.raises(ValueError, match="--keep_best_metric=f1: .*loss, masked_lm_accuracy"):
        run("run", STEPS, best_metric="f1")
    assert not losses(tmp_path / "run")


class AskedToStop(RunState):
    """Asks its process to stop when everything is saved that will be."""

    def __exit__(self, *exception):
        os.kill(os.getpid(), signal.SIGTERM)
        super().__exit__(*exception)


def test_a_request_to_stop_in_the_last_moment_of_a_phase_is_heard(run):
    whole = run("whole", STEPS)
    with pytest.raises(Preempted, match="stopped by SIGTERM; step 4 is saved"):
        run("parts", 4, make_state=AskedToStop)
    for name, values in run("parts", STEPS).items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_a_complete_run_is_left_as_it_is(run, tmp_path):
    first = run("run", STEPS)
    lines = losses(tmp_path / "run")
    again = run("run", STEPS)
    assert losses(tmp_path / "run") == lines
    np.testing.assert_array_equal(
        again["cls/predictions/output_bias"], first["cls/predictions/output_bias"]
    )


def test_a_loss_that_is_not_finite_stops_the_run_before_it_saves(run, tmp_path):
    def spoil(arrays):
        weights = arrays["masked_lm_weights"].copy()
        weights[4] = np.nan
        return {**arrays, "masked_lm_weights": weights}

    with pytest.raises(FloatingPointError, match="step 5: loss nan"):
        run("run", STEPS, change=spoil)
    state = RunState(str(tmp_path / "run"))
    assert state.latest().endswith("model.ckpt-3")


def test_reports_give_rates_and_learning_rate(run, tmp_path):
    run("run", STEPS)
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert last["learning_rate"] == pytest.approx(1e-2 / STEPS)
    assert last["sequences_per_second"] * 5 <= last["tokens_per_second"]
    assert last["tokens_per_second"] <= last["sequences_per_second"] * 11


def test_tensorboard_events_hold_the_loss(run, tmp_path):
    run("run", STEPS)
    (file,) = (tmp_path / "run").glob("events.out.tfevents.*")
    tags = [
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert "loss" in tags and "learning_rate" in tags


def test_predictions_come_in_the_order_of_the_batch(tiny_config, pretraining_batches, strategy):
    with strategy.scope():
        model = BertPretrainer(tiny_config)
    arrays = pretraining_batches(3, 6)
    scored = list(
        predict(model, sequence_scores, tf.data.Dataset.from_tensor_slices(arrays), strategy)
    )
    for number, scores in enumerate(scored):
        one = {name: tf.constant(values[number]) for name, values in arrays.items()}
        np.testing.assert_allclose(
            scores["masked_lm_loss"], sequence_scores(model, one)["masked_lm_loss"], rtol=1e-5
        )
