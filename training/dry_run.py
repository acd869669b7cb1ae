"""`--dry_run`: its flags, and what it says of a training that could start."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf
from absl import flags

from modeling.checkpoint import resolve_prefix
from modeling.config import BertConfig
from modeling.flops import Flops
from training.common_flags import (
    optimizer_from_flags,
    run_state_from_flags,
    strategy_from_flags,
)
from training.lock import check_unlocked
from training.memory_plan import Memory, Workload, choose, largest_micro_batch, training_memory
from training.preflight import (
    MISSING,
    Preflight,
    check_disk,
    device_kind,
    device_memory,
    most_checkpoints,
    precision_note,
)
from training.strategy import set_seed_and_precision
from training.weights import load_weights

FLAGS = flags.FLAGS

# What the runtime takes, and what estimates are off by.
USABLE = 0.9
GIB = 2**30


class Training(NamedTuple):
    """One phase of training.

    Attributes:
      seq_length: of its sequences, padding included; of several lengths the longest.
      examples: in its data.
      logits: outputs of the model for one sequence.
      flops: of the model for one sequence.
      batch_size: sequences in an update, over all devices.
      micro_batches: gradient accumulation steps.
      steps: updates.
      warmup_steps: those of them with a rising learning rate.
      unit: what holds `seq_length` tokens: a "sequence", or a packed "row" of several, of which then all numbers are.
      mean_length: of the sequences, padding included, where there are several lengths.
      runs: that train so; 0 if this is a phase of the only one.
    """

    seq_length: int
    examples: int
    logits: int
    flops: Flops
    batch_size: int
    micro_batches: int
    steps: int
    warmup_steps: int
    unit: str = "sequence"
    mean_length: float | None = None
    runs: int = 0


def define_dry_run_flags() -> None:
    """Defines the flags of a dry run."""
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Train nothing and write nothing: list all that would fail, or say what the run will take: steps, "
        "work, memory, and settings that fit the device.",
    )
    flags.DEFINE_float(
        "device_memory_gb",
        None,
        "Memory of one device in GiB that --dry_run plans for (default: that of the device found).",
        0.0,
    )
    flags.register_multi_flags_validator(
        ["dry_run", "device_memory_gb"],
        lambda given: given["dry_run"] or given["device_memory_gb"] is None,
        "--device_memory_gb needs --dry_run",
    )


def training_from_flags(
    seq_length: int, examples: int, logits: int, flops: Flops, steps: tuple[int, int]
) -> Training:
    """Returns the training of the flags that all scripts have; `steps` are those in all and those of warm-up."""
    return Training(
        seq_length,
        examples,
        logits,
        flops,
        FLAGS.train_batch_size,
        FLAGS.gradient_accumulation_steps,
        *steps,
    )


def bucketed_training(
    counts: Mapping[int, int], logits: int, flops: Callable[[int], Flops], steps: tuple[int, int]
) -> Training:
    """Returns the training of the flags with sequences of several static lengths.

    Args:
      counts: static length -> examples.
      logits: see `Training`, of the longest.
      flops: static length -> see `Training`.
      steps: those in all and those of warm-up.
    """
    examples = sum(counts.values())
    parts = zip(*([count * part for part in flops(n)] for n, count in counts.items()), strict=True)
    mean_flops = Flops(*(sum(part) // examples for part in parts))
    mean_length = sum(length * count for length, count in counts.items()) / examples
    training = training_from_flags(max(counts), examples, logits, mean_flops, steps)
    return training._replace(mean_length=mean_length)


def checked_strategy(check: Preflight, *eval_batch_flags: str) -> tf.distribute.Strategy:
    """Returns the strategy; where the flags make none, one of a single device, so that other checks go on."""
    strategy = check(strategy_from_flags, *eval_batch_flags)
    if strategy is MISSING:
        set_seed_and_precision(FLAGS.seed, FLAGS.dtype)
        return tf.distribute.get_strategy()
    return strategy


def checked_model(
    check: Preflight, strategy: tf.distribute.Strategy, make_model: Callable, *arguments
) -> keras.Model:
    """Returns `make_model(*arguments)`, after a check of the checkpoint that the run would start from."""
    with strategy.scope():
        model = check(make_model, *arguments)
        # The schedule does not matter here, the slots do.
        optimizer = check(optimizer_from_flags, model, 1, 1)
    state = check(run_state_from_flags, strategy)
    check(load_weights, state, FLAGS.init_checkpoint, model, optimizer)
    if model is MISSING and FLAGS.init_checkpoint:
        check(resolve_prefix, FLAGS.init_checkpoint)
    return model


def finish(
    check: Preflight,
    config: BertConfig,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    trainings: list[Training],
    teacher: keras.Model | None = None,
) -> None:
    """Checks the directory and its disk, then prints what the run will take; without `trainings` it trains nothing.

    Args:
      check: that has made all other checks.
      config, model: of what the run trains.
      strategy: of the run.
      trainings: its phases, or those of several runs.
      teacher: a model beside it that training only uses.

    Raises:
      ValueError: with all problems that were found.
    """
    size = 0
    if model is not MISSING and trainings:
        size = 4 * (_count(model.variables) + 2 * _count(model.trainable_variables))
    if trainings:
        check(check_unlocked, FLAGS.output_dir)
    check(check_disk, FLAGS.output_dir, size, _most_checkpoints(trainings))
    check.finish()
    kind = device_kind(strategy)
    lines = [f"Devices      {strategy.num_replicas_in_sync} x {kind}, {FLAGS.dtype}"]
    if note := precision_note(kind, FLAGS.dtype):
        lines.append(f"Note         {note}")
    parameters, trainable = _count(model.variables), _count(model.trainable_variables)
    lines.append(f"Parameters   {parameters:,}, of which {trainable:,} trained")
    beside = _count(teacher.variables) if teacher else 0
    if beside:
        lines[-1] += f"; {beside:,} of the teacher"
    given = FLAGS.device_memory_gb
    limit = device_memory(kind) if given is None else int(given * GIB)
    for training in trainings:
        work = Workload(
            config,
            parameters + beside,
            trainable,
            training.seq_length,
            training.logits,
            FLAGS.dtype,
            compiled=kind != "CPU",
        )
        lines += work_lines(training, FLAGS.rematerialize)
        lines += memory_lines(
            work, training, strategy.num_replicas_in_sync, FLAGS.rematerialize, limit
        )
    print("\n".join([*lines, "No problem found; nothing was trained or written."]))


def _most_checkpoints(trainings) -> int:
    """The best one and those of --keep_checkpoint_every_n_hours are not foreseen."""
    if trainings is MISSING:
        return FLAGS.keep_checkpoint_max + 1
    runs = [t.steps for t in trainings for _ in range(t.runs)] or [sum(t.steps for t in trainings)]
    by_minutes = FLAGS.save_checkpoints_minutes is not None
    save_steps = 1 if by_minutes else FLAGS.save_checkpoints_steps
    return most_checkpoints(runs, save_steps, FLAGS.keep_checkpoint_max)


def work_lines(training: Training, rematerialize: bool) -> list[str]:
    """Returns how long a training is."""
    sequences = training.batch_size * training.steps
    of_step = training.batch_size * training.flops.training(rematerialize)
    epochs = f" = {sequences / training.examples:.2f} epochs" if training.examples else ""
    length = training.mean_length or training.seq_length
    return [
        f"Steps        {training.steps:,} of {training.batch_size} {training.unit}s, "
        f"{training.warmup_steps:,} of warm-up",
        f"{training.unit.capitalize() + 's':12} {sequences:,}{epochs} of {training.examples:,}",
        f"Tokens       {round(sequences * length):,}, {round(length, 1):g} in a {training.unit}, "
        "padding included",
        f"Work         {of_step / 1e9:,.3f} GFLOP a step, {of_step * training.steps / 1e15:,.6f} PFLOP in all "
        "(matrix products)",
    ]


def memory_lines(
    work: Workload, training: Training, replicas: int, rematerialize: bool, limit: int | None
) -> list[str]:
    """Returns what a device needs, and which settings fit `limit` bytes."""
    sequences = training.batch_size // replicas
    memory = training_memory(
        work, sequences // training.micro_batches, training.micro_batches, rematerialize
    )
    lines = [f"Memory       {_parts(memory)} of a device expected"]
    if limit is None:
        return [
            *lines,
            "Device       memory unknown: give --device_memory_gb for settings that fit",
        ]
    usable = int(USABLE * limit)
    fits = "fits" if memory.total <= usable else "does not fit"
    lines.append(
        f"Device       {limit / GIB:.1f} GiB, {USABLE:.0%} of it planned with: this {fits}"
    )
    for again in (False, True):
        # As with accumulation: that is how a batch larger than this is computed.
        most = largest_micro_batch(
            lambda n, again=again: training_memory(work, n, 2, again), usable
        )
        lines.append(
            f"Largest      {most:,} {training.unit}s in a micro-batch of a device"
            + (", with --rematerialize" if again else "")
        )
    choice = choose(work, sequences, usable)
    if not choice:
        least = training_memory(work, 1, min(sequences, 2), True)
        return [
            *lines,
            f"Choose       a smaller model, shorter sequences or a larger device: one {training.unit} at a "
            f"time, rematerialized, takes {_gib(least.total)} GiB",
        ]
    return [
        *lines,
        f"Choose       --gradient_accumulation_steps={choice.gradient_accumulation_steps} "
        f"--rematerialize={str(choice.rematerialize).lower()} for batches of {training.batch_size}: "
        f"{_gib(choice.memory.total)} GiB",
    ]


def _parts(memory: Memory) -> str:
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in memory._asdict().items())
    return f"{_gib(memory.total)} GiB ({parts})"


def _gib(size: int) -> str:
    return f"{size / GIB:.3f}"


def _count(variables: list[keras.Variable]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)
