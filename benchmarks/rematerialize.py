"""Memory and time of the pre-training step on the CPU, without and with --rematerialize.

    python -m benchmarks.rematerialize --num_hidden_layers=6 --hidden_size=256 --max_seq_length=256 --batch_size=16

Every line is a process of its own. Memory is what the process grows by when it makes its first steps: activations and
gradients, without the program, the model and the optimizer. Time is that of the processor, all threads together, so
that other programs disturb it little.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import concurrent.futures
import multiprocessing
import time
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from absl import flags

from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from training.optimizer import AdamWeightDecay
from training.strategy import set_seed_and_precision
from training.train_step import train_step

FLAGS = flags.FLAGS

HEAD_SIZE = 64
VOCAB_SIZE = 1000
MASKED = 20  # positions in a sequence
STEPS = 4


class Measurement(NamedTuple):
    """What one process measured."""

    growth: int  # bytes
    seconds: float  # of processor time, a step


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_integer("num_hidden_layers", 6, "Blocks.", 1)
    flags.DEFINE_integer("hidden_size", 256, f"A multiple of {HEAD_SIZE}.", HEAD_SIZE)
    flags.DEFINE_integer("max_seq_length", 256, "Length of a sequence.", MASKED)
    flags.DEFINE_integer("batch_size", 16, "Sequences.", 1)
    flags.DEFINE_multi_enum(
        "dtypes", ["float32", "bfloat16"], ["float32", "bfloat16", "float16"], "Which precisions."
    )


def main() -> None:
    """Measures every precision and prints a table, a line as soon as it is known."""
    print("dtype     rematerialize   MiB  CPU s/step")
    for dtype in FLAGS.dtypes:
        for rematerialize in (False, True):
            growth, seconds = in_a_process(
                measure,
                rematerialize,
                dtype,
                FLAGS.num_hidden_layers,
                FLAGS.hidden_size,
                FLAGS.max_seq_length,
                FLAGS.batch_size,
            )
            print(
                f"{dtype:9} {rematerialize!s:13} {growth / 2**20:5.0f} {seconds:11.2f}", flush=True
            )


def in_a_process(function: Callable, *case):
    """Returns `function(*case)` of a new process."""
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, fresh) as pool:
        return pool.submit(function, *case).result()


def measure(
    rematerialize: bool, dtype: str, layers: int, hidden: int, length: int, size: int
) -> Measurement:
    """Makes steps of pre-training as training/loop.py does on a CPU, in this process."""
    set_seed_and_precision(0, dtype)
    config = BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_SIZE,
        intermediate_size=4 * hidden,
        max_position_embeddings=length,
    )
    model = BertPretrainer(config, rematerialize=rematerialize)
    optimizer = AdamWeightDecay(model.trainable_variables, 1e-4, 1000, 100)
    step = tf.function(lambda batch: train_step(model, OBJECTIVE, optimizer, batch, seed=0))
    step(random_batch(1, length))
    batch = random_batch(size, length)
    step = step.get_concrete_function(batch)
    peak, seconds = peak_memory(), []
    for _ in range(STEPS):
        start = time.process_time()
        step(batch)
        seconds.append(time.process_time() - start)
    return Measurement(peak_memory() - peak, min(seconds))


def random_batch(size: int, length: int) -> dict[str, tf.Tensor]:
    """Returns records of random tokens without padding."""
    limits = {
        "input_ids": ([size, length], VOCAB_SIZE),
        "segment_ids": ([size, length], 2),
        "masked_lm_positions": ([size, MASKED], length),
        "masked_lm_ids": ([size, MASKED], VOCAB_SIZE),
        "next_sentence_labels": ([size, 1], 2),
    }
    batch = {
        name: tf.random.stateless_uniform(shape, [1, 2], 0, limit, tf.int32)
        for name, (shape, limit) in limits.items()
    }
    batch["input_mask"] = tf.ones([size, length], tf.int32)
    batch["masked_lm_weights"] = tf.ones([size, MASKED])
    return batch


def peak_memory() -> int:
    """Returns the largest memory of this process so far, in bytes; that of `getrusage` begins with its parent's."""
    return _memory("VmHWM")


def present_memory() -> int:
    """Returns the memory of this process, in bytes."""
    return _memory("VmRSS")


def _memory(field: str) -> int:
    with open("/proc/self/status") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields[field].split()[0]) * 1024


if __name__ == "__main__":
    define_flags()
    app.run(main)
