"""Several trainings of one task, one after another: with several seeds, or each point of a grid of settings.

Fine-tuning on a small data set ends differently from seed to seed, and the settings that are best differ from task to
task (Devlin et al. 2019, appendix A.3): so several runs, their median, and how far they lie apart.
"""

import itertools
import json
import math
import os
import shlex
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf
from absl import logging

from finetuning.report import aligned
from tokenization.files import write_text
from training.results import Run, json_number

RESULTS_FILE = "results.json"

# What a grid is of: the flags, and what they are called in the name of a folder.
AXES = {"learning_rate": "lr", "train_batch_size": "batch", "num_train_epochs": "epochs"}

# Values of the flags in the order of AXES: those of the paper's appendix A.3, and those that its authors later gave
# for models smaller than BERT-Base.
PRESETS = {
    "paper": ((5e-5, 3e-5, 2e-5), (16, 32), (2.0, 3.0, 4.0)),
    "small_models": ((3e-4, 1e-4, 5e-5, 3e-5), (8, 16, 32, 64, 128), (4.0,)),
}

# What may differ between the calls that one sweep was made by.
_FREE_FLAGS = {"output_dir", "seed", "num_seeds", "grid", "debug", "dry_run", "device_memory_gb"}
_FREE_FLAGS |= {f"grid_{name}" for name in AXES}

Results = Mapping[str, float]


class PlannedRun(NamedTuple):
    """One training of several.

    Attributes:
      setting: flags of the grid and their values; empty without a grid.
      seed: of everything that is random.
    """

    setting: Mapping[str, float]
    seed: int

    @property
    def folder(self) -> str:
        """The name of its folder in the directory of them all."""
        return "-".join([*_parts(self.setting), f"seed{self.seed}"])


def _parts(setting: Mapping[str, float]) -> list[str]:
    return [f"{AXES[name]}{value}" for name, value in setting.items()]


def plan_runs(grid: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> list[PlannedRun]:
    """Returns every seed with every combination of the values of the flags in a grid."""
    settings = [
        dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())
    ]
    return [PlannedRun(setting, seed) for setting in settings for seed in seeds]


def finished_runs(
    output_dir: str, flags: Mapping[str, object], contents: Mapping[str, str]
) -> dict[str, Results]:
    """Returns the results of the runs that were finished before, by folder.

    Args:
      output_dir: of the sweep; it need not exist.
      flags: of the call, by name.
      contents: path -> hash of each file that the flags name.

    Raises:
      ValueError: something else is in the folder, or the runs were made with other flags or files.
    """
    path = os.path.join(output_dir, RESULTS_FILE)
    if not tf.io.gfile.exists(path):
        return {}
    try:
        with tf.io.gfile.GFile(path) as file:
            found = json.loads(file.read())
        runs = {run["folder"]: run["results"] for run in found["runs"]}
        known = found["contents"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} holds no results of several runs: choose another --output_dir for them"
        ) from None
    for name in sorted((found["flags"].keys() & flags.keys()) - _FREE_FLAGS):
        if found["flags"][name] != flags[name]:
            raise ValueError(
                f"{path} holds runs with --{name}={found['flags'][name]}, here it is {flags[name]}: choose another "
                "--output_dir, or the flags of those runs"
            )
    for name in sorted({*known, *contents}):
        if known.get(name) != contents.get(name):
            raise ValueError(
                f"{path} holds runs with another content of {name}: choose another --output_dir, or restore that file"
            )
    return {folder: _read_numbers(results) for folder, results in runs.items()}


def _read_numbers(results):
    """In JSON null stands for what is not finite."""
    return {name: math.nan if value is None else value for name, value in results.items()}


def run_all(
    plan: Sequence[PlannedRun],
    finished: Mapping[str, Results],
    make: Callable[[PlannedRun], Results],
    finish: Callable[[Mapping[str, Results]], None],
) -> dict[str, Results]:
    """Makes the runs that are not finished, in their order, and returns the results of all by folder.

    Args:
      finished: results by folder.
      make: trains and evaluates, and returns the results.
      finish: called after each run with the results of all that are finished.
    """
    done = dict(finished)
    for number, run in enumerate(plan, 1):
        if run.folder in finished:
            logging.info(
                "***** Run %d of %d, %s: finished before *****", number, len(plan), run.folder
            )
            continue
        logging.info("***** Run %d of %d, %s *****", number, len(plan), run.folder)
        done[run.folder] = make(run)
        finish(done)
    return done


