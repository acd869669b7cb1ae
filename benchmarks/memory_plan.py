"""The memory that training/memory_plan.py expects of a step on the CPU, against what a process grows by.

    python -m benchmarks.memory_plan

Every line is a process of its own, which loads the program and makes a step of a tiny model before the measurement
begins; then come the model, the optimizer and steps of pre-training, as training/loop.py makes them on a CPU. The order
in which the executor's threads work is not fixed: some processes grow by a quarter more in one run than in another.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import math
from typing import NamedTuple

import tensorflow as tf

from benchmarks.rematerialize import (
    HEAD_SIZE,
    MASKED,
    VOCAB_SIZE,
    in_a_process,
    peak_memory,
    present_memory,
    random_batch,
)
from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from training.memory_plan import Workload, training_memory
from training.optimizer import AdamWeightDecay
from training.strategy import set_seed_and_precision
from training.train_step import train_step

STEPS = 3


class Case(NamedTuple):
    """What one process trains."""

    dtype: str
    rematerialize: bool
    layers: int
    hidden: int
    length: int
    sequences: int  # of a micro-batch
    micro_batches: int


CASES = [
    Case("float32", False, 4, 256, 256, 24, 1),
    Case("float32", False, 8, 512, 128, 16, 1),
    Case("float32", False, 4, 256, 512, 8, 4),
    Case("float32", True, 6, 256, 512, 16, 1),
    Case("bfloat16", False, 6, 384, 256, 16, 2),
]


def main() -> None:
    """Measures every case and prints a table, a line as soon as it is known."""
    print(
        "dtype     rematerialize  layers  hidden  length  sequences  micro-batches  expected  measured MiB  ratio"
    )
    for case in CASES:
        parameters, measured = in_a_process(measure, case)
        expected = expected_memory(case, parameters)
        print(
            f"{case.dtype:9} {case.rematerialize!s:13} {case.layers:7} {case.hidden:7} {case.length:7} "
            f"{case.sequences:10} {case.micro_batches:14} {expected / 2**20:9.0f} {measured / 2**20:13.0f} "
            f"{expected / measured:6.2f}",
            flush=True,
        )


def expected_memory(case: Case, parameters: int) -> int:
    """Returns the bytes that the plan expects."""
    work = Workload(
        config_of(case), parameters, parameters, case.length, MASKED * VOCAB_SIZE, case.dtype, False
    )
    return training_memory(work, case.sequences, case.micro_batches, case.rematerialize).total


def config_of(case: Case) -> BertConfig:
    """Returns the architecture of a case."""
    return BertConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=case.hidden,
        num_hidden_layers=case.layers,
        num_attention_heads=case.hidden // HEAD_SIZE,
        intermediate_size=4 * case.hidden,
        max_position_embeddings=case.length,
    )


def measure(case: Case) -> tuple[int, int]:
    """Returns the number of parameters, and by how many bytes this process grew in all."""
    set_seed_and_precision(0, case.dtype)
    make_steps(case._replace(layers=1, hidden=HEAD_SIZE, sequences=1, micro_batches=1))
    before = present_memory()
    parameters = make_steps(case)
    return parameters, peak_memory() - before


def make_steps(case: Case) -> int:
    """Trains a new model for some steps, and returns the number of its parameters."""
    model = BertPretrainer(config_of(case), case.rematerialize)
    optimizer = AdamWeightDecay(model.trainable_variables, 1e-4, 1000, 100)
    batch = random_batch(case.sequences * case.micro_batches, case.length)

    @tf.function(autograph=False)
    def step(batch):
        return train_step(model, OBJECTIVE, optimizer, batch, 0, case.micro_batches)

    for _ in range(STEPS):
        step(batch)
    return sum(math.prod(variable.shape) for variable in model.variables)


if __name__ == "__main__":
    app.run(main)
