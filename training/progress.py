"""What a run says while it trains: a line, a TensorBoard event and a line of metrics.jsonl for each report."""

import datetime
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import tensorflow as tf
from absl import logging

from tokenization.files import read_lines
from training.speed import Speed

Item = TypeVar("Item")

METRICS_FILE = "metrics.jsonl"
SECONDS_BETWEEN_REPORTS = 10.0
# Reported as they are at the end, not as means.
LAST_VALUES = {"learning_rate", "loss_scale", "skipped_steps"}
# Of no use to tell a good checkpoint from a bad one.
NOT_SCORES = LAST_VALUES | {
    "gradient_norm",
    "tokens",
    "sequences",
    "length",
    "traced",
    "input_seconds",
}


def finite_steps(history: dict[str, np.ndarray]) -> np.ndarray:
    """Returns bool [n]: whether loss and gradient of the step are finite numbers."""
    return np.isfinite(history["loss"]) & np.isfinite(history["gradient_norm"])


def mean_values(history: dict[str, np.ndarray]) -> dict[str, float]:
    """Returns the mean of each value over the steps, all float32 [n].

    Skipped steps do not count: in them nothing is worth averaging.
    """
    counted = finite_steps(history)
    counted |= not counted.any()
    return {name: float(values[counted].mean()) for name, values in history.items()}


def reporting(items: Iterable[Item], counts: object) -> Iterator[Item]:
    """Yields the items, and logs `counts`, as they are by then, every ten seconds."""
    due = time.monotonic() + SECONDS_BETWEEN_REPORTS
    for item in items:
        yield item
        if time.monotonic() >= due:
            logging.info("%s", counts)
            due = time.monotonic() + SECONDS_BETWEEN_REPORTS


class ScalarWriter:
    """Writes scalars into a folder, for TensorBoard (without needing it installed) and as a line of metrics.jsonl."""

    def __init__(self, directory: str):
        self._writer = tf.summary.create_file_writer(directory)
        self._path = os.path.join(directory, METRICS_FILE)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of one step and flushes them.

        Raises:
          OSError: they cannot be written, as on a full disk.
        """
        values = [
            tf.compat.v1.Summary.Value(tag=name, simple_value=float(value))
            for name, value in scalars.items()
        ]
        summary = tf.compat.v1.Summary(value=values).SerializeToString()
        report = {"step": step} | {name: float(value) for name, value in scalars.items()}
        try:
            with self._writer.as_default():
                tf.summary.experimental.write_raw_pb(summary, step=step)
            self._writer.flush()
            with tf.io.gfile.GFile(self._path, "a") as file:
                file.write(json.dumps(report) + "\n")
        except tf.errors.OpError as error:
            raise OSError(f"{self._path}: cannot be written: {error.message}") from error


def read_scalars(directory: str) -> dict[str, list[tuple[int, float]]]:
    """Returns (step, value) by name, steps ascending, of a folder's metrics.jsonl; nothing if there is none.

    Of a step that was reported several times, before and after a resumption, the last report counts. A line that is
    no report, as a kill may leave one, is left out with a warning.
    """
    path = os.path.join(directory, METRICS_FILE)
    reports = {}
    for number, line in enumerate(read_lines(path) if tf.io.gfile.exists(path) else (), 1):
        try:
            report = json.loads(line)
            reports[report.pop("step")] = report
        except ValueError:
            logging.warning("%s: line %d is no report and is left out", path, number)
    curves = {}
    for step in sorted(reports):
        for name, value in reports[step].items():
            curves.setdefault(name, []).append((step, value))
    return curves


class Progress:
    """Reports of one training.

    Args:
      output_dir: gets `events.out.tfevents.*` and `metrics.jsonl` (a JSON object a report: means since the last one).
      num_train_steps: step at which the run ends.
      batch_size: sequences in an update; of packed rows the rows, and the objective reports `sequences`.
      sequence_flops: static length -> floating-point operations of training on one sequence, if known.
      extra_steps: by how many steps as they are now the rest of the run is longer than the number of its steps says,
        because later ones are larger.
    """

    def __init__(
        self,
        output_dir: str,
        num_train_steps: int,
        batch_size: int,
        sequence_flops: Callable[[int], int] | None = None,
        extra_steps: float = 0.0,
    ):
        self.extra_steps = extra_steps
        self.num_train_steps = num_train_steps
        self.batch_size = batch_size
        self.sequence_flops = sequence_flops
        self._speed = None
        self._unsaved = []
        self._writer = ScalarWriter(output_dir)

    def begin(self, step: int, strategy: tf.distribute.Strategy) -> int:
        """Takes note of a start from this step, and returns the step at which the speed is told."""
        self._speed = Speed(step, strategy, self.batch_size, self.sequence_flops)
        return self._speed.tell_at

    def report(self, step: int, history: dict[str, np.ndarray], seconds: float) -> None:
        """Reports the steps up to `step`.

        Args:
          step: updates made so far.
          history: [n] each, one value for each of the last n steps; float32, and bool "traced".
          seconds: wall time of these n steps.
        """
        self._unsaved.append(history)
        if self._speed:
            self._speed.took(step, history, seconds)
        if step == 1 < self.num_train_steps:
            return
        count = len(history["loss"])
        scalars = mean_values(history)
        scalars |= {name: float(history[name][-1]) for name in LAST_VALUES & history.keys()}
        tokens, *_ = (scalars.pop(name) for name in ("tokens", "length", "traced"))
        sequences = scalars.pop("sequences", self.batch_size)
        waited, line = scalars.pop("input_seconds"), self._line(step, scalars)
        if not history["traced"].any():  # the first steps of a length take much longer than others
            scalars["input_wait_share"] = waited * count / seconds
            scalars["sequences_per_second"] = count * sequences / seconds
            scalars["tokens_per_second"] = count * tokens / seconds
            line += self._rates(scalars, self._steps_left(step) * seconds / count)
        logging.info("%s", line)
        self._writer.write(step, scalars)

    def take_scores(self) -> dict[str, float]:
        """Returns what the objective reports, the loss among it, as means over the steps since this was last called."""
        history = {
            name: np.concatenate([part[name] for part in self._unsaved])
            for name in self._unsaved[0]
        }
        self._unsaved = []
        means = mean_values(history)
        return {name: means[name] for name in means.keys() - NOT_SCORES}

    def _steps_left(self, step) -> float:
        return self.num_train_steps + self.extra_steps - step

    def _line(self, step, scalars) -> str:
        accuracy = "".join(f"  {n} {v:.3f}" for n, v in scalars.items() if n.endswith("accuracy"))
        return (
            f"step {step}/{self.num_train_steps} ({step / self.num_train_steps:.1%})"
            f"  loss {scalars['loss']:.4f}{accuracy}  lr {scalars['learning_rate']:.3g}"
        )

    def _rates(self, scalars, seconds_left) -> str:
        return (
            f"  {scalars['sequences_per_second']:.1f} sequences/s"
            f"  {scalars['tokens_per_second']:,.0f} tokens/s"
            f"  {datetime.timedelta(seconds=round(seconds_left))} left"
        )
