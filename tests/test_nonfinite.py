"""A step whose gradient is not a finite number: left out and counted, up to a cap."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_run_pretraining import record
from tiny_runs import pretraining_flags
from tiny_runs import run as run_script

from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from training.loop import train
from training.nonfinite import NonFiniteSkip
from training.optimizer import AdamWeightDecay
from training.progress import Progress
from training.run_state import RunState
from training.weights import checkpoint_variables, load_weights

STEPS, BATCH = 7, 6
KERNEL = "bert/encoder/layer_0/attention/self/query/kernel"


@pytest.fixture
def run(tiny_config, pretraining_batches, tmp_path):
    """Trains, or goes on training, up to a step; the batches of the bad steps make gradients that are no numbers."""

    def run(directory, until, bad=(), most=10, guarded=True, strategy=None):
        strategy = strategy or tf.distribute.get_strategy()
        arrays = pretraining_batches(STEPS, BATCH)
        arrays["masked_lm_weights"][[step - 1 for step in bad], -1] = np.nan
        keras.utils.set_random_seed(5)
        with strategy.scope():
            model = BertPretrainer(tiny_config)
            guard = NonFiniteSkip() if guarded else None
            adam = AdamWeightDecay(model.trainable_variables, 1e-2, STEPS, 2, guard=guard)
        state = RunState(str(tmp_path / directory))
        step = load_weights(state, None, model, adam)
        batches = tf.data.Dataset.from_tensor_slices(arrays).skip(step)
        progress = Progress(state.output_dir, STEPS, BATCH)
        settings = dict(seed=3, save_checkpoints_steps=1, max_nonfinite_steps=most)
        train(
            *(model, OBJECTIVE, adam, strategy, batches, state, progress),
            num_train_steps=until,
            **settings,
        )
        return {name: v.numpy() for name, v in checkpoint_variables(model, adam).items()}

    return run


def test_the_update_of_such_a_step_is_left_out_on_all_replicas(run, strategy):
    before = run("run", 3, strategy=strategy)
    after = run("run", 4, bad=[4], strategy=strategy)
    changed = {name for name, values in after.items() if not np.array_equal(values, before[name])}
    assert changed == {"global_step", "skipped_steps"}
    assert not np.array_equal(run("run", 5, strategy=strategy)[KERNEL], after[KERNEL])


def test_skipped_steps_are_counted_over_a_resume(run):
    run("run", 3, bad=[2])
    assert run("run", STEPS, bad=[5, 6])["skipped_steps"] == 3


def test_without_such_a_step_the_guard_changes_nothing(run):
    guarded, plain = run("guarded", STEPS), run("plain", STEPS, guarded=False)
    for name, values in plain.items():
        np.testing.assert_array_equal(guarded[name], values, err_msg=name)


def test_the_run_stops_at_one_more_than_the_cap(run):
    with pytest.raises(FloatingPointError, match="step 6: loss nan"):
        run("run", STEPS, bad=[2, 4, 6], most=2)


def test_every_skipped_step_is_said(run, caplog):
    with caplog.at_level("WARNING", logger="absl"):
        run("run", STEPS, bad=[2, 5])
    assert "step 2: loss nan" in caplog.text
    assert "update skipped, number 1 of at most 10" in caplog.text
    assert "step 5: loss nan" in caplog.text
    assert "number 2 of at most 10" in caplog.text


def test_a_run_without_the_guard_can_be_continued_with_it(run):
    run("run", 3, guarded=False)
    assert run("run", STEPS, bad=[5])["skipped_steps"] == 1


@pytest.fixture
def bad_record(files):
    """Flags to train for two epochs of two steps each, in one of which a record is met whose loss is no number."""
    rng = np.random.default_rng(3)
    with tf.io.TFRecordWriter(str(files / "records.tfrecord")) as writer:
        for number in range(16):
            example = tf.train.Example.FromString(record(rng, 23, 3))
            if number == 5:
                example.features.feature["masked_lm_weights"].float_list.value[1] = math.nan
            writer.write(example.SerializeToString())
    return pretraining_flags(files, num_train_steps=4)


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        ({}, 17, "loss nan"),
        (dict(on_nonfinite="skip", max_nonfinite_steps=1), 17, "number 1 of at most 1"),
        (dict(on_nonfinite="skip"), 0, "number 2 of at most 10"),
    ],
    ids=["stop", "more than the cap", "skip"],
)
def test_flags_say_what_such_a_step_does(bad_record, flags, status, said):
    found, _, stderr = run_script("run_pretraining.py", **bad_record, **flags)
    assert found == status and said in stderr and "Traceback" not in stderr
    last = RunState(str(bad_record["output_dir"])).latest()
    assert last.endswith("model.ckpt-0" if status else "model.ckpt-4")
