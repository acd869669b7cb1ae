"""Speed of the pre-training step on the CPU: ours, and HuggingFace transformers on PyTorch.

    python -m venv hf && hf/bin/pip install torch==2.13.0 transformers numpy
    python -m benchmarks.train_step --peer_python=hf/bin/python

Forward pass, backward pass, clipping and the update of Adam, dropout on, 15 % masked positions, no padding; both sides
compute on the same batch, in processes of their own that take turns. A ratio is that of two processes of the same
turn, ours by the peer's: above 1 we are faster.

transformers as shipped computes the vocabulary at all positions where training needs the masked ones. The default,
--peer_variant=masked_only, lifts that handicap; `as_shipped` leaves it (benchmarks/peer_transformers.py).

The machine must be quiet. PyTorch's threads wait for each other after every operation, so that a busy CPU slows the
peer down many times more than us: the last column is the most CPUs that other programs took while one side ran, and a
line where it is far from 0 says nothing.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import flags, logging

from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from training.optimizer import AdamWeightDecay
from training.strategy import set_seed_and_precision
from training.train_step import train_step

FLAGS = flags.FLAGS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = ROOT / "benchmarks" / "peer_transformers.py"


class Model(NamedTuple):
    """What is measured, and how much of it: a step takes seconds in one and a fraction of one in the other."""

    config_file: str | None  # None: BERT-base
    tokens: int  # in a batch
    warmup_steps: int
    timed_steps: int


class Measurement(NamedTuple):
    """What one process measured."""

    rate: float  # sequences/s
    others: float  # CPUs that other programs took meanwhile


MODELS = {
    "base": Model(None, tokens=1024, warmup_steps=1, timed_steps=3),
    "demo": Model("examples/bert_config.json", tokens=4096, warmup_steps=2, timed_steps=10),
}


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("peer_python", None, "Python interpreter with torch and transformers.")
    flags.DEFINE_enum(
        "peer_variant",
        "masked_only",
        ["masked_only", "as_shipped"],
        "Positions in the peer's head.",
    )
    flags.DEFINE_multi_enum("models", list(MODELS), list(MODELS), "Which models.")
    flags.DEFINE_multi_integer("lengths", [128, 512], "Which sequence lengths.", 8, 512)
    flags.DEFINE_multi_enum(
        "dtypes", ["float32", "bfloat16"], ["float32", "bfloat16"], "Which precisions."
    )
    flags.DEFINE_integer("repeats", 3, "Turns of both sides.", 1)


def main() -> None:
    """Measures every combination of the flags and prints a table, a line as soon as it is known."""
    if not shutil.which(FLAGS.peer_python):
        raise ValueError(f"--peer_python={FLAGS.peer_python} is no program")
    print(f"sequences/s, median of {FLAGS.repeats}; peer: transformers, {FLAGS.peer_variant}")
    print("model length dtype    batch     ours     peer  ratio (low to high)    others' CPUs")
    for name, length, dtype in itertools.product(FLAGS.models, FLAGS.lengths, FLAGS.dtypes):
        case = make_case(MODELS[name], length, dtype)
        turns = [(measure(our_run, case), measure(peer_run, case)) for _ in range(FLAGS.repeats)]
        ours, peers = ([run.rate for run in side] for side in zip(*turns, strict=True))
        ratios = [a / b for a, b in zip(ours, peers, strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        others = max(run.others for turn in turns for run in turn)
        print(
            f"{name:5} {length:6} {dtype:8} {len(case['batch']['input_ids']):5} "
            f"{statistics.median(ours):8.2f} {statistics.median(peers):8.2f} "
            f"{statistics.median(ratios):6.2f} {spread:18} {others:7.2f}",
            flush=True,
        )


def measure(run: Callable[[dict], list[float]], case: dict) -> Measurement:
    """Runs one side once, in a process of its own."""
    start, busy, own = time.perf_counter(), busy_seconds(), children_seconds()
    seconds = statistics.median(run(case)[case["warmup_steps"] :])
    others = (busy_seconds() - busy) - (children_seconds() - own)
    result = Measurement(
        len(case["batch"]["input_ids"]) / seconds, others / (time.perf_counter() - start)
    )
    logging.info("%s: %.3f s a step, others took %.2f CPUs", run.__name__, seconds, result.others)
    return result


def busy_seconds() -> float:
    """Returns the processor time that this machine has spent on anything, what its host took from it included."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = file.readline().split()[1:9]
    ticks = sum(map(int, (user, nice, system, irq, softirq, steal)))
    return ticks / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """Returns the processor time of the worker processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def make_case(model: Model, length: int, dtype: str) -> dict:
    """Returns what a worker needs to know, ready for JSON; its batch is random tokens, without padding."""
    if model.config_file:
        config = BertConfig.from_json_file(str(ROOT / model.config_file))
    else:
        config = BertConfig(vocab_size=30522, type_vocab_size=2)
    config = dataclasses.replace(config, max_position_embeddings=512)
    size, predictions = model.tokens // length, round(0.15 * length)
    rng = np.random.default_rng(0)
    positions = [rng.choice(length, predictions, replace=False) for _ in range(size)]
    batch = {
        "input_ids": rng.integers(config.vocab_size, size=(size, length)),
        "input_mask": np.ones((size, length), int),
        "segment_ids": np.tile(np.arange(length) >= length // 2, (size, 1)).astype(int),
        "masked_lm_positions": np.sort(positions),
        "masked_lm_ids": rng.integers(config.vocab_size, size=(size, predictions)),
        "next_sentence_labels": rng.integers(2, size=(size, 1)),
    }
    return {
        "config": dataclasses.asdict(config),
        "batch": {key: values.tolist() for key, values in batch.items()},
        "dtype": dtype,
        "warmup_steps": model.warmup_steps,
        "steps": model.warmup_steps + model.timed_steps,
        "peer_variant": FLAGS.peer_variant,
    }


def peer_run(case: dict) -> list[float]:
    """Returns the seconds of every step of the peer, in a process of its own."""
    command = [FLAGS.peer_python, str(PEER)]
    result = subprocess.run(command, input=json.dumps(case), stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise ValueError(f"{' '.join(command)} failed with status {result.returncode}, see above")
    return json.loads(result.stdout)


def our_run(case: dict) -> list[float]:
    """Returns the seconds of every step of ours, in a process of its own."""
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, fresh) as pool:
        return pool.submit(our_steps, case).result()


def our_steps(case: dict) -> list[float]:
    """Trains as training/loop.py does on a CPU, and returns the seconds of every step."""
    set_seed_and_precision(0, case["dtype"])
    model = BertPretrainer(BertConfig(**case["config"]))
    optimizer = AdamWeightDecay(model.trainable_variables, 1e-4, 1000, 100)
    step = tf.function(lambda batch: train_step(model, OBJECTIVE, optimizer, batch, seed=0))
    batch = {name: tf.constant(values) for name, values in case["batch"].items()}
    batch["masked_lm_weights"] = tf.ones(batch["masked_lm_ids"].shape)
    seconds = []
    for _ in range(case["steps"]):
        start = time.perf_counter()
        step(batch)["loss"].numpy()
        seconds.append(time.perf_counter() - start)
    return seconds


if __name__ == "__main__":
    define_flags()
    flags.mark_flag_as_required("peer_python")
    app.run(main)
