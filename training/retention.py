"""Which checkpoints of a run stay: the newest, one for every few hours, and the best by a metric."""

import json
import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from modeling.bundle import replace_file

BEST_FILE = "best_checkpoint.json"


class Best(NamedTuple):
    """The record of the best checkpoint, which outlives the process.

    Attributes:
      step: of the checkpoint.
      metric: what it is the best by.
      value: that metric of the checkpoint.
    """

    step: int
    metric: str
    value: float


def kept_steps(
    times: Mapping[int, float], keep: int, every_hours: float | None, best: int | None
) -> list[int]:
    """Returns the steps of the checkpoints that stay, ascending.

    Args:
      times: step -> seconds since the epoch at which its checkpoint was written.
      keep: newest checkpoints that stay, at least 1.
      every_hours: of each period of so many hours the last checkpoint stays; None or 0 for none.
      best: step of the best checkpoint, which stays.
    """
    steps = sorted(times)
    kept = {*steps[-keep:], *({best} & times.keys())}
    if every_hours:
        # Periods of the clock, not since a start: what was kept by one process is kept by the next.
        kept.update({times[step] // (3600 * every_hours): step for step in steps}.values())
    return sorted(kept)


def is_better(metric: str, value: float, than: float) -> bool:
    """Returns whether a value is the better one: the lower of a loss, the higher of anything else."""
    return value < than if "loss" in metric else value > than


def read_best(output_dir: str) -> Best | None:
    """Returns the record of a run, None if it has none.

    Raises:
      ValueError: the file is damaged; which checkpoint must not be deleted is not known then.
    """
    path = os.path.join(output_dir, BEST_FILE)
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            record = Best(**json.loads(file.read()))
        return Best(int(record.step), str(record.metric), float(record.value))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}), so that the best checkpoint is not known: mend it, or "
            "remove it to begin a new record"
        ) from error


def update_best(output_dir: str, score: Best | None, steps: list[int]) -> Best | None:
    """Returns the record that is in force after a checkpoint was written, and writes it if it is a new one.

    Args:
      score: of that checkpoint, None if it has none.
      steps: of all checkpoints in the directory.
    """
    old = read_best(output_dir)
    if score is None or not math.isfinite(score.value):
        return old
    comparable = old and old.metric == score.metric and old.step in steps and old.step != score.step
    if comparable and not is_better(score.metric, score.value, old.value):
        return old
    replace_file(os.path.join(output_dir, BEST_FILE), json.dumps(score._asdict()) + "\n")
    logging.info("model.ckpt-%d is the best so far: %s %.5g", *score)
    return score
