"""Wall time of one epoch of fine-tuning on the CPU: padded, in length buckets, and HuggingFace transformers.

    python -m benchmarks.finetuning --peer_python=hf/bin/python --hf_dir=... --model_dir=... --dtypes=float32

The same weights for all, `hf_dir` with them as published and `model_dir` as convert_checkpoint.py writes them; MRPC
whole, of SST-2 as many examples as `--max_examples`, chosen at random once for all. Ours is `run_classifier.py` as a
user runs it, without and with `--length_buckets`; the peer is benchmarks/finetuning_transformers.py, which pads each
batch to its longest example. They take turns, each in a process of its own. Compared is the wall time of training: from
the first checkpoint to the last, with tracing and the writing of the last, of the peer the loop alone, both without
reading and tokenizing; that of the whole command stands beside it. A ratio is that of two runs of the same turn.

The machine must be quiet: the last column is the most CPUs that other programs took while one ran.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import itertools
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from absl import flags, logging

from benchmarks.train_step import busy_seconds, children_seconds
from finetuning.task_files import read_examples
from finetuning.tasks import TASKS
from tokenization.files import read_lines, write_text

FLAGS = flags.FLAGS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = ROOT / "benchmarks" / "finetuning_transformers.py"
FOLDERS = {"mrpc": "MRPC", "sst-2": "SST-2"}


class Case(NamedTuple):
    """What is trained on: a task, the folder with its train.tsv, and a precision."""

    task: str
    folder: str
    dtype: str


class Trained(NamedTuple):
    """What one process took."""

    seconds: float  # of training
    padding: float  # share of the positions
    command_seconds: float = 0.0
    others: float = 0.0  # CPUs that other programs took meanwhile


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("peer_python", None, "Python interpreter with torch and transformers.")
    flags.DEFINE_string("hf_dir", None, "HuggingFace folder with the weights.")
    flags.DEFINE_string("model_dir", None, "Folder with them as convert_checkpoint.py writes it.")
    flags.DEFINE_string("glue_dir", "../shared/data/glue", "Folder with MRPC and SST-2.")
    flags.DEFINE_multi_enum("tasks", list(FOLDERS), list(FOLDERS), "Which tasks.")
    flags.DEFINE_multi_enum(
        "dtypes", ["float32", "bfloat16"], ["float32", "bfloat16"], "Which precisions."
    )
    flags.DEFINE_string("length_buckets", "auto", "As of run_classifier.py.")
    flags.DEFINE_integer("max_seq_length", 128, "As of run_classifier.py.", 3)
    flags.DEFINE_integer("train_batch_size", 32, "Examples in an update.", 1)
    flags.DEFINE_integer("max_examples", 8000, "Most examples of a task.", 1)
    flags.DEFINE_integer("repeats", 3, "Turns of all.", 1)


def main() -> None:
    """Measures every combination of the flags and prints a table, a task as soon as it is known."""
    if not shutil.which(FLAGS.peer_python):
        raise ValueError(f"--peer_python={FLAGS.peer_python} is no program")
    print(
        f"seconds of an epoch, median of {FLAGS.repeats}; batches of {FLAGS.train_batch_size}, at most "
        f"{FLAGS.max_seq_length} tokens, --length_buckets={FLAGS.length_buckets}\n"
        "task  dtype    way     training examples/s padding padded/this (low to high) command  others' CPUs"
    )
    for task, dtype in itertools.product(FLAGS.tasks, FLAGS.dtypes):
        with tempfile.TemporaryDirectory() as folder:
            count = write_sample(task, folder)
            case = Case(task, folder, dtype)
            ways = {"padded": ours, "buckets": in_buckets, "peer": peer}
            turns = [[measure(way, case) for way in ways.values()] for _ in range(FLAGS.repeats)]
        for name, runs in zip(ways, zip(*turns, strict=True), strict=True):
            ratios = [turn[0].seconds / run.seconds for turn, run in zip(turns, runs, strict=True)]
            line = table_line(count, runs, ratios)
            print(f"{task:5} {dtype:8} {name:7} {line}", flush=True)


def table_line(count: int, runs: tuple[Trained], ratios: list[float]) -> str:
    """Returns the numbers of one way to train on so many examples."""
    seconds, paddings, commands, others = zip(*runs, strict=True)
    middle, spread = statistics.median(seconds), f"({min(ratios):.2f} to {max(ratios):.2f})"
    return (
        f"{middle:8.1f} {count / middle:10.1f} {paddings[0]:7.1%} {statistics.median(ratios):8.2f} {spread:20} "
        f"{statistics.median(commands):7.1f} {max(others):8.2f}"
    )


def write_sample(task: str, folder: str) -> int:
    """Writes train.tsv, the same in every run, and returns the number of its examples."""
    header, *lines = read_lines(os.path.join(FLAGS.glue_dir, FOLDERS[task], "train.tsv"))
    chosen = random.Random(1).sample(lines, min(FLAGS.max_examples, len(lines)))
    write_text(os.path.join(folder, "train.tsv"), "".join(f"{x}\n" for x in (header, *chosen)))
    return len(chosen)


def measure(way: Callable[[Case], Trained], case: Case) -> Trained:
    """Trains once."""
    start, busy, own = time.perf_counter(), busy_seconds(), children_seconds()
    trained = way(case)
    seconds = time.perf_counter() - start
    others = (busy_seconds() - busy) - (children_seconds() - own)
    trained = trained._replace(command_seconds=seconds, others=others / seconds)
    logging.info("%s, %s: %s", case, way.__name__, trained)
    return trained


def in_buckets(case: Case) -> Trained:
    """Trains with run_classifier.py and length buckets."""
    return ours(case, FLAGS.length_buckets)


def ours(case: Case, length_buckets: str = "") -> Trained:
    """Trains with run_classifier.py."""
    with tempfile.TemporaryDirectory() as output_dir:
        run_flags = {
            "task_name": case.task,
            "data_dir": case.folder,
            "vocab_file": os.path.join(FLAGS.model_dir, "vocab.txt"),
            "bert_config_file": os.path.join(FLAGS.model_dir, "bert_config.json"),
            "init_checkpoint": os.path.join(FLAGS.model_dir, "bert_model.ckpt"),
            "max_seq_length": FLAGS.max_seq_length,
            "length_buckets": length_buckets,
            "train_batch_size": FLAGS.train_batch_size,
            "save_checkpoints_steps": 10**9,
            "num_train_epochs": 1.0,
            "dtype": case.dtype,
            "do_train": "true",
            "output_dir": output_dir,
        }
        listed = [f"--{name}={value}" for name, value in run_flags.items()]
        command = [sys.executable, str(ROOT / "run_classifier.py"), *listed]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise ValueError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        written = [path.stat().st_mtime for path in pathlib.Path(output_dir).glob("*.index")]
    padding = re.search(r"train: \d+ records, ([\d.]+)% of their positions", done.stderr)[1]
    return Trained(max(written) - min(written), float(padding) / 100)


def peer(case: Case) -> Trained:
    """Trains with transformers."""
    examples = read_examples(TASKS[case.task], case.folder, "train")
    settings = {
        "hf_dir": FLAGS.hf_dir,
        "texts": [[text for text in example[1:3] if text is not None] for example in examples],
        "labels": [int(example.label) for example in examples],
        "dtype": case.dtype,
        "batch_size": FLAGS.train_batch_size,
        "max_seq_length": FLAGS.max_seq_length,
    }
    command = [FLAGS.peer_python, str(PEER)]
    done = subprocess.run(command, input=json.dumps(settings), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(command)} failed with status {done.returncode}, see above")
    return Trained(**json.loads(done.stdout))


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["peer_python", "hf_dir", "model_dir"])
    app.run(main)