class Group(NamedTuple):
    """What the runs with one setting found, over their seeds.

    Attributes:
      setting: of the grid.
      num_runs: that are finished.
      median, lowest, highest, deviation: scalars by metric; the deviation is that of the sample, NaN of one run.
    """

    setting: Mapping[str, float]
    num_runs: int
    median: Results
    lowest: Results
    highest: Results
    deviation: Results


def group_runs(plan: Sequence[PlannedRun], done: Mapping[str, Results]) -> list[Group]:
    """Returns the groups in the order of the plan; runs that are not finished are left out."""
    groups = []
    for _, runs in itertools.groupby(plan, lambda run: run.setting):
        runs = [run for run in runs if run.folder in done]
        if runs:
            found = [done[run.folder] for run in runs]
            values = {name: [results[name] for results in found] for name in _metrics(found)}
            found = [
                {name: _statistic(function, numbers) for name, numbers in values.items()}
                for function in (statistics.median, min, max, _deviation)
            ]
            groups.append(Group(runs[0].setting, len(runs), *found))
    return groups


def _metrics(found: Sequence[Results]) -> list[str]:
    return sorted(set.intersection(*map(set, found)) - {"global_step"})


def _statistic(function, numbers: Sequence[float]) -> float:
    """A NaN has no place in an order: with one of them all is NaN."""
    return math.nan if any(map(math.isnan, numbers)) else function(numbers)


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def best_group(groups: Sequence[Group], metric: str) -> Group:
    """Returns the group with the highest median of a metric; of equals the first, and a NaN is below all numbers."""
    return max(groups, key=lambda group: _or_lowest(group.median[metric]))


def _or_lowest(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def summary(groups: Sequence[Group], metric: str) -> str:
    """Returns the table of the groups as lines: medians, the spread of the metric that counts, and which is best."""
    others = [name for name in groups[0].median if name != metric]
    header = [*groups[0].setting, "runs", metric, "lowest", "highest", "deviation", *others]
    rows = [header]
    for group in groups:
        spread = [values[metric] for values in group[2:]]
        numbers = [f"{v:.4f}" for v in [*spread, *(group.median[name] for name in others)]]
        rows.append([*map(str, group.setting.values()), str(group.num_runs), *numbers])
    lines = aligned(rows)
    if len(groups) > 1:
        best = best_group(groups, metric)
        flags = " ".join(f"--{name}={value}" for name, value in best.setting.items())
        lines.append(f"best: {flags} ({metric} {best.median[metric]:.4f})")
    return "\n".join(lines)


def write_sweep(
    output_dir: str,
    task: str,
    metric: str,
    plan: Sequence[PlannedRun],
    done: Mapping[str, Results],
    run: Run,
    contents: Mapping[str, str],
) -> None:
    """Writes `results.json` with what is finished: the runs, their groups, the best setting.

    Args:
      output_dir: of the sweep.
      task: its name.
      metric: that chooses the best setting, higher is better.
      plan: the runs of this call; those of earlier ones stay in the file, but in no group.
      done: results by folder.
      run: see `training.common_flags.run_from_flags`.
      contents: see `finished_runs`.
    """
    groups = group_runs(plan, done)
    content = {
        "task": task,
        "metric": metric,
        "best": best_group(groups, metric).setting,
        "settings": [
            {
                name: _json_numbers(value) if isinstance(value, Mapping) else value
                for name, value in group._asdict().items()
            }
            for group in groups
        ],
        "runs": [
            {"folder": folder, "results": _json_numbers(results)}
            for folder, results in done.items()
        ],
        "command": shlex.join(run.command),
        "flags": dict(run.flags),
        "contents": dict(contents),
    }
    text = json.dumps(content, indent=2, allow_nan=False)
    write_text(os.path.join(output_dir, RESULTS_FILE), text + "\n")


def _json_numbers(results: Results) -> dict[str, float | None]:
    return {name: json_number(value) for name, value in results.items()}
