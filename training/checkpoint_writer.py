"""Checkpoints on their way to the disk while training goes on."""

import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from absl import logging

from modeling.bundle import read_state_times, replace_file, write_bundle
from training.retention import Best, kept_steps, update_best

CHECKPOINT_FILE = re.compile(r"(model\.ckpt-(\d+))\.(index|meta|data-\d{5}-of-\d{5})")


class CheckpointWriter:
    """Writes one checkpoint at a time in a thread, then deletes those that do not stay.

    The order on the disk makes a kill at any moment harmless: the checkpoint, whole; the record of the best one; the
    `checkpoint` file; only then are others deleted. The interpreter does not exit before the thread is done.

    Args:
      output_dir: the directory, which exists and belongs to this process.
      keep, keep_every_hours: which checkpoints stay, see `kept_steps`; what the record of the best names stays too.
    """

    def __init__(self, output_dir: str, keep: int, keep_every_hours: float | None):
        self._output_dir = output_dir
        self._keep = keep
        self._keep_every_hours = keep_every_hours
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing = None

    def start(self, step: int, arrays: Mapping[str, np.ndarray] | None, score: Best | None) -> None:
        """Begins to write `model.ckpt-<step>`; `wait` must have returned.

        Args:
          step: updates made.
          arrays: by name in the checkpoint; nobody changes them any more. None: the checkpoint is there already.
          score: of the checkpoint, None if it takes no part in the choice of the best.
        """
        self._writing = self._thread.submit(self._try_to_write, step, arrays, score)

    def wait(self) -> None:
        """Returns when what was begun is on the disk.

        Raises:
          OSError: if it could not be written; earlier checkpoints are untouched then.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written now."""
        return bool(self._writing) and not self._writing.done()

    def _try_to_write(self, step, arrays, score) -> None:
        try:
            self._write(step, arrays, score)
        except Exception as error:
            # Told at once, since it is raised only when the run next asks.
            logging.error("%s", error)
            raise

    def _write(self, step, arrays, score) -> None:
        try:
            if arrays is not None:
                write_bundle(self._path(f"model.ckpt-{step}"), arrays)
            steps = self._steps()
            best = update_best(self._output_dir, score, steps)
            # Later ones are of a past that the run went back from: overwritten when it comes by, never deleted.
            times = self._times([s for s in steps if s <= step], None if arrays is None else step)
            kept = kept_steps(times, self._keep, self._keep_every_hours, best and best.step)
            self._write_state_file({s: times[s] for s in kept})
            self._delete_all_but(kept, step)
        except tf.errors.OpError as error:
            raise OSError(f"--output_dir={self._output_dir}: {error.message}") from error

    def _path(self, name: str) -> str:
        return os.path.join(self._output_dir, name)

    def _matches(self) -> list[re.Match]:
        return list(
            filter(None, map(CHECKPOINT_FILE.fullmatch, tf.io.gfile.listdir(self._output_dir)))
        )

    def _steps(self) -> list[int]:
        return [int(match[2]) for match in self._matches() if match[3] == "index"]

    def _times(self, steps: list[int], new: int | None) -> dict[int, float]:
        """Returns when each checkpoint was written; the time of its file would not survive a copy of the directory."""
        known = read_state_times(self._output_dir)

        def written(step):
            name = f"model.ckpt-{step}"
            if step == new:
                return time.time()
            if name in known:
                return known[name]
            return tf.io.gfile.stat(self._path(name + ".index")).mtime_nsec / 1e9

        return {step: written(step) for step in steps}

    def _write_state_file(self, times: Mapping[int, float]) -> None:
        """Relative names, so that the directory can be moved."""
        lines = [f'model_checkpoint_path: "model.ckpt-{max(times)}"']
        lines += [f'all_model_checkpoint_paths: "model.ckpt-{step}"' for step in times]
        lines += [f"all_model_checkpoint_timestamps: {seconds:.3f}" for seconds in times.values()]
        replace_file(self._path("checkpoint"), "\n".join(lines) + "\n")

    def _delete_all_but(self, kept: list[int], until: int) -> None:
        old = [m[0] for m in self._matches() if int(m[2]) <= until and int(m[2]) not in kept]
        # The index first: without it the rest is never taken for a checkpoint.
        for name in sorted(old, key=lambda name: not name.endswith(".index")):
            tf.io.gfile.remove(self._path(name))
