"""The flags of optimizer and schedule as a user gives them: what reaches metrics.jsonl and the checkpoints."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import change_config, classifier_flags, pretraining_flags, run, succeed

STEPS, RATE = 7, 0.01
LOGGED = dict(learning_rate=RATE, iterations_per_loop=1)


@pytest.fixture(scope="module")
def inputs(tiny_files, tiny_records, tmp_path_factory):
    """The tiny files and their records; the model has two layers."""
    folder = tmp_path_factory.mktemp("inputs")
    for source in (tiny_files, tiny_records):
        shutil.copytree(source, folder, dirs_exist_ok=True)
    change_config(folder / "bert_config.json", num_hidden_layers=2)
    return folder


def pretraining(inputs, directory, **changes):
    own = dict(output_dir=directory, num_train_steps=STEPS, num_warmup_steps=None)
    return pretraining_flags(inputs) | own | LOGGED | changes


def fine_tuning(inputs, directory, **changes):
    """Returns the flags of so many steps: 37 examples, 1.6 times, in batches of 8."""
    own = dict(output_dir=directory, num_train_epochs=1.6)
    return classifier_flags(inputs) | own | LOGGED | changes


def learning_rates(directory):
    """Returns the rate of each update but the first, of which a run says nothing."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    rates = {entry["step"]: entry["learning_rate"] for entry in map(json.loads, lines)}
    assert list(rates) == list(range(2, STEPS + 1))
    return list(rates.values())


def expected_rates(num_warmup_steps, power):
    return [
        RATE * (s / num_warmup_steps if s < num_warmup_steps else (1 - s / STEPS) ** power)
        for s in range(1, STEPS)
    ]


@pytest.mark.parametrize(
    ("changes", "num_warmup_steps", "power"),
    [
        ({}, 10000, 1.0),
        (dict(num_warmup_steps=3), 3, 1.0),
        (dict(warmup_proportion=0.45, optimizer="lamb_nvidia"), 3, 0.5),
        (dict(num_warmup_steps=0, optimizer="lamb", lr_decay_power=2), 0, 2.0),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_pretraining_follows_the_schedule_of_its_flags(
    inputs, tmp_path, changes, num_warmup_steps, power
):
    succeed("run_pretraining.py", **pretraining(inputs, tmp_path, **changes))
    expected = expected_rates(num_warmup_steps, power)
    np.testing.assert_allclose(learning_rates(tmp_path), expected, rtol=1e-5)


def test_fine_tuning_takes_warm_up_in_steps(inputs, tmp_path):
    succeed("run_classifier.py", **fine_tuning(inputs, tmp_path, num_warmup_steps=5))
    np.testing.assert_allclose(learning_rates(tmp_path), expected_rates(5, 1.0), rtol=1e-5)


@pytest.fixture(scope="module")
def shrunk(inputs, tmp_path_factory):
    """What each variable was multiplied by in a run whose gradients are clipped to nothing, so that only decay acts."""
    directory = tmp_path_factory.mktemp("shrunk")
    changes = dict(
        num_warmup_steps=0,
        learning_rate=0.1,
        clip_norm=1e-12,
        weight_decay=0.5,
        layerwise_lr_decay=0.5,
    )
    succeed("run_pretraining.py", **pretraining(inputs, directory, **changes))
    before, after = (
        tf.train.load_checkpoint(str(directory / f"model.ckpt-{step}")) for step in (0, STEPS)
    )
    return lambda name: (
        np.linalg.norm(after.get_tensor(name)) / np.linalg.norm(before.get_tensor(name))
    )


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("bert/embeddings/position_embeddings", 0.5**3),
        ("bert/encoder/layer_0/intermediate/dense/kernel", 0.5**2),
        ("bert/encoder/layer_1/attention/self/value/kernel", 0.5),
        ("bert/pooler/dense/kernel", 1.0),
        ("cls/seq_relationship/output_weights", 1.0),
    ],
)
def test_weight_decay_acts_with_the_rate_of_the_layer(shrunk, name, factor):
    expected = np.prod([1 - factor * 0.1 * (1 - step / STEPS) * 0.5 for step in range(STEPS)])
    assert shrunk(name) == pytest.approx(expected, rel=1e-5)


def test_clipped_gradients_and_no_decay_leave_a_norm_as_it_is(shrunk):
    assert shrunk("bert/encoder/layer_1/output/LayerNorm/gamma") == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("script", "make_flags"),
    [("run_pretraining.py", pretraining), ("run_classifier.py", fine_tuning)],
)
def test_two_lengths_of_warm_up_are_an_error(inputs, tmp_path, script, make_flags):
    changes = dict(num_warmup_steps=3, warmup_proportion=0.1)
    status, _, stderr = run(script, **make_flags(inputs, tmp_path / "run", **changes))
    assert (status, stderr.count("\n")) == (1, 1)
    assert "num_warmup_steps=3, warmup_proportion=0.1" in stderr and "one of them" in stderr
    assert not (tmp_path / "run").exists()


def test_bias_correction_makes_the_first_update_one_rate_long(inputs, tmp_path):
    changes = dict(num_train_steps=1, num_warmup_steps=0, adam_bias_correction="true")
    succeed("run_pretraining.py", **pretraining(inputs, tmp_path, **changes))
    bias = tf.train.load_checkpoint(str(tmp_path)).get_tensor("cls/seq_relationship/output_bias")
    np.testing.assert_allclose(np.abs(bias), RATE, rtol=1e-3)


def test_lamb_refuses_the_flag_of_adam(inputs, tmp_path):
    changes = dict(optimizer="lamb_nvidia", adam_bias_correction="true")
    status, _, stderr = run(
        "run_pretraining.py", **pretraining(inputs, tmp_path / "run", **changes)
    )
    assert (status, stderr.count("\n")) == (1, 1)
    assert "--adam_bias_correction" in stderr and "optimizer=lamb_nvidia" in stderr
    assert not (tmp_path / "run").exists()
