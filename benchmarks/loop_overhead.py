"""What the training loop adds to the bare step, on the CPU.

    python -m benchmarks.loop_overhead

The bare step is called again and again with one batch that lies ready. The loop is `training.loop.train` as the
scripts call it: it reads, shuffles and parses records, looks for what is not finite, reports to the log, to
TensorBoard and to metrics.jsonl, and saves checkpoints. Both train one model in one process and take turns; steps that
trace do not count. The size is that of the demo, where a step is short and the loop weighs most.

Wall time wants a quiet machine. Processor time stands other programs, and counts what runs beside the step too.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import pathlib
import statistics
import tempfile
import time
from typing import NamedTuple

import tensorflow as tf
from absl import flags

from benchmarks.rematerialize import random_batch
from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from pretraining.records import feature_spec
from training.batches import train_batches
from training.loop import train
from training.optimizer import AdamWeightDecay
from training.progress import Progress
from training.record_files import scan_files
from training.run_state import RunState
from training.train_step import train_step

FLAGS = flags.FLAGS

CONFIG = pathlib.Path(__file__).resolve().parent.parent / "examples" / "bert_config.json"
MASKED = 20  # positions in a sequence, as benchmarks.rematerialize has them
NUM_RECORDS = 3000


class Seconds(NamedTuple):
    """Of one step."""

    wall: float
    processor: float


class Clock:
    """Both times since it was made."""

    def __init__(self):
        self._start = time.perf_counter(), time.process_time()

    def each(self, count: int) -> Seconds:
        """Returns the seconds for each of `count` steps."""
        wall, processor = time.perf_counter(), time.process_time()
        return Seconds((wall - self._start[0]) / count, (processor - self._start[1]) / count)


class TimedProgress(Progress):
    """Reports as usual; `seconds` is the time of a step from the first step to the end."""

    def report(self, step, history, seconds):
        """Also takes the time, of the loop as a whole."""
        super().report(step, history, seconds)
        if len(history["loss"]) == 1:
            self.clock, self.first = Clock(), step
        else:
            self.seconds = self.clock.each(step - self.first)


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_integer("steps", 200, "Steps in a turn.", 2)
    flags.DEFINE_integer("turns", 5, "Turns of both sides.", 1)
    flags.DEFINE_integer("batch_size", 32, "Sequences.", 1)
    flags.DEFINE_integer("max_seq_length", 128, "Length of a sequence.", MASKED)
    flags.DEFINE_integer("save_checkpoints_steps", 1000, "Steps between checkpoints.", 1)


def main() -> None:
    """Lets both sides take turns and prints their times and ratios."""
    model = BertPretrainer(BertConfig.from_json_file(str(CONFIG)))
    optimizer = AdamWeightDecay(model.trainable_variables, 1e-4, 10**6, 100)
    step = tf.function(lambda batch: train_step(model, OBJECTIVE, optimizer, batch, seed=0))
    batch = random_batch(FLAGS.batch_size, FLAGS.max_seq_length)
    step(batch)
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        records = write_records(folder)
        for _ in range(FLAGS.turns):
            turns.append((bare(step, batch), looped(model, optimizer, records, folder)))
    for number, name in enumerate(Seconds._fields):
        pairs = [(one[number], other[number]) for one, other in turns]
        added = [other / one - 1.0 for one, other in pairs]
        print(
            f"{name + ' time':15} bare {statistics.median(one for one, _ in pairs) * 1e3:7.2f} ms a step, "
            f"the loop adds {statistics.median(added):.2%} ({min(added):.2%} to {max(added):.2%})"
        )


def bare(step, batch) -> Seconds:
    """Returns the time of the step alone."""
    clock = Clock()
    for _ in range(FLAGS.steps):
        step(batch)["loss"].numpy()
    return clock.each(FLAGS.steps)


def looped(model, optimizer, records: str, folder: str) -> Seconds:
    """Returns the time of a step in the loop, after the first one."""
    first = int(optimizer.global_step.numpy())
    last = first + 1 + FLAGS.steps
    spec = feature_spec(FLAGS.max_seq_length, MASKED)
    progress = TimedProgress(folder, last, FLAGS.batch_size)
    train(
        model,
        OBJECTIVE,
        optimizer,
        tf.distribute.get_strategy(),
        train_batches(scan_files([records]), spec, FLAGS.batch_size, 0, first),
        RunState(folder),
        progress,
        num_train_steps=last,
        seed=0,
        save_checkpoints_steps=FLAGS.save_checkpoints_steps,
    )
    return progress.seconds


def write_records(folder: str) -> str:
    """Writes records of random tokens and returns the path of the file."""
    columns = random_batch(NUM_RECORDS, FLAGS.max_seq_length)
    path = f"{folder}/records.tfrecord"
    with tf.io.TFRecordWriter(path) as writer:
        for row in range(NUM_RECORDS):
            example = tf.train.Example()
            for name, values in columns.items():
                feature = example.features.feature[name]
                kind = feature.float_list if values.dtype == tf.float32 else feature.int64_list
                kind.value.extend(values[row].numpy().ravel())
            writer.write(example.SerializeToString())
    return path


if __name__ == "__main__":
    define_flags()
    app.run(main)
