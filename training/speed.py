"""The line that tells, early in a run, where it computes and how fast."""

import os
import re
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import logging

# Steps after which it is told.
STEPS = 20
# Dense products in bfloat16 or float16, FLOP/s of a device, as the makers state them; a core of v2 and v3, a chip of
# later TPUs. Names are TensorFlow's of a GPU and the accelerator type of a TPU VM; the first that fits counts.
PEAKS = {
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
    "v2": 22.5e12,
    "v3": 61.5e12,
    "v4": 275e12,
    "v5litepod": 197e12,
    "v5p": 459e12,
    "v6e": 918e12,
}


class Device(NamedTuple):
    """What a strategy computes on.

    Attributes:
      kind: name of one device, for people.
      number: of devices, over all workers.
      peak: FLOP/s of one device in half precision, None if unknown.
    """

    kind: str
    number: int
    peak: float | None


def find_device(strategy: tf.distribute.Strategy) -> Device:
    """Returns what the strategy computes on."""
    number = strategy.num_replicas_in_sync
    if tf.config.list_logical_devices("TPU"):
        kind = os.environ.get("TPU_ACCELERATOR_TYPE", "")
        name = f"TPU {kind}".strip()
    elif gpus := tf.config.list_physical_devices("GPU"):
        name = kind = tf.config.experimental.get_device_details(gpus[0])["device_name"]
    else:
        kind, name = "", f"CPU with {os.cpu_count()} cores"
    return Device(name, number, peak_of(kind))


def peak_of(kind: str) -> float | None:
    """Returns the FLOP/s in half precision of a device by TensorFlow's name of it, None if they are not known."""
    return next((peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", kind)), None)


def compiles_gradients() -> bool:
    """Returns whether forward and backward pass are compiled with XLA apart from the rest of the step.

    That pays on a GPU and not on a CPU. A TPU compiles the whole step by itself.
    """
    return bool(tf.config.list_logical_devices("GPU"))


class Speed:
    """Measures the first steps of a run and logs one line about them.

    Args:
      first_step: updates made before the run began.
      strategy: that of the run.
      batch_size: sequences, or packed rows, in an update.
      sequence_flops: static length -> operations of training on one of them; without it none are told.

    Attributes:
      tell_at: the step at which the line comes, or after which, if there is nothing to tell by then.
    """

    def __init__(
        self,
        first_step: int,
        strategy: tf.distribute.Strategy,
        batch_size: int,
        sequence_flops: Callable[[int], int] | None = None,
    ):
        self.tell_at = first_step + STEPS
        self._device = find_device(strategy)
        self._batch_size = batch_size
        self._sequence_flops = sequence_flops
        self._told = False
        self._seconds = self._sequences = self._tokens = self._flops = self._input_seconds = 0

    def took(self, step: int, history: dict[str, np.ndarray], seconds: float) -> None:
        """Learns of steps, of which none counts if one was traced; arguments as of `Progress.report`."""
        if self._told or history["traced"].any():
            return
        self._seconds += seconds
        self._sequences += history.get(
            "sequences", np.full(len(history["loss"]), self._batch_size)
        ).sum()
        self._tokens += history["tokens"].sum()
        self._input_seconds += history["input_seconds"].sum()
        if self._sequence_flops:
            self._flops += self._batch_size * sum(map(self._sequence_flops, history["length"]))
        if step >= self.tell_at:
            self._told = True
            logging.info("%s", self._line(step))

    def _line(self, step: int) -> str:
        device, seconds = self._device, self._seconds
        xla = compiles_gradients() or device.kind.startswith("TPU")
        line = (
            f"step {step}: {device.number} x {device.kind}, {keras.config.dtype_policy().compute_dtype}, "
            f"{'with' if xla else 'without'} XLA: {self._sequences / seconds:,.1f} sequences/s, "
            f"{self._tokens / seconds:,.0f} real tokens/s, {self._input_seconds / seconds:.1%} waiting for input"
        )
        if not self._flops:
            return line
        rate = self._flops / seconds
        line += f", {rate / 1e12:.3g} TFLOP/s"
        half = keras.config.dtype_policy().compute_dtype != "float32"
        if device.peak and (half or device.kind.startswith("TPU")):
            line += f" ({rate / (device.number * device.peak):.1%} of the peak)"
        return line
