"""Evaluation in the course of training: no influence on it, the best checkpoint, the early end, restarts."""

import gc
import json
import math
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from modeling.dropout import dropout
from modeling.heads import LinearHead
from training.evaluation import Evaluation
from training.loop import predict, train
from training.optimizer import AdamWeightDecay
from training.progress import Progress, ScalarWriter, read_scalars
from training.retention import read_best
from training.run_state import RunState
from training.train_step import Objective
from training.weights import checkpoint_variables, load_best, load_weights

STEPS = 11
WIDTH = 7


class Tiny(keras.Model):
    """A linear layer over the first token, with dropout."""

    def __init__(self):
        super().__init__()
        self.head = LinearHead(3, WIDTH)

    def call(self, batch, seed=None):
        return self.head(dropout(tf.one_hot(batch["input_ids"][:, 0], WIDTH), 0.3, seed))


def score(model, batch, seed=None):
    labels = batch["input_ids"][:, 1] % 3
    logits = model(batch, seed)
    return {"loss": tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)}


OBJECTIVE = Objective(
    lambda batch: {"n": tf.cast(tf.shape(batch["input_ids"])[0], tf.float32)},
    lambda model, batch, weights, seed: (
        tf.reduce_sum(score(model, batch, seed)["loss"]) / weights["n"],
        {},
    ),
)


def some_batches(count, seed):
    ids = np.random.default_rng(seed).integers(0, WIDTH, [count, 4, 5], np.int32)
    return tf.data.Dataset.from_tensor_slices({"input_ids": ids, "input_mask": np.ones_like(ids)})


@pytest.fixture
def run(tmp_path):
    """Trains, or goes on training, with an evaluation every `every` steps; `values` are used in place of its loss."""

    def run(name, until=STEPS, every=3, values=None, metric=None, patience=None, strategy=None):
        strategy = strategy or tf.distribute.get_strategy()
        keras.utils.set_random_seed(5)
        with strategy.scope():
            model = Tiny()
            adam = AdamWeightDecay(model.trainable_variables, 1e-1, STEPS, 2)
        state = RunState(str(tmp_path / name), keep=2, best_metric=metric)
        step = load_weights(state, None, model, adam)
        dev = some_batches(2, 7)

        def measure():
            losses = [s["loss"] for s in predict(model, score, dev, strategy)]
            given = values and values[int(adam.global_step.numpy())]
            return {"eval_x": np.float32(np.mean(losses) if given is None else given)}

        settings = (STEPS, every, ["eval_x"], metric, patience)
        train(
            model,
            OBJECTIVE,
            adam,
            strategy,
            some_batches(STEPS, 3).skip(step),
            state,
            Progress(state.output_dir, STEPS, 4),
            num_train_steps=until,
            seed=13,
            save_checkpoints_steps=5,
            evaluation=Evaluation(measure, state.output_dir, *settings) if every else None,
        )
        variables = checkpoint_variables(model, adam)
        return {name: variable.numpy() for name, variable in variables.items()}

    return run


def evaluated(folder):
    lines = (folder / "eval/metrics.jsonl").read_text().splitlines()
    return [(entry["step"], entry["eval_x"]) for entry in map(json.loads, lines)]


def test_training_is_the_same_with_evaluations_and_a_restart(run, strategy, tmp_path):
    alone = run("alone", every=None, strategy=strategy)
    whole = run("whole", strategy=strategy)
    run("parts", until=5, strategy=strategy)
    parts = run("parts", strategy=strategy)
    for name, values in alone.items():
        np.testing.assert_array_equal(whole[name], values, err_msg=name)
        np.testing.assert_array_equal(parts[name], values, err_msg=name)
    assert [step for step, _ in evaluated(tmp_path / "whole")] == [3, 6, 9, STEPS]
    assert evaluated(tmp_path / "parts") == evaluated(tmp_path / "whole")


