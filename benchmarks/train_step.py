"""Speed of the pre-training step on the CPU: ours, and HuggingFace transformers on PyTorch.

    python -m venv hf && hf/bin/pip install torch==2.13.0 transformers numpy
    python -m benchmarks.train_step --peer_python=hf/bin/python

Forward pass, backward pass, clipping and the update of Adam, dropout on, 15 % masked positions, no padding; both sides
compute on the same batch, in processes of their own that take turns. A ratio is that of two processes of the same
turn, ours by the peer's: above 1 we are faster.

transformers as shipped computes the vocabulary at all positions where training needs the masked ones. The default,
--peer_variant=masked_only, lifts that handicap; `as_shipped` leaves it (benchmarks/peer_transformers.py).
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import concurrent.futures
import dataclasses
import json
import multiprocessing
import pathlib
import shutil
import statistics
import subprocess
import time
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
    print("model length dtype    batch     ours     peer  ratio (lowest to highest)")
    for name in FLAGS.models:
        for length in FLAGS.lengths:
            for dtype in FLAGS.dtypes:
                ours, peers = rates(name, length, dtype)
                ratios = [a / b for a, b in zip(ours, peers, strict=True)]
                print(
                    f"{name:5} {length:6} {dtype:8} {MODELS[name].tokens // length:5} "
                    f"{statistics.median(ours):8.2f} {statistics.median(peers):8.2f} "
                    f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                    flush=True,
                )


def rates(name: str, length: int, dtype: str) -> tuple[list[float], list[float]]:
    """Returns the sequences/s of ours and of the peer, one of each for every turn."""
    model = MODELS[name]
    case = make_case(model, length, dtype)
    results = ([], [])
    for turn in range(FLAGS.repeats):
        for side, run, rates_of_side in zip(
            ("ours", "peer"), (our_run, peer_run), results, strict=True
        ):
            seconds = statistics.median(run(case)[model.warmup_steps :])
            rates_of_side.append(model.tokens // length / seconds)
            logging.info(
                "turn %d: %s %d %s, %s: %.3f s a step", turn + 1, name, length, dtype, side, seconds
            )
    return results


def make_case(model: Model, length: int, dtype: str) -> dict:
    """Returns all that a worker needs to know, ready for JSON; the batch is random, of `length` real tokens a sequence."""
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
