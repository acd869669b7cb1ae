"""The loops: training, and scoring for evaluation and prediction."""

import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from training.buckets import BucketedBatches
from training.evaluation import Evaluation
from training.optimizer import AdamWeightDecay
from training.pace import Pace
from training.preemption import Preempted, StopRequests
from training.progress import NOT_SCORES, Progress, finite_steps
from training.run_state import RunState
from training.speed import compiles_gradients
from training.strategy import is_tpu
from training.train_step import Objective, Tensors, train_step
from training.weights import checkpoint_variables
from training.workers import distribute, gather_rows, is_chief, num_workers, sum_over_workers


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
    save_checkpoints_minutes: float | None = None,
    iterations_per_loop: int = 1000,
    gradient_accumulation_steps: int = 1,
    max_nonfinite_steps: int = 0,
    evaluation: Evaluation | None = None,
) -> int:
    """Trains until the optimizer has made `num_train_steps` updates, saving as it goes, and returns their number.

    Args:
      model, optimizer: made in the strategy's scope, with their variables as the run starts or resumes.
      batches: endless dict batches of the global batch size, beginning with the one of the next step; of one static
        shape, or of several.
      state: where checkpoints go: at the start of a new run, every `save_checkpoints_steps`, and at the end.
      progress: where reports go.
      save_checkpoints_minutes: save so often, instead of every so many steps.
      iterations_per_loop: most steps that run on the device between two looks of the host.
      max_nonfinite_steps: updates that an optimizer with a `NonFiniteSkip` may leave out before the run stops.
      evaluation: of the model as it is being trained; it may end training early.

    Raises:
      FloatingPointError: if a loss or gradient is not finite, or too many were not; nothing is saved after it.
      Preempted: if the run was asked to stop; it has saved then.
    """
    step = int(optimizer.global_step.numpy())
    if step >= num_train_steps or _given_up(strategy, evaluation, step):
        logging.info("Training is complete: %d of %d steps were made", step, num_train_steps)
        return step
    variables = checkpoint_variables(model, optimizer)
    _save_start(step, state, variables)
    trained = (model, objective, optimizer, strategy)
    run_steps = _steps_on_device(*trained, seed, gradient_accumulation_steps)
    make_steps = _fed(run_steps, batches, strategy, num_train_steps)
    saving = (save_checkpoints_steps, save_checkpoints_minutes)
    looks = (progress.begin(step, strategy), evaluation and evaluation.every)
    pace = Pace(num_train_steps, iterations_per_loop, *saving, *looks)
    count = 1
    with StopRequests(watch_maintenance=is_tpu(strategy)) as requests, state:
        while count:
            history, seconds = _timed(make_steps, step, count)
            _check(history, step, state, max_nonfinite_steps, evaluation)
            step += count
            progress.report(step, history, seconds)
            pace.took(count, seconds)
            scores = evaluation.scores(step) if evaluation else {}
            count, save = _agree(strategy, pace, step, requests, evaluation)
            if save:
                state.save(step, variables, scores | progress.take_scores())
    # Asked here, so that a request that comes while the last checkpoint is written is heard too.
    _leave_if_stopped(strategy, step, state, requests)
    return step


def _save_start(step, state, variables) -> None:
    if not step:
        state.save(step, variables)
        state.wait()  # what is wrong with the disk shows now


def _timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


def _given_up(strategy, evaluation, step) -> bool:
    """Returns whether training has ended early, the same on all workers: the chief has the record of it."""
    if not evaluation:
        return False
    (given_up,) = sum_over_workers(strategy, [is_chief(strategy) and evaluation.gives_up(step)])
    return bool(given_up)


def _agree(strategy, pace, step, requests, evaluation) -> tuple[int, bool]:
    """Returns how many steps come next, 0 at the end, and whether to save, the same on all workers."""
    plan = _plan(pace, step, evaluation) if is_chief(strategy) else (0, 0)
    count, save, stops = sum_over_workers(strategy, [*plan, requests.reason is not None])
    return (0, True) if stops else (int(count), bool(save))


def _plan(pace, step, evaluation) -> tuple[int, bool]:
    due = evaluation and evaluation.is_due(step)
    if step == pace.num_train_steps or (due and evaluation.gives_up(step)):
        return 0, True
    save = pace.save_is_due(step)  # asked in any case: it begins the minutes anew
    return pace.next_count(step), save or bool(evaluation and evaluation.needs_checkpoint(step))


def _leave_if_stopped(strategy, step, state, requests) -> None:
    (stops,) = sum_over_workers(strategy, [requests.reason is not None])
    if stops:
        raise Preempted(
            f"stopped by {requests.reason or 'another worker'}; step {step} is saved in {state.output_dir}, "
            "the same command goes on from there"
        )


