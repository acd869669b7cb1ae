"""The checks of a dry run: all problems are collected, instead of stopping at the first."""

import os
import shutil
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.client import device_lib

from training.strategy import is_tpu

# In place of the result of a check that failed.
MISSING = object()


def call(function: Callable, *arguments, **named):
    """Returns `function(*arguments, **named)`: what stands in the place of a `Preflight` outside a dry run."""
    return function(*arguments, **named)


class Preflight:
    """Calls checks and collects what they find.

    Attributes:
      problems: messages, in the order of the checks.
    """

    def __init__(self):
        self.problems = []

    def __call__(self, check: Callable, *arguments, **named):
        """Returns `check(*arguments, **named)`, or MISSING.

        That is so where it raises a ValueError or OSError, which is noted, and where an argument is MISSING: what
        rests on a failed check is left out, because it could only repeat its message.
        """
        if any(value is MISSING for value in (*arguments, *named.values())):
            return MISSING
        try:
            return check(*arguments, **named)
        except (ValueError, OSError) as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return MISSING

    def finish(self) -> None:
        """Raises ValueError with a line for each problem, if there are any."""
        if self.problems:
            count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
            raise ValueError("\n  ".join([f"{count} found by --dry_run:", *self.problems]))


def most_checkpoints(runs: Sequence[int], save_steps: int, keep: int) -> int:
    """Returns how many checkpoints are there at a time: those that stay of each run, and one that is being written.

    Args:
      runs: steps of each; it saves at its start and its end too.
      save_steps: steps between checkpoints.
      keep: newest checkpoints that stay of a run.
    """
    made = [1 + -(-steps // save_steps) for steps in runs]
    return sum(min(count, keep) for count in made) + (max(made) > keep)


def check_disk(output_dir: str, size: int, checkpoints: int) -> None:
    """Raises OSError unless the checkpoints can be written; those that lie there already are not taken into account.

    Args:
      output_dir: may not exist yet. Remote stores (`gs://`) are not looked at.
      size: bytes of a checkpoint.
      checkpoints: that are there at a time.
    """
    if "://" in output_dir:
        return
    folder = os.path.abspath(output_dir)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        kind = "a link to nothing" if os.path.islink(folder) else "a file"
        raise OSError(f"--output_dir={output_dir}: {folder} is {kind}, not a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"--output_dir={output_dir}: no permission to write in {folder}")
    free = shutil.disk_usage(folder).free
    if free < size * checkpoints:
        raise OSError(
            f"--output_dir={output_dir}: {free / 2**30:.2f} GiB are free, but {checkpoints} checkpoints of "
            f"{size / 2**30:.2f} GiB need {size * checkpoints / 2**30:.2f}: make room or lower --keep_checkpoint_max"
        )


def device_kind(strategy: tf.distribute.Strategy) -> str:
    """Returns "TPU", "GPU" or "CPU"."""
    if is_tpu(strategy):
        return "TPU"
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def device_memory(kind: str) -> int | None:
    """Returns the bytes of one device that TensorFlow may take, of a CPU the machine's; None if it cannot be asked."""
    if kind == "CPU":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [d.memory_limit for d in device_lib.list_local_devices() if d.device_type == kind]
    return min(limits) if kind == "GPU" and limits else None


def precision_note(kind: str, dtype: str) -> str | None:
    """Returns what is to be said of a precision on a kind of device, or None."""
    if dtype == "float16" and kind == "CPU":
        return "float16 is emulated on a CPU, slowly: --dtype=bfloat16 or float32"
    if dtype == "bfloat16" and kind == "GPU":
        details = map(
            tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU")
        )
        # Ampere is the first that has it.
        if any(detail.get("compute_capability", (8, 0)) < (8, 0) for detail in details):
            return "this GPU has no bfloat16 products and emulates them: --dtype=float16"
    return None
