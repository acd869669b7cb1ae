"""Wall time of one epoch of fine-tuning on the CPU: padded, in length buckets, and HuggingFace transformers.

    python -m benchmarks.finetuning --peer_python=hf/bin/python --hf_dir=... --model_dir=... --dtypes=float32

The same weights for all, `hf_dir` with them as published and `model_dir` as convert_checkpoint.py writes them; MRPC
whole, of SST-2 as many examples as `--max_examples`, chosen at random once for all. Ours is `run_classifier.py` as a
user runs it, without and with `--length_buckets`; the peer is benchmarks/finetuning_transformers.py, which pads each
batch to its longest example. They take turns, each in a process of its own. Compared is the wall time of training: from
the first checkpoint to the last, with tracing and the writing of the last, of the peer the loop alone, both without
reading and tokenizing; that of the whole command stands beside it. A ratio is to the first way in the same turn.

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
from collections.abc import Callable, Iterable
from typing import NamedTuple

from absl import flags, logging

from benchmarks.train_step import busy_seconds, children_seconds
from finetuning.task_files import read_examples
from finetuning.tasks import TASKS, Example
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
    ways = ["padded", "buckets", "peer"]
    flags.DEFINE_multi_enum("ways", ways, ways, "Which ways to train; ratios are to the first.")
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
        "task  dtype    way     training examples/s padding first/this (low to high) command  others' CPUs"
    )
    for task, dtype in itertools.product(FLAGS.tasks, FLAGS.dtypes):
        with tempfile.TemporaryDirectory() as folder:
            count = write_sample(os.path.join(FLAGS.glue_dir, FOLDERS[task]), True, folder)
            case = Case(task, folder, dtype)
            ways = [{"padded": ours, "buckets": in_buckets, "peer": peer}[w] for w in FLAGS.ways]
            turns = [[measure(way, case) for way in ways] for _ in range(FLAGS.repeats)]
        for name, runs in zip(FLAGS.ways, zip(*turns, strict=True), strict=True):
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


def write_sample(published: str, has_header: bool, folder: str) -> int:
    """Writes train.tsv, the same in every run, and returns the number of its examples."""
    lines = list(read_lines(os.path.join(published, "train.tsv")))
    header, lines = lines[:has_header], lines[has_header:]
    chosen = random.Random(1).sample(lines, min(FLAGS.max_examples, len(lines)))
    write_text(os.path.join(folder, "train.tsv"), "".join(f"{x}\n" for x in (*header, *chosen)))
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
        log = run_ours(
            "run_classifier.py",
            FLAGS.model_dir,
            task_name=case.task,
            data_dir=case.folder,
            max_seq_length=FLAGS.max_seq_length,
            length_buckets=length_buckets,
            train_batch_size=FLAGS.train_batch_size,
            save_checkpoints_steps=10**9,
            num_train_epochs=1.0,
            dtype=case.dtype,
            output_dir=output_dir,
        )
        written = [path.stat().st_mtime for path in pathlib.Path(output_dir).glob("*.index")]
    padding = re.search(r"train: \d+ records, ([\d.]+)% of their positions", log)[1]
    return Trained(max(written) - min(written), float(padding) / 100)


def run_ours(script: str, model_dir: str, num_threads: int | None = None, **run_flags) -> str:
    """Trains with one of our scripts in a process of its own, and returns what it logs.

    Args:
      script: name of the file.
      model_dir: folder with weights as convert_checkpoint.py writes it.
      num_threads: of an operation; None: all that this process may use.
      **run_flags: the script's other flags.
    """
    run_flags |= {
        "do_train": "true",
        "vocab_file": os.path.join(model_dir, "vocab.txt"),
        "bert_config_file": os.path.join(model_dir, "bert_config.json"),
        "init_checkpoint": os.path.join(model_dir, "bert_model.ckpt"),
    }
    listed = [f"--{name}={value}" for name, value in run_flags.items()]
    command = [sys.executable, str(ROOT / script), *listed]
    threads = {"TF_NUM_INTRAOP_THREADS": str(num_threads)} if num_threads else {}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=os.environ | threads)
    if done.returncode:
        raise ValueError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stderr


def peer(case: Case) -> Trained:
    """Trains with transformers."""
    examples = read_examples(TASKS[case.task], case.folder, "train")
    report = run_peer(
        peer_settings(
            hf_dir=FLAGS.hf_dir,
            num_labels=2,
            texts=texts_of(examples),
            labels=[int(example.label) for example in examples],
            dtype=case.dtype,
            batch_size=FLAGS.train_batch_size,
            max_seq_length=FLAGS.max_seq_length,
        ),
        FLAGS.peer_python,
    )
    return Trained(report["seconds"], report["padding"])


def texts_of(examples: Iterable[Example]) -> list[list[str]]:
    """Returns the one or two texts of each example."""
    return [[text for text in example[1:3] if text is not None] for example in examples]


def peer_settings(
    *,
    hf_dir: str,
    num_labels: int,
    texts: list,
    labels: list,
    dev_texts: list | None = None,
    dev_labels: list | None = None,
    kind: str = "single",
    dtype: str = "float32",
    batch_size: int = 32,
    max_seq_length: int = 128,
    num_epochs: int = 1,
    learning_rate: float = 5e-5,
    num_threads: int | None = None,
    seed: int = 1,
) -> dict:
    """Returns what benchmarks/finetuning_transformers.py reads.

    Args:
      hf_dir: HuggingFace folder with the weights.
      num_labels: outputs of the model.
      texts: of each example a list of one or two texts, or of words.
      labels: ids, numbers, or of each example a list with the tag of each word.
      dev_texts, dev_labels: the same of what is to be predicted; of the labels only the shape counts.
      kind: single, regression or tagging.
      dtype: float32, or bfloat16 for PyTorch's autocast.
      batch_size, max_seq_length, num_epochs, learning_rate, seed: as the flags of run_classifier.py.
      num_threads: of PyTorch; None: all that this process may use.
    """
    settings = dict(locals())
    return settings | {"num_threads": num_threads or len(os.sched_getaffinity(0))}


def run_peer(settings: dict, python: str) -> dict:
    """Trains with transformers in a process of its own, and returns what it reports."""
    done = subprocess.run(
        [python, str(PEER)], input=json.dumps(settings), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise ValueError(f"{PEER} failed with status {done.returncode}, see above")
    return json.loads(done.stdout)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["peer_python", "hf_dir", "model_dir"])
    app.run(main)
