"""The output directory of one run: which checkpoint it continues from, and how it saves.

Layout and names are the original's: `model.ckpt-<step>` and a `checkpoint` file that names the newest. What is
promised beyond it: a kill at any moment leaves a whole checkpoint behind and the `checkpoint` file pointing at one; a
damaged checkpoint is passed over for an older one; only files of this pattern in this directory are ever touched;
training waits for the copy of its state to memory, not for the disk.
"""

import os
import re
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

from modeling.bundle import (
    assign,
    bundle_shapes,
    check_path,
    open_bundle,
    read_state_file,
    read_tensor,
    to_numpy,
    verify_bundle,
)
from modeling.checkpoint import is_training_state
from training.checkpoint_writer import CHECKPOINT_FILE, CheckpointWriter
from training.lock import lock_directory
from training.loss_scale import STATE_NAMES
from training.retention import BEST_FILE, Best, read_best

_NAME = re.compile(r"model\.ckpt-(\d+)")
_LITTER = re.compile(
    rf"(model\.ckpt-\d+\..*\.tempstate\d+|(checkpoint|{re.escape(BEST_FILE)})\.tmp-\d+)"
)


class RunState:
    """Checkpoints of a run.

    Reading (`latest`, `restore`) takes no lock, so that one process may evaluate what another one trains. The first
    `save` makes the directory, locks it, and removes what a killed save left. As a context it is left when everything
    that was saved is on the disk.

    Attributes:
      output_dir: the directory, local or remote.
      own_dir: where this process puts everything but checkpoints: `output_dir`, but for workers that are not the chief.
    """

    def __init__(
        self,
        output_dir: str,
        keep: int = 5,
        keep_every_hours: float | None = None,
        best_metric: str | None = None,
        own_dir: str | None = None,
    ):
        """Args:
        output_dir: need not exist yet.
        keep: newest checkpoints that stay, at least 1.
        keep_every_hours: of each period of so many hours the last checkpoint stays too.
        best_metric: the checkpoint with the best value of it stays too: the lowest of a loss, the highest of another
          metric. `best_checkpoint.json` says which one that is.
        own_dir: of a worker that is not the chief: it reads checkpoints, and leaves saving to the chief. None: this
          process saves.
        """
        self.output_dir = output_dir
        self.own_dir = own_dir or output_dir
        self._saves = own_dir is None
        self._best_metric = best_metric
        self._writer = CheckpointWriter(output_dir, keep, keep_every_hours)
        self._lock = None
        self._claimed = False
        self._latest = None
        if not output_dir:
            raise ValueError("--output_dir is empty: name a directory")
        check_path(output_dir)

    def latest(self) -> str | None:
        """Returns the newest checkpoint of which every tensor can be read, or None if there is none at all.

        The one that the `checkpoint` file names comes first; then all others of the directory, newest first. What is
        passed over is logged with the reason.

        Raises:
          ValueError: if there are checkpoints and none is whole: to start anew in their place could destroy what may
            still be rescued.
          OSError: if what this process saved last could not be written.
        """
        self.wait()
        if self._latest:
            return self._latest
        candidates = self._candidates()
        reasons = []
        for name in candidates:
            prefix = self._path(name)
            wrong = verify_bundle(prefix)
            if wrong is None:
                self._latest = prefix
                return prefix
            reasons.append(wrong)
            logging.warning("%s is passed over: %s", name, wrong)
        if reasons:
            raise ValueError(
                f"--output_dir={self.output_dir} holds {len(candidates)} checkpoints and none is whole ({reasons[0]}); "
                "move them away to start anew, or choose another --output_dir"
            )
        return None

    def best(self) -> str:
        """Returns the best checkpoint.

        Raises:
          ValueError: which one that is was not recorded, or it is not whole.
        """
        self.wait()
        record = read_best(self.output_dir)
        if record is None:
            raise ValueError(f"--output_dir={self.output_dir} has no {BEST_FILE}")
        prefix = self._path(f"model.ckpt-{record.step}")
        if wrong := verify_bundle(prefix):
            raise ValueError(f"{self._path(BEST_FILE)} names step {record.step}: {wrong}")
        return prefix

    def restore(self, variables: Mapping[str, object], prefix: str | None = None) -> int:
        """Sets all variables to the values of a checkpoint, and returns its step.

        A checkpoint without any optimizer state (a stripped one, copied in) is accepted with a warning: the slots
        keep their initial values.

        Args:
          variables: by checkpoint name: parameters, and when training also the optimizer's slots.
          prefix: of the checkpoint; None is `latest()`, which must exist.

        Raises:
          ValueError: if the parameters are not those of the checkpoint, by name and shape. Nothing has changed then.
        """
        prefix = prefix or self.latest()
        reader = open_bundle(prefix)
        shapes = bundle_shapes(reader)
        wanted = _wanted(variables, shapes, prefix)
        self._check_same_model(shapes, wanted)
        step = _step(prefix)
        if "global_step" in shapes:
            step = int(read_tensor(reader, "global_step", prefix))
        values = {name: read_tensor(reader, name, prefix) for name in wanted}
        for name, value in values.items():
            assign(variables[name], value)
        if "global_step" in variables:
            assign(variables["global_step"], np.asarray(step))
        return step

    def make_own_dir(self) -> None:
        """Makes `own_dir`, for what is written without a checkpoint.

        Raises:
          OSError: that cannot be done.
        """
        try:
            tf.io.gfile.makedirs(self.own_dir)
        except tf.errors.OpError as error:
            raise OSError(f"--output_dir={self.own_dir}: {error.message}") from error

    def claim(self) -> None:
        """Makes the directory, locks it for this process, and removes what a killed save left.

        Raises:
          OSError: if that cannot be done, or another process holds the lock.
          ValueError: see `read_best`.
        """
        if self._claimed or not self._saves:
            return
        self.make_own_dir()
        try:
            self._lock = lock_directory(self.output_dir)
            for name in filter(_LITTER.fullmatch, self._files()):
                tf.io.gfile.remove(self._path(name))
            read_best(self.output_dir)
        except tf.errors.OpError as error:
            raise OSError(f"--output_dir={self.output_dir}: {error.message}") from error
        self._claimed = True

    def save(
        self,
        step: int,
        tensors: Mapping[str, object],
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Copies the state to memory and begins to write `model.ckpt-<step>`; `wait` returns when it is on the disk.

        The `checkpoint` file is pointed at it then, and what does not stay is deleted. If the run stands at a whole
        checkpoint of this step already, that one stays as it is. One checkpoint is written at a time: if the one before
        is not on the disk yet, this waits for it. What goes wrong in writing is raised by the next call.

        Args:
          step: updates made; stored as `global_step`.
          tensors: parameters and optimizer slots (variables or arrays), by checkpoint name.
          scores: what was measured of this state, by metric; without the one that chooses the best checkpoint it takes
            no part in that.

        Raises:
          OSError: if this or the checkpoint before cannot be written; earlier ones are untouched then.
        """
        if not self._saves:
            return
        self.claim()
        if self._writer.busy:
            logging.info("Step %d waits: the checkpoint before is still being written", step)
        self.wait()
        score = None
        if scores and self._best_metric in scores:
            score = Best(step, self._best_metric, float(scores[self._best_metric]))
        prefix = self._path(f"model.ckpt-{step}")
        arrays = None
        if not self._stands_at(prefix):
            # Without the copy an array may share the memory of a variable, which the next step assigns to.
            arrays = {name: np.array(to_numpy(tensor)) for name, tensor in tensors.items()}
            arrays["global_step"] = np.int64(step)
        self._writer.start(step, arrays, score)
        self._latest = prefix

    def wait(self) -> None:
        """Returns when everything that was saved is on the disk.

        Raises:
          OSError: if it could not be written; earlier checkpoints are untouched then.
        """
        try:
            self._writer.wait()
        except Exception:
            self._latest = None
            raise

    def raise_failure(self) -> None:
        """Raises OSError if what was saved last could not be written; does not wait for what is being written now."""
        if not self._writer.busy:
            self.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.wait()

    def check_scores(self, scores: Collection[str]) -> None:
        """Raises ValueError if the metric that chooses the best checkpoint is not among these."""
        if self._best_metric and self._best_metric not in scores:
            raise ValueError(
                f"--keep_best_metric={self._best_metric}: this training measures {', '.join(sorted(scores))}"
            )

    def _path(self, name: str) -> str:
        return os.path.join(self.output_dir, name)

    def _files(self) -> list[str]:
        exists = tf.io.gfile.isdir(self.output_dir)
        return tf.io.gfile.listdir(self.output_dir) if exists else []

    def _candidates(self) -> list[str]:
        named = read_state_file(self.output_dir)
        for name in named:
            if not _NAME.fullmatch(name):
                logging.warning(
                    "%s names %r, which is no model.ckpt-<step>: ignored",
                    self._path("checkpoint"),
                    name,
                )
        named = [name for name in named if _NAME.fullmatch(name)]
        found = {
            match[1]
            for match in map(CHECKPOINT_FILE.fullmatch, self._files())
            if match and match[3] == "index"
        }
        newest_first = sorted({*named, *found}, key=_step, reverse=True)
        return list(dict.fromkeys([*named[:1], *newest_first]))

    def _check_same_model(self, shapes: Mapping, wanted: Mapping) -> None:
        differences = [
            f"{name} is {list(shapes[name])} there and {list(variable.shape)} here"
            for name, variable in wanted.items()
            if name in shapes and shapes[name] != tuple(variable.shape)
        ]
        differences += [f"{name} is not there" for name in wanted if name not in shapes]
        differences += [
            f"{name} {list(shapes[name])} is there and not here"
            for name in sorted(shapes)
            if name not in wanted and not is_training_state(name)
        ]
        if differences:
            raise ValueError(
                f"--output_dir={self.output_dir} holds another run, with another architecture: "
                f"{'; '.join(differences[:2])} ({len(differences)} differences); choose another --output_dir, or "
                "the flags of that run"
            )

    def _stands_at(self, prefix: str) -> bool:
        """Whether this is the checkpoint in force; another one of its step, damaged or left behind, goes."""
        if not tf.io.gfile.exists(prefix + ".index"):
            return False
        if self.latest() == prefix:
            logging.info("%s exists and is whole: not written again", prefix)
            return True
        logging.warning("%s is replaced: the run continued from an earlier one", prefix)
        try:
            tf.io.gfile.remove(prefix + ".index")
        except tf.errors.OpError as error:
            raise OSError(f"--output_dir={self.output_dir}: {error.message}") from error
        return False


def _step(name: str) -> int:
    return int(name.rpartition("-")[2])


def _wanted(variables: Mapping, shapes: Mapping, prefix: str) -> dict:
    """Returns the variables that a checkpoint must hold: the slots only if it has any; the step has its own rule."""
    parameters = {name: v for name, v in variables.items() if not is_training_state(name)}
    slots = {n: v for n, v in variables.items() if is_training_state(n) and n != "global_step"}
    if slots and not any(is_training_state(name) for name in set(shapes) - {"global_step"}):
        logging.warning(
            "%s holds no optimizer state: the optimizer starts from its initial values", prefix
        )
        return parameters
    missing = slots.keys() & STATE_NAMES - shapes.keys()
    if missing:
        logging.info("%s has no %s: new ones are begun", prefix, ", ".join(sorted(missing)))
        slots = {name: v for name, v in slots.items() if name not in missing}
    return parameters | slots
