"""Speed and memory of making pre-training records from text: the original's algorithm, and ours.

    python -m benchmarks.create_pretraining_data                              # the builder against the original
    python -m benchmarks.create_pretraining_data --reproduce_original --megabytes=1
    python -m benchmarks.create_pretraining_data --measure=workers --copies=10
    python -m benchmarks.create_pretraining_data --measure=memory --copies=11 --copies=108 --copies=431

The original is a plain transcription (`benchmarks/original_pretraining_data.py`). One process each, in turn; a ratio is
that of two runs of the same turn, in processor time, which other programs on the machine disturb less. What a process
needs once whatever the text is left out of it on both sides: Python, TensorFlow, and the tables of the tokenizer (which
`--measure=workers` and `memory` include).
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import flags

from benchmarks import original_pretraining_data
from pretraining import builder
from pretraining.original_records import reproduce
from pretraining.recipe import Recipe
from tokenization import load_vocab
from training import app

FLAGS = flags.FLAGS

MEASURES = ("ratio", "workers", "memory")
SECONDS_BETWEEN_LOOKS = 0.5


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("input_file", "../shared/data/corpus/gutenberg.txt", "Text in UTF-8.")
    flags.DEFINE_string("vocab_file", "../shared/data/vocab/uncased_vocab.txt", "Vocabulary.")
    flags.DEFINE_enum("measure", "ratio", MEASURES, "What to measure.")
    flags.DEFINE_float("megabytes", None, "How much of the text, from its start (default: all).")
    flags.DEFINE_multi_integer("copies", [1], "The text so many times over; may be repeated.")
    flags.DEFINE_integer("dupe_factor", 10, "Passes over the text.", 1)
    flags.DEFINE_bool("reproduce_original", False, "Ours is --reproduce_original too.")
    flags.DEFINE_integer("repeats", 3, "Turns.", 1)


def main() -> None:
    """Measures and prints a table."""
    with tempfile.TemporaryDirectory() as folder:
        {"ratio": measure_ratio, "workers": measure_workers, "memory": measure_memory}[
            FLAGS.measure
        ](folder)


def measure_ratio(folder: str) -> None:
    """Times the original and ours in turn, one process each."""
    ours = reproduction if FLAGS.reproduce_original else build
    text, megabytes = prepare_text(folder, FLAGS.copies[0])
    outputs = [os.path.join(folder, name) for name in ("original", "ours")]
    if ours is build:
        build(write_start(text, folder), os.path.join(folder, "start"))
    speeds = {"original, transcribed": [], "ours": []}
    for _ in range(FLAGS.repeats):
        for name, make, output in zip(speeds, (original, ours), outputs, strict=True):
            speeds[name].append(megabytes / seconds(make, text, output))
    records = [count(output) for output in outputs]
    print(f"{megabytes:.2f} MB, {FLAGS.dupe_factor} passes, {records[0]} and {records[1]} records")
    for name, values in speeds.items():
        print(f"{name:22} {spread(values)} MB/s")
    print(f"{'ratio':22} {spread([b / a for a, b in zip(*speeds.values(), strict=True)])}")


def measure_workers(folder: str) -> None:
    """Times the whole command with one worker and with two, in turn, on the clock."""
    text, megabytes = prepare_text(folder, FLAGS.copies[0])
    times = {1: [], 2: []}
    for _ in range(FLAGS.repeats):
        for workers, values in times.items():
            start = time.perf_counter()
            command(text, os.path.join(folder, "records"), workers).wait()
            values.append(time.perf_counter() - start)
    print(f"{megabytes:.0f} MB, {FLAGS.dupe_factor} passes")
    for workers, values in times.items():
        print(f"{workers} worker(s)            {spread(values)} s")
    print(f"{'ratio':22} {spread([a / b for a, b in zip(times[1], times[2], strict=True)])}")


def measure_memory(folder: str) -> None:
    """Runs the whole command with two workers, and prints the peak of each of its processes."""
    for copies in FLAGS.copies:
        text, megabytes = prepare_text(folder, copies)
        start = time.perf_counter()
        process = command(text, os.path.join(folder, "records"), 2)
        peaks = watch(process)
        print(f"{megabytes:.0f} MB of text, {time.perf_counter() - start:.0f} s:", flush=True)
        for role, sizes in peaks.items():
            print(f"    {role:8} " + ", ".join(f"{k} {v / 1e6:.0f} MB" for k, v in sizes.items()))


def watch(process: subprocess.Popen) -> dict[str, dict[str, int]]:
    """Returns, until a process ends, the largest memory in bytes of it and of any of its children."""
    peaks = {"parent": {}, "worker": {}}
    while process.poll() is None:
        for role, pid in [("parent", process.pid), *(("worker", c) for c in children(process.pid))]:
            for name, size in memory(pid).items():
                peaks[role][name] = max(size, peaks[role].get(name, 0))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise RuntimeError(f"the command ended with status {process.returncode}")
    return peaks


def children(pid: int) -> Iterator[str]:
    """Yields the children of a process; none if it has ended."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            yield from file.read().split()
    except OSError:
        return


