"""The loops: training, and scoring for evaluation and prediction."""

import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from training.buckets import BucketedBatches
from training.optimizer import AdamWeightDecay
from training.progress import Progress, finite_steps
from training.run_state import RunState
from training.strategy import is_tpu
from training.train_step import Objective, Tensors, train_step
from training.weights import checkpoint_variables
from training.workers import distribute, gather_rows, num_workers

# Seconds between reports on CPU and GPU.
REPORT_SECONDS = 5.0


def train(
    model: keras.Model,
    objective: Objective,
    optimizer: AdamWeightDecay,
    strategy: tf.distribute.Strategy,
    batches: tf.data.Dataset | BucketedBatches,
    state: RunState,
    progress: Progress,
    *,
    num_train_steps: int,
    seed: int,
    save_checkpoints_steps: int = 1000,
    iterations_per_loop: int = 1000,
    gradient_accumulation_steps: int = 1,
) -> int:
    """Trains until the optimizer has made `num_train_steps` updates, saving as it goes, and returns their number.

    Args:
      model, optimizer: made in the strategy's scope, with their variables as the run starts or resumes.
      batches: endless dict batches of the global batch size, beginning with the one of the next step; of one static
        shape, or of several.
      state: where checkpoints go: at the start of a new run, every `save_checkpoints_steps`, and at the end.
      progress: where reports go.
      iterations_per_loop: steps that run on the device between two looks of the host.

    Raises:
      FloatingPointError: if a loss is not finite; nothing is saved after it.
    """
    step = int(optimizer.global_step.numpy())
    if step >= num_train_steps:
        logging.info("Training is complete: %d of %d steps were made", step, num_train_steps)
        return step
    variables = checkpoint_variables(model, optimizer)
    if not step:
        state.save(step, variables)
    run_steps = _steps_on_device(
        model, objective, optimizer, strategy, seed, gradient_accumulation_steps
    )
    if isinstance(batches, tf.data.Dataset):
        batches = BucketedBatches([batches], np.zeros(num_train_steps, int))
    make_steps = _fed(run_steps, batches, strategy)
    logging.info("Tracing the first step")
    count = 1
    while step < num_train_steps:
        next_save = (step // save_checkpoints_steps + 1) * save_checkpoints_steps
        next_save = min(next_save, num_train_steps)
        count = min(count, iterations_per_loop, next_save - step)
        start = time.perf_counter()
        history = make_steps(step, count)
        seconds = time.perf_counter() - start
        _check_finite(history, step, state)
        first, step = step, step + count
        if first or count > 1 or step == num_train_steps:  # step 1 of a run is mostly tracing
            progress.report(step, history, seconds)
        if step == next_save:
            state.save(step, variables)
        count = _steps_until_report(count, seconds, strategy, iterations_per_loop)
    return step


def _fed(run_steps, batches: BucketedBatches, strategy):
    """Returns a function (step, number of steps) -> history, which runs as many at a time as use the same dataset."""
    iterators = [iter(distribute(strategy, d, endless=True)) for d in batches.datasets]

    def make_steps(step, count):
        pieces, end = [], step + count
        while step < end:
            count = batches.same_dataset(step, end)
            pieces.append(run_steps(iterators[batches.schedule[step]], count))
            step += count
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    return make_steps


def _steps_on_device(model, objective, optimizer, strategy, seed, num_micro_batches):
    """Returns a function (iterator, number of steps) -> history, float32 [n] by name; it traces once a shape."""
    names = []
    # What pays on a GPU does not on a CPU, and a TPU compiles the whole step by itself.
    compiled = bool(tf.config.list_logical_devices("GPU"))

    def step(batch):
        return train_step(model, objective, optimizer, batch, seed, num_micro_batches, compiled)

    @tf.function
    def run(iterator, count):
        history = tf.TensorArray(tf.float32, size=count)
        for i in tf.range(count):
            metrics = strategy.run(step, args=(next(iterator),))
            names[:] = sorted(metrics)
            values = [strategy.experimental_local_results(metrics[name])[0] for name in names]
            history = history.write(i, tf.stack(values))
        return history.stack()  # [n, metrics]

    def run_steps(iterator, count):
        history = run(iterator, tf.constant(count)).numpy()
        return dict(zip(names, history.T, strict=True))

    return run_steps


def _steps_until_report(count, seconds, strategy, iterations_per_loop) -> int:
    if is_tpu(strategy):
        return iterations_per_loop
    # At most tenfold, since the first measure is mostly tracing.
    return max(1, min(10 * count, int(REPORT_SECONDS * count / seconds)))


def _check_finite(history, step, state) -> None:
    wrong = ~finite_steps(history)
    if "loss_scale" in history:
        # Such a step was skipped. When so many follow each other, it is not the scale that is wrong.
        wrong &= history["loss_scale"] < 1.0
    if not wrong.any():
        return
    bad = int(np.argmax(wrong))
    raise FloatingPointError(
        f"step {step + bad + 1}: loss {history['loss'][bad]}, gradient norm "
        f"{history['gradient_norm'][bad]} at learning rate {history['learning_rate'][bad]:.3g}; "
        f"stopped, the last good checkpoint is in {state.output_dir}: lower --learning_rate, or look "
        "for bad records"
    )


def predict(
    model: keras.Model,
    score: Callable[[keras.Model, Tensors], Tensors],
    batches: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields `score(model, batch)` of every batch as arrays [B, ...], rows in its order, on all workers."""

    @tf.function
    def run(batch):
        scores = strategy.run(lambda part: score(model, part), args=(batch,))
        return scores if num_workers(strategy) == 1 else gather_rows(strategy, scores)

    for batch in distribute(strategy, batches):
        yield {
            name: np.concatenate([v.numpy() for v in strategy.experimental_local_results(values)])
            for name, values in run(batch).items()
        }
