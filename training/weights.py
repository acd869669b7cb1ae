"""The variables of a run: their names in checkpoints, and where their values come from."""

import zlib

import keras
import tensorflow as tf
from absl import logging

from modeling.checkpoint import load_init_checkpoint
from training.optimizer import AdamWeightDecay
from training.run_state import RunState
from training.workers import check_agreement, num_workers


def checkpoint_variables(model: keras.Model, optimizer: AdamWeightDecay | None = None) -> dict:
    """Returns the variables of a checkpoint by their name in it."""
    variables = {variable.path: variable for variable in model.variables}
    return variables | (optimizer.checkpoint_variables() if optimizer else {})


def load_weights(
    state: RunState,
    init_checkpoint: str | None,
    model: keras.Model,
    optimizer: AdamWeightDecay | None = None,
) -> int:
    """Fills the model, and the optimizer when training, and returns the step that the run is at.

    In this order: 1. the newest checkpoint in the output directory, so that a restarted command resumes; 2. the
    initial checkpoint; 3. the random initial values. What was chosen is said.

    Raises:
      ValueError, FileNotFoundError: if the chosen checkpoint does not fit the model or cannot be read; or if nothing is
        going to be trained, and there is none or it lacks a variable of the model, which would stay random.
    """
    checkpoint = state.latest()
    if checkpoint:
        step = state.restore(checkpoint_variables(model, optimizer))
        logging.info(
            "Continuing from %s at step %d; --init_checkpoint is not used", checkpoint, step
        )
        return step
    if init_checkpoint:
        report = load_init_checkpoint(init_checkpoint, checkpoint_variables(model))
        logging.info("%s", report.summary())
        if not optimizer and report.missing:
            raise ValueError(
                f"--init_checkpoint={init_checkpoint} lacks {', '.join(report.missing[:3])}, and nothing is trained "
                "here: give a checkpoint of this task"
            )
    elif optimizer:
        logging.info("No checkpoint in %s, no --init_checkpoint: random weights", state.output_dir)
    else:
        raise ValueError(
            f"nothing to evaluate: no checkpoint in --output_dir={state.output_dir} and no --init_checkpoint"
        )
    return 0


def load_best(state: RunState, model: keras.Model) -> int:
    """Fills the model with the best checkpoint of the run, and returns its step; raises as `RunState.best`."""
    prefix = state.best()
    step = state.restore(checkpoint_variables(model), prefix)
    logging.info("%s, the best checkpoint, is used", prefix)
    return step


def check_same_start(strategy: tf.distribute.Strategy, model: keras.Model, step: int) -> None:
    """Raises ValueError unless all workers found the same checkpoint, or start from the same weights."""
    if num_workers(strategy) == 1:
        return
    checksum = 0
    for variable in model.variables:
        checksum = zlib.crc32(variable.numpy(), checksum)
    start = {"the step to go on from": step, "the checksum of the weights": checksum}
    advice = (
        "all workers need the same --output_dir, on a shared file system, and --init_checkpoint"
    )
    check_agreement(strategy, start, advice)
