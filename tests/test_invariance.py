"""Training is the same on any number of devices, hosts and micro-batches, in less memory, and after any stop.

In float32, over the 20 steps of benchmarks/invariance.py: losses to 1e-6 relative, variables and slots to 1e-5 of the
largest value of their tensor.
"""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import invariance
from benchmarks.invariance import CASES, DROPOUT, PLAIN, STEPS, differences, run_case, train_on

# What a faster case covers in part.
SLOW = {
    "4 micro-batches",
    "8 micro-batches",
    "4 replicas",
    "2 workers",
    "2 workers x 2 micro-batches",
    "rematerialisation",
    "1 replica, from step 7 on 2",
    "bucketed, 2 replicas x 4, from step 7 on 1",
    "stopped at step 7, dropout",
    "packed, rematerialisation",
    "packed, 2 replicas x 2 micro-batches",
}


@pytest.fixture(scope="module")
def reference():
    """Trains once for all cases that are compared with the same one."""
    made = {}

    def make(case):
        if case not in made:
            made[case] = run_case(case)
        return made[case]

    return make


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CASES]
)
def test_training_is_the_same(reference, name):
    case, plainest = CASES[name]
    theirs = reference(plainest)
    loss, variables = differences(run_case(case, name), theirs)
    assert loss < 1e-6
    assert {name: value for name, value in variables.items() if value > 1e-5} == {}


def test_the_gradients_are_clipped_and_the_variables_learn(reference):
    result = reference(PLAIN)
    assert len(result.losses) == STEPS
    assert result.gradient_norms.min() > invariance.CLIP_NORM
    assert result.losses[-5:].mean() < 0.9 * result.losses[:5].mean()


@pytest.mark.parametrize("slices", [2, 4, 8])
def test_the_slices_of_a_batch_have_unequal_numbers_of_masked_tokens(slices):
    weights = invariance.random_batches(
        invariance.DISTINCT_BATCHES, invariance.BATCH_SIZE, invariance.LONG
    )["masked_lm_weights"]
    counts = weights.reshape(len(weights), slices, -1).sum(axis=2)
    assert (counts.min(axis=1) < counts.max(axis=1)).all()


@pytest.mark.parametrize("steps", [4, pytest.param(STEPS, marks=pytest.mark.slow)])
def test_a_stop_at_any_step_changes_no_bit(tmp_path, steps):
    strategy = tf.distribute.get_strategy()
    whole = train_on(strategy, DROPOUT, str(tmp_path / "whole"), steps, save_checkpoints_steps=1)
    for stop in range(1, steps):
        folder = tmp_path / f"from{stop}"
        folder.mkdir()
        for path in (tmp_path / "whole").glob(f"model.ckpt-{stop}.*"):
            shutil.copy(path, folder)
        rest = train_on(strategy, DROPOUT, str(folder), steps)
        np.testing.assert_array_equal(rest.losses, whole.losses[stop:])
        for name, values in whole.variables.items():
            np.testing.assert_array_equal(rest.variables[name], values, err_msg=name)
