"""The files with the numbers of a run: `eval_results.txt` in the original's format, and `results.json` with more."""

import json
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from absl import logging

from tokenization.files import write_text
from training.progress import ScalarWriter


class Run(NamedTuple):
    """How a script was started, for the record.

    Attributes:
      command: its words, the interpreter first.
      flags: values of all flags of the script, by name; of types that JSON has.
      given: names of those on the command line.
    """

    command: Sequence[str]
    flags: Mapping[str, object]
    given: frozenset[str]


def write_eval_results(
    output_dir: str, results: Mapping[str, object], step: int, others: Mapping[str, float] = {}
) -> None:
    """Writes `eval_results.txt`, a sorted `key = value` a line, and the scalars in `eval/`; prints the former.

    Args:
      results: float32 scalars by name.
      step: updates that the evaluated model has had; written as `global_step`.
      others: scalars by name that only `eval/` gets, because the original's file does not have them.
    """
    values = {**results, "global_step": step}
    text = "".join(f"{key} = {values[key]}\n" for key in sorted(values))
    path = os.path.join(output_dir, "eval_results.txt")
    write_text(path, text)
    ScalarWriter(os.path.join(output_dir, "eval")).write(step, {**results, **others})
    logging.info("***** Eval results, in %s *****", path)
    print(text, end="")


def write_results_json(
    output_dir: str,
    task: str,
    results: Mapping[str, float],
    step: int,
    run: Run,
    findings: Mapping[str, object],
) -> None:
    """Writes `results.json`: what is in `eval_results.txt`, how it came about, and what else an evaluation found.

    Args:
      task: its name.
      results: scalars by name.
      step: updates that the evaluated model has had.
      run: see `common_flags.run_from_flags`.
      findings: entries of types that JSON has.
    """
    metrics = {name: json_number(value) for name, value in sorted(results.items())}
    content = {"task": task, "global_step": step, "metrics": metrics, **findings}
    content |= {"command": shlex.join(run.command), "flags": dict(run.flags)}
    path = os.path.join(output_dir, "results.json")
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def json_number(value: float) -> float | None:
    """Returns a number as JSON can hold it: one that is not finite becomes null."""
    value = value.item() if hasattr(value, "item") else value
    return value if math.isfinite(value) else None