def _fed(run_steps, batches, strategy, num_train_steps):
    """Returns a function (step, number of steps) -> history, which runs as many at a time as use the same dataset."""
    if isinstance(batches, tf.data.Dataset):
        batches = BucketedBatches([batches], np.zeros(num_train_steps, int))
    logging.info("Tracing the first step")
    iterators = [iter(distribute(strategy, d, endless=True)) for d in batches.datasets]
    lengths = [d.element_spec["input_mask"].shape[-1] for d in batches.datasets]
    known = set()

    def make_steps(step, count):
        pieces, end = [], step + count
        while step < end:
            count = batches.same_dataset(step, end)
            dataset = batches.schedule[step]
            pieces.append(run_steps(iterators[dataset], count))
            pieces[-1]["length"] = np.full(count, lengths[dataset], np.float32)
            pieces[-1]["traced"] = np.full(count, dataset not in known)
            known.add(dataset)
            step += count
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    return make_steps


def _steps_on_device(model, objective, optimizer, strategy, seed, num_micro_batches):
    """Returns a function (iterator, number of steps) -> history, float32 [n] by name; it traces once a shape."""
    names = []
    compiled = compiles_gradients()

    def step(batch):
        return train_step(model, objective, optimizer, batch, seed, num_micro_batches, compiled)

    @tf.function
    def run(iterator, count):
        history = tf.TensorArray(tf.float32, size=count)
        for i in tf.range(count):
            batch, seconds = _timed_next(iterator, strategy)
            metrics = strategy.run(step, args=(batch,))
            metrics = {
                name: strategy.experimental_local_results(v)[0] for name, v in metrics.items()
            }
            metrics["input_seconds"] = seconds
            names[:] = sorted(metrics)
            history = history.write(i, tf.stack([metrics[name] for name in names]))
        return history.stack()  # [n, metrics]

    def run_steps(iterator, count):
        history = run(iterator, tf.constant(count)).numpy()
        return dict(zip(names, history.T, strict=True))

    return run_steps


def _timed_next(iterator, strategy):
    """Returns the next batch and the seconds that the host waited for it, float32."""
    before = tf.timestamp()
    with tf.control_dependencies([before]):
        batch = next(iterator)
    (part, *_) = strategy.experimental_local_results(batch)
    with tf.control_dependencies(list(part.values())):
        return batch, tf.cast(tf.timestamp() - before, tf.float32)


def _check(history, step, state, max_nonfinite_steps, evaluation) -> None:
    state.raise_failure()
    names = evaluation.names if evaluation else ()
    state.check_scores({*names, *(history.keys() - NOT_SCORES)})
    bad = ~finite_steps(history)
    if not bad.any():
        return
    fatal = bad.copy()
    if "loss_scale" in history:
        # When so many were skipped in a row, it is not the scale that is wrong.
        fatal &= history["loss_scale"] < 1.0
    elif "skipped_steps" in history:
        fatal &= history["skipped_steps"] > max_nonfinite_steps
        for number in np.flatnonzero(bad & ~fatal):
            logging.warning(
                "%s; update skipped, number %d of at most %d",
                _describe(history, step, number),
                history["skipped_steps"][number],
                max_nonfinite_steps,
            )
    if fatal.any():
        raise FloatingPointError(
            f"{_describe(history, step, int(np.argmax(fatal)))}; stopped, the last good checkpoint is in "
            f"{state.output_dir}: lower --learning_rate, or look for bad records"
        )


def _describe(history, step, number) -> str:
    return (
        f"step {step + number + 1}: loss {history['loss'][number]}, gradient norm "
        f"{history['gradient_norm'][number]} at learning rate {history['learning_rate'][number]:.3g}"
    )


def predict(
    model: keras.Model,
    score: Callable[[keras.Model, Tensors], Tensors],
    batches: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields `score(model, batch)` of every batch as arrays [B, ...], rows in its order, on all workers.

    The same function for the same model is not traced again.
    """
    run = _scoring(model, score, strategy)
    for batch in distribute(strategy, batches):
        yield {
            name: np.concatenate([v.numpy() for v in strategy.experimental_local_results(values)])
            for name, values in run(batch).items()
        }


def _scoring(model, score, strategy):
    """Evaluations during training come back to the last one; it stays with the model, and goes with it."""
    of, run = vars(model).get("_scoring", (None, None))
    if of == (score, strategy):
        return run

    @tf.function
    def run(batch):
        scores = strategy.run(lambda part: score(model, part), args=(batch,))
        return scores if num_workers(strategy) == 1 else gather_rows(strategy, scores)

    vars(model)["_scoring"] = ((score, strategy), run)  # not an attribute, which Keras would track
    return run