def memory(pid: int | str) -> dict[str, int]:
    """Returns what a process has in memory: bytes resident in all, its own, and its own that it alone uses."""
    names = {"Rss": "resident", "Anonymous": "anonymous", "Private_Dirty": "not shared"}
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            fields = dict(line.split(":") for line in list(file)[1:])
    except OSError:
        return {}
    return {names[name]: int(fields[name].split()[0]) * 1024 for name in names}


def command(text: str, output: str, workers: int) -> subprocess.Popen:
    """Starts create_pretraining_data.py."""
    arguments = {
        "input_file": text,
        "output_file": output,
        "vocab_file": FLAGS.vocab_file,
        "dupe_factor": FLAGS.dupe_factor,
        "num_workers": workers,
    }
    flags_given = [f"--{name}={value}" for name, value in arguments.items()]
    return subprocess.Popen(
        [sys.executable, "create_pretraining_data.py", *flags_given], stderr=subprocess.DEVNULL
    )


def original(text: str, output: str) -> None:
    """The yardstick."""
    vocab = load_vocab(FLAGS.vocab_file)
    original_pretraining_data.create_records(text, output, vocab, FLAGS.dupe_factor, False, 12345)


def build(text: str, output: str) -> None:
    """What create_pretraining_data.py does, without its checks and log."""
    builder.build(recipe(), [text], [output])


def reproduction(text: str, output: str) -> None:
    """What create_pretraining_data.py does with --reproduce_original, without its checks and log."""
    reproduce(recipe(), text, [output])


def recipe() -> Recipe:
    """Returns the recipe of the original's defaults."""
    return Recipe(FLAGS.vocab_file, dupe_factor=FLAGS.dupe_factor)


def seconds(make: Callable[[str, str], None], text: str, output: str) -> float:
    """Returns the processor time that `make` takes."""
    start = time.process_time()
    make(text, output)
    return time.process_time() - start


def spread(values: list[float]) -> str:
    """Returns median, least and most."""
    return f"{statistics.median(values):6.3f} ({min(values):.3f} to {max(values):.3f})"


def prepare_text(folder: str, copies: int) -> tuple[str, float]:
    """Writes the text so many times over; returns its path and its size in megabytes."""
    with open(FLAGS.input_file, "rb") as file:
        content = file.read(-1 if FLAGS.megabytes is None else int(FLAGS.megabytes * 1e6))
    content = content[: content.rindex(b"\n") + 1] + b"\n"
    path = os.path.join(folder, "text")
    with open(path, "wb") as file:
        for _ in range(copies):
            file.write(content)
    return path, copies * len(content) / 1e6


def write_start(text: str, folder: str) -> str:
    """Writes the start of a text into a file of its own and returns its path."""
    path = os.path.join(folder, "start.txt")
    with open(text, "rb") as source, open(path, "wb") as file:
        file.write(b"".join(source.readlines(1 << 16)))
    return path


def count(path: str) -> int:
    """Returns the number of records of a file."""
    return sum(1 for _ in tf.data.TFRecordDataset(path))


if __name__ == "__main__":
    define_flags()
    app.run(main)
