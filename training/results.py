"""The files a run leaves for people: `eval_results.txt` in the original's format."""

import os
from collections.abc import Mapping

from absl import logging

from tokenization.files import write_text
from training.progress import EventWriter


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