def test_the_best_evaluated_checkpoint_stays_and_can_be_loaded(run, tmp_path):
    values = {3: 0.2, 6: 0.7, 9: 0.3, STEPS: 0.1}
    run("run", values=values, metric="eval_x")
    best = read_best(str(tmp_path / "run"))
    assert (best.step, best.metric) == (6, "eval_x") and best.value == pytest.approx(0.7)
    model = Tiny()
    assert load_best(RunState(str(tmp_path / "run")), model) == 6
    run("to six", until=6)
    other = Tiny()
    load_weights(RunState(str(tmp_path / "to six")), None, other)
    np.testing.assert_array_equal(model.variables[0].numpy(), other.variables[0].numpy())


def test_training_ends_early_and_a_restart_does_not_go_on(run, tmp_path):
    values = {2: 0.2, 4: 0.7, 6: 0.3, 8: 0.6}
    settings = dict(every=2, values=values, metric="eval_x", patience=2)
    first = run("run", **settings)
    assert first["global_step"] == 8
    assert RunState(str(tmp_path / "run")).latest().endswith("model.ckpt-8")
    assert run("run", **settings)["global_step"] == 8
    assert [step for step, _ in evaluated(tmp_path / "run")] == [2, 4, 6, 8]


def test_a_restart_knows_the_evaluations_before_it(run, tmp_path):
    values = {2: 0.7, 4: 0.6, 6: 0.5, 8: 0.9}
    settings = dict(every=2, values=values, metric="eval_x", patience=2)
    run("run", until=5, **settings)
    assert run("run", **settings)["global_step"] == 6


@pytest.mark.parametrize(
    ("values", "step", "expected"),
    [
        ({3: 0.5, 6: 0.4, 9: 0.3}, 9, True),
        ({3: 0.5, 6: 0.4, 9: 0.3}, 6, False),
        ({3: 0.5, 6: 0.4, 9: 0.6}, 9, False),
        ({3: 0.5, 6: 0.5, 9: 0.5}, 9, True),
        ({3: math.nan, 6: math.nan}, 6, True),
        ({3: math.nan, 6: 0.1, 9: 0.05}, 9, False),
        ({3: 0.5, 4: 0.1, 5: 0.1, 6: 0.4}, 6, False),  # not of these evaluations
        ({3: 0.5, 6: 0.4, STEPS: 0.3}, STEPS, True),
    ],
)
def test_patience_counts_evaluations_in_a_row_without_a_better_one(
    tmp_path, values, step, expected
):
    evaluation = Evaluation(dict, str(tmp_path), STEPS, 3, ["eval_x"], "eval_x", 2)
    writer = ScalarWriter(str(tmp_path / "eval"))
    for at, value in values.items():
        writer.write(at, {"eval_x": value})
    assert evaluation.gives_up(step) == expected


def test_a_loss_that_falls_is_no_reason_to_stop(tmp_path):
    evaluation = Evaluation(dict, str(tmp_path), STEPS, 3, ["eval_loss"], "eval_loss", 1)
    writer = ScalarWriter(str(tmp_path / "eval"))
    for at, value in {3: 0.5, 6: 0.4, 9: 0.45}.items():
        writer.write(at, {"eval_loss": value})
    assert [evaluation.gives_up(step) for step in (3, 6, 9)] == [False, False, True]


def test_the_same_model_is_traced_once_for_all_evaluations(run):
    traced = []

    def counted(model, batch):
        traced.append(1)
        return score(model, batch)

    model = Tiny()
    for _ in range(3):
        list(predict(model, counted, some_batches(2, 7), tf.distribute.get_strategy()))
    assert len(traced) == 1
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_all_numbers_of_an_evaluation_are_reported_and_the_named_ones_returned(tmp_path):
    results = {"eval_x": np.float32(0.25), "loss": np.float32(1.5)}
    evaluation = Evaluation(lambda: results, str(tmp_path), STEPS, 3, ["eval_x"])
    assert evaluation.scores(2) == {}
    assert evaluation.scores(3) == {"eval_x": 0.25}
    assert read_scalars(str(tmp_path / "eval")) == {"eval_x": [(3, 0.25)], "loss": [(3, 1.5)]}
