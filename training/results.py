"""The files a run leaves for people: `eval_results.txt` in the original's format."""

import os
import uuid
from collections.abc import Mapping

import tensorflow as tf
from absl import logging

from training.progress import EventWriter


def write_text(path: str, text: str) -> None:
    """Writes a file under a temporary name, then renames it, so that it is never seen half written."""
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    with tf.io.gfile.GFile(temporary, "w") as file:
        file.write(text)
    tf.io.gfile.rename(temporary, path, overwrite=True)


def write_eval_results(output_dir: str, results: Mapping[str, object], step: int) -> None:
    """Writes `eval_results.txt`, a sorted `key = value` a line, and TensorBoard events in `eval/`; prints the former.

    Args:
      results: float32 scalars by name.
      step: updates that the evaluated model has had; written as `global_step`.
    """
    values = {**results, "global_step": step}
    text = "".join(f"{key} = {values[key]}\n" for key in sorted(values))
    path = os.path.join(output_dir, "eval_results.txt")
    write_text(path, text)
    EventWriter(os.path.join(output_dir, "eval")).write(step, results)
    logging.info("***** Eval results, in %s *****", path)
    print(text, end="")
