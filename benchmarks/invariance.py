"""How far trainings differ that should be one: by micro-batches, replicas, workers, memory, padding, packing and stops.

    python -m benchmarks.invariance

Each case trains a tiny model by the loop of the scripts, 20 steps in float32 on the same global batches, and is
compared with the plainest one: the largest relative difference of a loss, and of a variable or slot of the optimizer
in terms of the largest value of its tensor.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import json
import os
import socket
import subprocess
import sys
import tempfile
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags, logging

from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from pretraining.packing import pack, packed_rows
from training.buckets import BucketedBatches
from training.loop import train
from training.optimizer import AdamWeightDecay
from training.progress import Progress
from training.run_state import RunState
from training.strategy import create_strategy, set_seed_and_precision
from training.weights import checkpoint_variables, load_weights
from training.workers import is_chief, own_directory

FLAGS = flags.FLAGS

STEPS = 20
BATCH_SIZE = 16
DISTINCT_BATCHES = 5
LEARNING_RATE = 3e-3
CLIP_NORM = 0.5  # every gradient is larger
SEED = 3
VOCAB_SIZE = 31
REPLICAS = 4  # most of a case
SHORT, LONG, PADDED, ROW = 7, 11, 13, 23  # lengths
ROWS, SLOTS = BATCH_SIZE // 2, 3  # of a packed batch: any two sequences fit in a row
# Which of the buckets each step takes.
SCHEDULE = np.random.RandomState(SEED).permutation(np.repeat([0, 1], STEPS // 2))


class Case(NamedTuple):
    """A way to train.

    Attributes:
      legs: (replicas, step to stop at) of each start of the run.
      lengths: "one", or its sequences "packed" into rows; or those of several lengths, "bucketed" or "padded" to one.
    """

    micro_batches: int = 1
    workers: int = 1
    legs: tuple[tuple[int, int], ...] = ((1, STEPS),)
    rematerialize: bool = False
    dropout: float = 0.0
    lengths: str = "one"


PLAIN = Case()
DROPOUT = Case(dropout=0.3)
PADDED_TO_ONE = Case(lengths="padded")
# Name -> (case, what it should equal).
CASES = {
    "2 micro-batches": (Case(micro_batches=2), PLAIN),
    "4 micro-batches": (Case(micro_batches=4), PLAIN),
    "8 micro-batches": (Case(micro_batches=8), PLAIN),
    "2 replicas": (Case(legs=((2, STEPS),)), PLAIN),
    "4 replicas": (Case(legs=((4, STEPS),)), PLAIN),
    "2 replicas x 4 micro-batches": (Case(4, legs=((2, STEPS),)), PLAIN),
    "2 workers": (Case(workers=2), PLAIN),
    "2 workers x 2 micro-batches": (Case(2, workers=2), PLAIN),
    "rematerialisation": (Case(rematerialize=True), PLAIN),
    "rematerialisation, dropout": (DROPOUT._replace(rematerialize=True), DROPOUT),
    "bucketed, not padded": (Case(lengths="bucketed"), PADDED_TO_ONE),
    "packed": (Case(lengths="packed"), PLAIN),
    "packed, rematerialisation": (Case(lengths="packed", rematerialize=True), PLAIN),
    "packed, 2 replicas x 2 micro-batches": (Case(2, legs=((2, STEPS),), lengths="packed"), PLAIN),
    "2 replicas, from step 7 on 1": (Case(legs=((2, 7), (1, STEPS))), PLAIN),
    "1 replica, from step 7 on 2": (Case(legs=((1, 7), (2, STEPS))), PLAIN),
    "bucketed, 2 replicas x 4, from step 7 on 1": (
        Case(4, legs=((2, 7), (1, STEPS)), lengths="bucketed"),
        PADDED_TO_ONE,
    ),
    "stopped at step 7, dropout": (DROPOUT._replace(legs=((1, 7), (1, STEPS))), DROPOUT),
}


class Result(NamedTuple):
    """What a training made."""

    losses: np.ndarray  # float32 [steps]
    gradient_norms: np.ndarray  # float32 [steps], before clipping
    variables: dict[str, np.ndarray]  # with the slots of the optimizer


class _Recorder(Progress):
    """Progress that keeps the values of every step."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.histories = []

    def report(self, step, history, seconds):
        self.histories.append(history)
        super().report(step, history, seconds)


def define_flags() -> None:
    """Declares the flags of this script, which are for the workers that it starts."""
    flags.DEFINE_string("case", None, "Name of the case of which this process is a worker.")
    flags.DEFINE_string("output_dir", None, "Where the chief of the workers puts the result.")


