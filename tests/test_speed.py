"""What a run tells of its speed."""

import re
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from training.loop import train
from training.optimizer import AdamWeightDecay
from training.progress import Progress
from training.run_state import RunState
from training.speed import PEAKS, Device, Speed, peak_of


@pytest.fixture
def told(monkeypatch):
    """The lines of the log."""
    lines = []
    monkeypatch.setattr(
        "training.speed.logging.info", lambda text, *given: lines.append(text % given)
    )
    return lines


def history(count, tokens=11.0, length=13, input_seconds=0.01, traced=()):
    values = dict(loss=2.0, tokens=tokens, length=length, input_seconds=input_seconds)
    arrays = {name: np.full(count, value, np.float32) for name, value in values.items()}
    return arrays | {"traced": np.isin(np.arange(count), traced)}


def test_the_line_comes_once_and_leaves_out_the_first_loop(told):
    speed = Speed(
        0, tf.distribute.get_strategy(), batch_size=3, sequence_flops=lambda length: length * 10**9
    )
    speed.took(1, history(1, traced=[0]), 1000.0)
    speed.took(7, history(6, tokens=10.0), 2.0)
    assert not told
    speed.took(20, history(13, tokens=20.0), 1.0)
    speed.took(40, history(20), 1.0)
    (line,) = told
    assert line.startswith("step 20: 1 x CPU")
    assert "float32, without XLA" in line
    assert "19.0 sequences/s" in line  # 19 steps of 3 in 3 s
    assert "107 real tokens/s" in line  # 6 x 10 + 13 x 20 in 3 s
    assert "6.3% waiting for input" in line
    assert "0.247 TFLOP/s" in line  # 57 x 13e9 in 3 s


def test_loops_in_which_a_length_is_traced_are_left_out(told):
    speed = Speed(0, tf.distribute.get_strategy(), batch_size=3)
    speed.took(1, history(1, traced=[0]), 1000.0)
    speed.took(11, history(10, traced=[7]), 1000.0)
    speed.took(20, history(9, traced=[2, 5]), 1000.0)
    assert not told
    speed.took(29, history(9), 3.0)
    speed.took(38, history(9), 1.0)
    (line,) = told
    assert line.startswith("step 29:") and "9.0 sequences/s" in line


def test_of_packed_rows_their_sequences_are_counted(told):
    speed = Speed(0, tf.distribute.get_strategy(), batch_size=3)
    speed.took(1, history(1, traced=[0]), 9.0)
    packed = {"sequences": np.arange(19, dtype=np.float32)}
    speed.took(20, history(19) | packed, 9.0)
    assert "19.0 sequences/s" in told[0]  # 0 + 1 + ... + 18 in 9 s


def test_a_resumed_run_tells_after_its_own_twenty_steps(told):
    speed = Speed(100, tf.distribute.get_strategy(), batch_size=3)
    assert speed.tell_at == 120
    speed.took(101, history(1, traced=[0]), 9.0)
    speed.took(120, history(19), 1.0)
    (line,) = told
    assert line.startswith("step 120:") and "FLOP/s" not in line


def test_the_share_of_the_peak_is_told_in_half_precision(told, monkeypatch):
    device = Device("NVIDIA A100-SXM4-40GB", 2, PEAKS["A100"])
    monkeypatch.setattr("training.speed.find_device", lambda strategy: device)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        speed = Speed(0, tf.distribute.get_strategy(), 3, lambda length: 10**13)
        speed.took(1, history(1, traced=[0]), 1.0)
        speed.took(20, history(19), 1.9)
    finally:
        keras.config.set_dtype_policy("float32")
    assert "2 x NVIDIA A100-SXM4-40GB, bfloat16" in told[0]
    assert "300 TFLOP/s (48.1% of the peak)" in told[0]


@pytest.mark.parametrize(
    ("kind", "like"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L40", None),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA RTX A1000 Laptop GPU", None),
        ("Tesla T4", "T4"),
        ("NVIDIA T400", None),
        ("v2-8", "v2"),
        ("v5litepod-16", "v5litepod"),
        ("", None),
    ],
)
def test_a_peak_is_that_of_the_device_and_of_none_with_a_similar_name(kind, like):
    assert peak_of(kind) == (like and PEAKS[like])


@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_the_wait_for_input_is_measured(
    tiny_config, pretraining_batches, tmp_path, told, strategy, delay
):
    """A slow input makes the share large, a ready one leaves it small."""

    def wait(batch):
        time.sleep(delay)
        return np.float32(0)

    def slowed(batch):
        waited = tf.ensure_shape(tf.numpy_function(wait, [batch["input_ids"]], tf.float32), [])
        return {**batch, "masked_lm_weights": batch["masked_lm_weights"] + waited}

    batches = tf.data.Dataset.from_tensor_slices(pretraining_batches(31, 6)).map(slowed)
    batches = batches if delay else batches.prefetch(31)
    with strategy.scope():
        model = BertPretrainer(tiny_config)
        adam = AdamWeightDecay(model.trainable_variables, 1e-2, 31, 2)
    train(
        *(model, OBJECTIVE, adam, strategy, batches, RunState(str(tmp_path / "run"))),
        Progress(str(tmp_path / "run"), 31, 6),
        num_train_steps=31,
        seed=3,
    )
    (line,) = (line for line in told if "waiting" in line)
    share = float(re.search(r"([\d.]+)% waiting", line)[1])
    assert share > 40 if delay else share < 40
