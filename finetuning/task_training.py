"""The training of a task as the flags ask for it, whatever the task: its plan, its start, its steps, evaluations."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import keras
import tensorflow as tf
from absl import flags

from finetuning.freezing import freeze, frozen_blocks
from finetuning.length_records import LengthRecords
from finetuning.sweep_flags import check_runs, define_sweep_flags, each_setting
from modeling.config import BertConfig
from modeling.flops import Flops
from training import dry_run
from training.buckets import bucketed_train_batches
from training.common_flags import (
    define_epoch_flags,
    define_training_flags,
    loop_arguments,
    optimizer_from_flags,
    steps_from_epochs,
)
from training.evaluation_flags import define_evaluation_flags, evaluation_from_flags
from training.loop import train
from training.optimizer import AdamWeightDecay
from training.preflight import Preflight
from training.progress import Progress
from training.run_state import RunState
from training.train_step import Objective
from training.weights import check_same_start, load_weights

FLAGS = flags.FLAGS


def define_fine_tuning_flags(max_seq_length: int) -> None:
    """Defines what all scripts of fine-tuning have; `max_seq_length` is the default of that flag."""
    define_training_flags(max_seq_length)
    define_epoch_flags()
    dry_run.define_dry_run_flags()
    define_sweep_flags()
    define_evaluation_flags()
    flags.DEFINE_string(
        "freeze",
        None,
        "Train the upper layers alone: 'embeddings' stay as they are, or they and so many encoder blocks "
        "(default: all is trained).",
    )


def make_model(head: Callable[..., keras.Model], config: BertConfig, *sizes: int) -> keras.Model:
    """Returns the model of `modeling.heads` with these sizes of its output; call it in the strategy's scope.

    Raises:
      ValueError: `--freeze` does not fit it.
    """
    model = head(config, *sizes, FLAGS.rematerialize)
    freeze(model.bert, frozen_blocks(FLAGS.freeze, config.num_hidden_layers))
    return model


def _with_frozen(flops: Flops, config: BertConfig) -> Flops:
    layers = config.num_hidden_layers
    blocks = frozen_blocks(FLAGS.freeze, layers)
    return flops if blocks is None else flops.freeze(blocks, layers)


def plan_trainings(
    check: Preflight,
    strategy: tf.distribute.Strategy,
    config: BertConfig,
    counts: Mapping[int, int],
    logits: int,
    flops: Callable[[int], Flops],
    sequences: int = 1,
    num_examples: int | None = None,
) -> list[dry_run.Training]:
    """Returns the trainings of the flags, for a dry run: of a grid one for each setting.

    Args:
      check: collects what is wrong; after a failed check an argument may be `preflight.MISSING`.
      strategy: of the run.
      config: of the model.
      counts: static length -> records.
      logits: outputs of the model for one sequence of the longest.
      flops: static length -> operations for one sequence, if all layers were trained.
      sequences: that a record has.
      num_examples: that epochs are counted by (default: the number of records).
    """
    total = check(lambda counts: num_examples or sum(counts.values()), counts)

    def plan_one(config, counts, logits, flops):
        steps = steps_from_epochs(total)
        arguments = (counts, logits, lambda length: _with_frozen(flops(length), config), steps)
        training = dry_run.bucketed_training(*arguments)
        batch_size = sequences * training.batch_size
        return training._replace(examples=sequences * training.examples, batch_size=batch_size)

    plan = check(check_runs, total, strategy)
    planned = check(each_setting, plan, plan_one, config, counts, logits, flops)
    return check(lambda runs: [t._replace(runs=n) for t, n in runs.items()], planned)


class Start(NamedTuple):
    """A model that is to be trained, or used as it is, and all that its training needs but data.

    Attributes:
      state: the directory of the run.
      strategy: that the variables were made with.
      model: with its weights.
      objective: what training minimises.
      optimizer: None without --do_train.
      num_train_steps: updates of the whole training.
      step: updates already made.
    """

    state: RunState
    strategy: tf.distribute.Strategy
    model: keras.Model
    objective: Objective | None
    optimizer: AdamWeightDecay | None
    num_train_steps: int
    step: int


def begin(
    state: RunState,
    strategy: tf.distribute.Strategy,
    num_examples: int,
    make: Callable[[], tuple[keras.Model, Objective | None]],
) -> Start:
    """Returns the start of a training, or of its continuation, after a check that all workers have the same.

    Args:
      state: of the run; if it trains, its directory is claimed.
      strategy: of the run.
      num_examples: in the training set.
      make: -> the model with random weights, and what its training minimises; called in the strategy's scope.
    """
    num_train_steps, num_warmup_steps = steps_from_epochs(num_examples)
    with strategy.scope():
        model, objective = make()
        optimizer = optimizer_from_flags(model, num_train_steps, num_warmup_steps)
    step = load_weights(state, FLAGS.init_checkpoint, model, optimizer)
    check_same_start(strategy, model, step)
    state.make_own_dir()
    if FLAGS.do_train:
        state.claim()
    return Start(state, strategy, model, objective, optimizer, num_train_steps, step)


def train_on(
    start: Start,
    records: LengthRecords,
    feature_spec: Callable[[int], dict],
    flops: Callable[[int], Flops],
    measure: Callable[[], Mapping[str, float]],
    names: list[str],
) -> int:
    """Trains with the records of some static lengths, and returns the number of updates made.

    Args:
      records: of the training set; all that is used of them are their files and counts.
      feature_spec: static length -> schema of a record.
      flops: static length -> operations for one example, if all layers were trained.
      measure, names: see `training.evaluation.Evaluation`; used with --eval_steps.
    """
    num_train_steps, own_dir = start.num_train_steps, start.state.own_dir
    config = start.model.bert.config
    of_batches = (feature_spec, FLAGS.train_batch_size, FLAGS.seed, num_train_steps, start.step)
    progress = Progress(
        own_dir,
        num_train_steps,
        FLAGS.train_batch_size,
        lambda length: _with_frozen(flops(length), config).training(),
    )
    return train(
        start.model,
        start.objective,
        start.optimizer,
        start.strategy,
        bucketed_train_batches(records.files, records.counts, *of_batches),
        start.state,
        progress,
        num_train_steps=num_train_steps,
        evaluation=evaluation_from_flags(measure, own_dir, num_train_steps, names),
        **loop_arguments(),
    )