def main() -> None:
    """Prints the differences, a line for each case."""
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("ERROR")  # every case is traced anew on purpose
    if FLAGS.case:
        strategy = create_strategy()
        result = train_on(strategy, CASES[FLAGS.case][0], FLAGS.output_dir, STEPS)
        if is_chief(strategy):
            scalars = {"losses": result.losses, "gradient_norms": result.gradient_norms}
            np.savez(os.path.join(FLAGS.output_dir, "result.npz"), **scalars, **result.variables)
        return
    split_cpu()
    references = {}
    print(f"{'case':42}  {'loss':>7}  {'variables':>9}")
    for name, (case, reference) in CASES.items():
        if reference not in references:
            references[reference] = run_case(reference)
        loss, variables = differences(run_case(case, name), references[reference])
        print(f"{name:42}  {loss:7.1e}  {max(variables.values()):9.1e}", flush=True)


def split_cpu() -> None:
    """Makes the CPU several logical devices; before TensorFlow has computed anything."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    tf.config.set_logical_device_configuration(cpu, devices)


def run_case(case: Case, name: str = "") -> Result:
    """Trains as a case says; workers need its name."""
    with tempfile.TemporaryDirectory() as folder:
        if case.workers > 1:
            return _run_workers(case.workers, name, folder)
        return [train_on(_replicas(leg[0]), case, folder, leg[1]) for leg in case.legs][-1]


def _replicas(count):
    if count == 1:
        return tf.distribute.get_strategy()
    # TensorFlow cannot tell the replicas of a process' second strategy from those of its first, but by this number.
    base = tf.distribute.MirroredStrategy._collective_key_base + 100 * count
    strategy = type("Mirrored", (tf.distribute.MirroredStrategy,), {"_collective_key_base": base})
    return strategy([f"CPU:{number}" for number in range(count)])


def _run_workers(count, name, folder) -> Result:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    arguments = ["-m", "benchmarks.invariance", f"--case={name}", f"--output_dir={folder}"]
    processes = []
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        processes.append(subprocess.Popen([sys.executable, *arguments], env=environment))
    statuses = [process.wait() for process in processes]
    if any(statuses):
        raise RuntimeError(f"{name}: the workers ended with {statuses}")
    with np.load(os.path.join(folder, "result.npz")) as saved:
        arrays = dict(saved)
    return Result(arrays.pop("losses"), arrays.pop("gradient_norms"), arrays)


def train_on(
    strategy: tf.distribute.Strategy, case: Case, output_dir: str, until: int, **settings
) -> Result:
    """Trains, or goes on training, up to a step.

    Args:
      settings: further arguments of `training.loop.train`.
    """
    set_seed_and_precision(SEED, "float32")
    with strategy.scope():
        model = _make_model(case)
        optimizer = AdamWeightDecay(
            model.trainable_variables, LEARNING_RATE, STEPS, 5, clip_norm=CLIP_NORM
        )
    own_dir = None if is_chief(strategy) else own_directory(strategy)
    state = RunState(output_dir, keep=STEPS, own_dir=own_dir)
    step = load_weights(state, None, model, optimizer)
    progress = _Recorder(state.own_dir, STEPS, BATCH_SIZE)
    arguments = {"num_train_steps": until, "seed": SEED, **settings}
    train(
        model,
        OBJECTIVE,
        optimizer,
        strategy,
        _batches(case.lengths, step),
        state,
        progress,
        gradient_accumulation_steps=case.micro_batches,
        **arguments,
    )
    losses, norms = (
        np.concatenate([history[name] for history in progress.histories])
        for name in ("loss", "gradient_norm")
    )
    variables = checkpoint_variables(model, optimizer)
    return Result(losses, norms, {name: v.numpy() for name, v in variables.items()})


def _make_model(case):
    config = BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=15,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=17,
        hidden_dropout_prob=case.dropout,
        attention_probs_dropout_prob=case.dropout,
        max_position_embeddings=ROW,
        type_vocab_size=2,
    )
    model = BertPretrainer(config, rematerialize=case.rematerialize)
    rng = np.random.default_rng(5)
    for variable in sorted(model.variables, key=lambda v: v.path):
        variable.assign(variable + rng.normal(0, 0.1, variable.shape).astype(np.float32))
    return model


def _batches(lengths, step):
    if lengths == "one":
        return _dataset(_training_set(STEPS, LONG), step)
    if lengths == "packed":
        batches = [_packed(batch) for batch in _dataset(_training_set(STEPS, LONG), 0)]
        return _dataset({name: [b[name] for b in batches] for name in batches[0]}, step)
    sizes = [np.sum(SCHEDULE == bucket) for bucket in (0, 1)]
    buckets = [_training_set(n, s) for n, s in zip(sizes, (SHORT, LONG), strict=True)]
    if lengths == "bucketed":
        done = [np.sum(SCHEDULE[:step] == bucket) for bucket in (0, 1)]
        return BucketedBatches(
            [_dataset(b, n) for b, n in zip(buckets, done, strict=True)], SCHEDULE
        )
    order = np.argsort(np.argsort(SCHEDULE, kind="stable"))
    padded = [{name: _padded(name, v) for name, v in bucket.items()} for bucket in buckets]
    arrays = {name: np.concatenate([p[name] for p in padded])[order] for name in padded[0]}
    return _dataset(arrays, step)


def _training_set(num_steps, seq_length):
    """Returns batches that come again, so that there is something to learn."""
    some = random_batches(DISTINCT_BATCHES, BATCH_SIZE, seq_length)
    return {
        name: np.resize(values, [num_steps, *values.shape[1:]]) for name, values in some.items()
    }


def _dataset(arrays, step):
    return tf.data.Dataset.from_tensor_slices(dict(arrays)).skip(step)


def _padded(name, values):
    missing = PADDED - values.shape[2] if name in ("input_ids", "input_mask", "segment_ids") else 0
    return np.pad(values, [(0, 0), (0, 0), (0, missing)])


def _packed(batch):
    """Returns the same sequences in fewer rows; some of these, and more slots, stay empty."""
    rows = {name: values.numpy() for name, values in batch.items()}
    for name in ("masked_lm_positions", "masked_lm_ids", "masked_lm_weights"):
        more = (SLOTS - 1) * rows[name].shape[1]
        rows[name] = np.pad(rows[name], [(0, 0), (0, more)])
    for name in ("input_ids", "input_mask", "segment_ids"):
        rows[name] = np.pad(rows[name], [(0, 0), (0, ROW - LONG)])
    lengths, num_masked = rows["input_mask"].sum(1), (rows["masked_lm_weights"] > 0).sum(1)
    slots = pack(lengths, num_masked, ROW, rows["masked_lm_ids"].shape[1], SLOTS)
    return packed_rows(rows, np.pad(slots, [(0, ROWS - len(slots)), (0, 0)], constant_values=-1))


def random_batches(
    num_batches: int,
    batch_size: int,
    seq_length: int = LONG,
    predictions: int = 3,
    vocab_size: int = VOCAB_SIZE,
    seed: int = 1,
) -> dict[str, np.ndarray]:
    """Returns random pre-training records [num_batches, batch_size, ...], with unequal numbers of masked tokens."""
    rng = np.random.default_rng(seed)
    shape = (num_batches, batch_size)
    lengths = rng.integers(5, seq_length + 1, shape)
    positions = np.arange(seq_length)
    ids = rng.integers(1, vocab_size, (*shape, seq_length))
    mask = positions < lengths[..., None]
    masked = rng.integers(0, predictions + 1, shape)
    batches = {
        "input_ids": ids * mask,
        "input_mask": mask,
        "segment_ids": (positions >= lengths[..., None] // 2) & mask,
        "masked_lm_positions": rng.integers(0, 5, (*shape, predictions)),
        "masked_lm_ids": rng.integers(1, vocab_size, (*shape, predictions)),
        "masked_lm_weights": np.arange(predictions) < masked[..., None],
        "next_sentence_labels": rng.integers(0, 2, (*shape, 1)),
    }
    return {
        name: values.astype(np.float32 if name == "masked_lm_weights" else np.int32)
        for name, values in batches.items()
    }


def differences(ours: Result, theirs: Result) -> tuple[float, dict[str, float]]:
    """Returns the largest relative difference of the losses that both have, the last, and that of each variable."""
    late = theirs.losses[-len(ours.losses) :]
    loss = np.max(np.abs(ours.losses - late) / np.abs(late))
    variables = {
        name: np.max(np.abs(ours.variables[name] - values)) / scale_of(name, theirs.variables)
        for name, values in theirs.variables.items()
    }
    return float(loss), variables


def scale_of(name: str, variables: dict[str, np.ndarray]) -> float:
    """Returns the largest absolute value of a variable; for the key's bias that of the query's.

    Softmax does not see what all keys share, so that the gradient of the key's bias is zero but for rounding.
    """
    return np.abs(variables[name.replace("self/key/bias", "self/query/bias")]).max()


if __name__ == "__main__":
    define_flags()
    app.run(main)
