"""What a run says while it trains: a line, a TensorBoard event and a line of metrics.jsonl for each report."""

import datetime
import json
import os

import numpy as np
import tensorflow as tf
from absl import logging

# Reported as they are at the end, not as means.
LAST_VALUES = {"learning_rate", "loss_scale", "skipped_steps"}


def finite_steps(history: dict[str, np.ndarray]) -> np.ndarray:
    """Returns bool [n]: whether loss and gradient of the step are finite numbers."""
    return np.isfinite(history["loss"]) & np.isfinite(history["gradient_norm"])


class EventWriter:
    """Writes scalars for TensorBoard, without needing it installed."""

    def __init__(self, directory: str):
        self._writer = tf.summary.create_file_writer(directory)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Writes the scalars of one step and flushes them."""
        values = [
            tf.compat.v1.Summary.Value(tag=name, simple_value=float(value))
            for name, value in scalars.items()
        ]
        summary = tf.compat.v1.Summary(value=values).SerializeToString()
        with self._writer.as_default():
            tf.summary.experimental.write_raw_pb(summary, step=step)
        self._writer.flush()


class Progress:
    """Reports of one training.

    Args:
      output_dir: gets `events.out.tfevents.*` and `metrics.jsonl` (a JSON object a report: means since the last one).
      num_train_steps: step at which the run ends.
      batch_size: sequences in an update.
    """

    def __init__(self, output_dir: str, num_train_steps: int, batch_size: int):
        self.num_train_steps = num_train_steps
        self.batch_size = batch_size
        self._events = EventWriter(output_dir)
        self._path = os.path.join(output_dir, "metrics.jsonl")

    def report(self, step: int, history: dict[str, np.ndarray], seconds: float) -> None:
        """Reports the steps up to `step`.

        Args:
          step: updates made so far.
          history: float32 [n] each, one value for each of the last n steps.
          seconds: wall time of these n steps.
        """
        count = len(history["loss"])
        # In float16 there may be skipped steps, in which nothing is worth averaging.
        counted = finite_steps(history)
        counted |= not counted.any()
        scalars = {name: float(values[counted].mean()) for name, values in history.items()}
        scalars |= {name: float(history[name][-1]) for name in LAST_VALUES & history.keys()}
        tokens = scalars.pop("tokens")
        scalars["sequences_per_second"] = count * self.batch_size / seconds
        scalars["tokens_per_second"] = count * tokens / seconds
        left = (self.num_train_steps - step) * seconds / count
        logging.info("%s", self._line(step, scalars, left))
        self._events.write(step, scalars)
        with tf.io.gfile.GFile(self._path, "a") as file:
            file.write(json.dumps({"step": step, **scalars}) + "\n")

    def _line(self, step, scalars, seconds_left) -> str:
        left = datetime.timedelta(seconds=round(seconds_left))
        accuracy = "".join(f"  {n} {v:.3f}" for n, v in scalars.items() if n.endswith("accuracy"))
        return (
            f"step {step}/{self.num_train_steps} ({step / self.num_train_steps:.1%})"
            f"  loss {scalars['loss']:.4f}{accuracy}  lr {scalars['learning_rate']:.3g}"
            f"  {scalars['sequences_per_second']:.1f} sequences/s"
            f"  {scalars['tokens_per_second']:,.0f} tokens/s  {left} left"
        )
