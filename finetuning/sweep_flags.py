"""The flags that make one call several trainings, and the loop over those."""

import gc
import os
from collections import Counter
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from finetuning.sweeps import (
    AXES,
    PRESETS,
    PlannedRun,
    finished_runs,
    group_runs,
    plan_runs,
    run_all,
    summary,
    write_sweep,
)
from finetuning.tasks import find_task
from training.common_flags import run_from_flags, steps_from_epochs
from training.record_cache import content_hash
from training.run_state import RunState
from training.strategy import check_batch_size, set_seed_and_precision
from training.workers import check_agreement, is_chief, wait_for_workers

FLAGS = flags.FLAGS

_KINDS = {"learning_rate": float, "train_batch_size": int, "num_train_epochs": float}


def define_sweep_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_integer(
        "num_seeds",
        1,
        "Train so many times, with --seed and the numbers after it, each in a folder of --output_dir; a table and "
        "results.json have the median and the spread. What is finished is not made again by the same command.",
        1,
    )
    flags.DEFINE_enum(
        "grid",
        None,
        list(PRESETS),
        "Train with all combinations of learning rates, batch sizes and epochs, as with --num_seeds: those of the "
        "paper (3 x 2 x 3), or those for models smaller than BERT-Base (4 x 5 x 1).",
    )
    for name in AXES:
        flags.DEFINE_list(
            f"grid_{name}",
            [],
            f"Values of --{name} in a grid (default: those of --grid, if given).",
        )


def planned_runs() -> list[PlannedRun]:
    """Returns the runs that the flags ask for; none if they ask for a single one, in --output_dir itself.

    Raises:
      ValueError: the flags do not go together.
    """
    grid = _grid()
    if not grid and FLAGS.num_seeds == 1:
        return []
    if not (FLAGS.do_train and FLAGS.do_eval):
        given = "--num_seeds" if FLAGS.num_seeds > 1 else "a grid"
        raise ValueError(f"{given} needs --do_train and --do_eval")
    for name in grid:
        if not FLAGS[name].using_default_value:
            raise ValueError(
                f"--{name} is an axis of the grid: leave it out, or give --grid_{name}"
            )
    return plan_runs(grid, range(FLAGS.seed, FLAGS.seed + FLAGS.num_seeds))


def _grid() -> dict[str, list[float]]:
    """Returns the values of each flag of the grid."""
    preset = PRESETS[FLAGS.grid] if FLAGS.grid else [()] * len(AXES)
    grid = {name: _axis(name) or values for name, values in zip(AXES, preset, strict=True)}
    return {name: list(values) for name, values in grid.items() if values}


def _axis(name: str) -> list[float]:
    texts = FLAGS[f"grid_{name}"].value
    try:
        values = [_KINDS[name](text) for text in texts]
    except ValueError:
        values = [0]
    if not all(0 < value < float("inf") for value in values) or len({*values}) < len(values):
        raise ValueError(f"--grid_{name}={','.join(texts)}: give numbers above 0, each once")
    return values


def check_runs(num_examples: int, strategy: tf.distribute.Strategy) -> list[PlannedRun]:
    """Returns the `planned_runs`, after a check that each of them can be made.

    Args:
      num_examples: in the training set.

    Raises:
      ValueError: one cannot, or --output_dir holds something else.
      OSError: a file cannot be read.
    """
    plan = planned_runs()
    for run in plan:
        with flagsaver.flagsaver(**run.setting):
            micro_batches = FLAGS.gradient_accumulation_steps
            check_batch_size("train_batch_size", FLAGS.train_batch_size, strategy, micro_batches)
            steps_from_epochs(num_examples)
    if plan:
        finished_runs(FLAGS.output_dir, run_from_flags().flags, _contents())
    return plan


def _contents() -> dict[str, str]:
    """Returns the hash of each file that the flags name, by its path."""
    given = run_from_flags().flags
    named = [value for name, value in given.items() if name.endswith("_file") and value]
    if given.get("data_dir"):
        tables = find_task(given["task_name"], given["xnli_language"]).tables.values()
        named += [os.path.join(given["data_dir"], table.file) for table in tables]
    return {path: content_hash(path) for each in named for path in _matches(each)}


def _matches(name: str) -> list[str]:
    """Some flags are lists of globs; what is not there is not used, or was refused before."""
    return [name] if tf.io.gfile.exists(name) else tf.io.gfile.glob(name.split(","))


def each_setting(plan: Sequence[PlannedRun], make: Callable, *arguments) -> Counter:
    """Returns what `make(*arguments)` returns with the flags of each run of a plan, and for how many of them.

    With an empty plan it is called with the flags as they are.
    """
    results = Counter()
    for run in plan or [PlannedRun({}, FLAGS.seed)]:
        with flagsaver.flagsaver(**run.setting):
            results[make(*arguments)] += 1
    return results


def print_plan() -> None:
    """Prints what runs are made, if they are several."""
    for number, run in enumerate(planned_runs(), 1):
        print(f"Run {number:<8} {run.folder}")


def run_planned(
    make: Callable[[], dict[str, float]],
    count_examples: Callable[[], int],
    task: str,
    metric: str,
    strategy: tf.distribute.Strategy,
) -> None:
    """Makes the run that the flags ask for; of several those that are not finished, then prints the table of all.

    Args:
      make: makes one as the flags are by then, and returns its results.
      count_examples: -> size of the training set; called for several runs only.
      task: name of what they learn.
      metric: of their results, that chooses the best setting; higher is better.
      strategy: of all of them.

    Raises:
      ValueError: see `check_runs`.
    """
    if planned_runs():
        _run_all(check_runs(count_examples(), strategy), make, task, metric, strategy)
    else:
        make()
    wait_for_workers(strategy)


def _run_all(plan, make, task, metric, strategy) -> None:
    output_dir, called, contents = FLAGS.output_dir, run_from_flags(), _contents()
    finished = finished_runs(output_dir, called.flags, contents)
    advice = "all workers need the same --output_dir, on a shared file system"
    check_agreement(strategy, {"the list of finished runs": sorted(finished)}, advice)
    state = RunState(output_dir)  # holds the lock until this returns
    if is_chief(strategy):
        state.claim()

    def make_one(run):
        settings = {**run.setting, "seed": run.seed}
        with flagsaver.flagsaver(output_dir=os.path.join(output_dir, run.folder), **settings):
            gc.collect()  # the model before refers to itself, and still has its memory
            set_seed_and_precision(FLAGS.seed, FLAGS.dtype)
            return make()

    def finish(done):
        if is_chief(strategy):
            write_sweep(output_dir, task, metric, plan, done, called, contents)

    done = run_all(plan, finished, make_one, finish)
    finish(done)
    print(summary(group_runs(plan, done), metric))
