"""Speed of training on packed rows, and how much of the rows is padding.

    python -m benchmarks.packing --input_file=books.txt --vocab_file=vocab.txt

The same sequences are written as rows of their own and packed, by the builder of create_pretraining_data.py. Steps of
run_pretraining.py on both take turns: forward and backward pass, clipping, update, dropout on. Rows take the same
time whatever is in them, so that their sequences decide. Time is processor time, which other programs on the machine
disturb less; with one thread (TF_NUM_INTRAOP_THREADS=1) it is that of a quiet machine.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from absl import flags

from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.builder import build
from pretraining.objective import MASKED_LM_OBJECTIVE, OBJECTIVE
from pretraining.recipe import OBJECTIVES, Recipe
from pretraining.records import asks_next_sentence, schema_of
from tokenization import load_vocab
from training.batches import train_batches
from training.optimizer import AdamWeightDecay
from training.record_files import ScannedFile, scan_files
from training.strategy import set_seed_and_precision
from training.train_step import train_step

FLAGS = flags.FLAGS


class Records(NamedTuple):
    """What the builder made."""

    files: list[ScannedFile]
    manifest: dict


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("input_file", "../shared/data/corpus/gutenberg.txt", "Text in UTF-8.")
    flags.DEFINE_string("vocab_file", "../shared/data/vocab/uncased_vocab.txt", "Vocabulary.")
    flags.DEFINE_string("bert_config_file", None, "Model to train (default: BERT-base).")
    flags.DEFINE_multi_enum(
        "objectives", ["next_sentence", "doc_sentences"], OBJECTIVES, "Which objectives."
    )
    flags.DEFINE_integer("max_seq_length", 512, "Tokens of a row.", 8)
    flags.DEFINE_integer("max_predictions_per_seq", 80, "Masked tokens of a row.", 1)
    flags.DEFINE_multi_integer("slots", [2, 4, 8], "How many sequences a row has room for.", 2)
    flags.DEFINE_integer("train_batch_size", 4, "Rows of a step.", 1)
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Precision of products.")
    flags.DEFINE_integer("repeats", 5, "Timed steps on rows of each kind.", 1)


def main() -> None:
    """Makes records, trains on them and prints a table."""
    print(f"{FLAGS.input_file}, length {FLAGS.max_seq_length}, {FLAGS.dtype}; medians")
    print("objective       slots    rows  sequences in a row  padding  rows/s  sequences/s   gain")
    for objective in FLAGS.objectives:
        with tempfile.TemporaryDirectory() as folder:
            records = {slots: make(folder, objective, slots) for slots in (1, *FLAGS.slots)}
            seconds = time_steps({slots: made.files for slots, made in records.items()})
        rates = {}
        for slots, (_, manifest) in records.items():
            summary, rows = manifest["summary"], FLAGS.train_batch_size / seconds[slots]
            rates[slots] = rows * summary["sequences_per_row"]
            print(
                f"{objective:15} {slots:5} {manifest['statistics']['rows']:7} "
                f"{summary['sequences_per_row']:19.2f} {summary['padding_share']:8.1%} {rows:7.3f} "
                f"{rates[slots]:12.3f} {rates[slots] / rates[1]:6.2f}",
                flush=True,
            )


def make(folder: str, objective: str, slots: int) -> Records:
    """Writes the records of one objective, with so many sequences in a row."""
    recipe = Recipe(
        FLAGS.vocab_file,
        objective=objective,
        max_seq_length=FLAGS.max_seq_length,
        dupe_factor=1,
        max_predictions_per_seq=FLAGS.max_predictions_per_seq,
        max_sequences_per_row=slots,
    )
    path = os.path.join(folder, f"{slots}.tfrecord")
    manifest = build(recipe, [FLAGS.input_file], [path])
    return Records(scan_files([path]), manifest)


def time_steps(kinds: dict[int, list[ScannedFile]]) -> dict[int, float]:
    """Returns the processor time of a step on records of each kind, one model for all."""
    set_seed_and_precision(1, FLAGS.dtype)
    model = BertPretrainer(model_config())
    optimizer = AdamWeightDecay(model.trainable_variables, 1e-4, 10000, 100)
    steps = {kind: make_step(model, optimizer, files) for kind, files in kinds.items()}
    for step in steps.values():  # traces
        step()
    turns = [{kind: seconds(step) for kind, step in steps.items()} for _ in range(FLAGS.repeats)]
    return {kind: statistics.median(turn[kind] for turn in turns) for kind in kinds}


def model_config() -> BertConfig:
    """Returns the model to train, large enough for the rows and the vocabulary."""
    config = BertConfig(vocab_size=1, type_vocab_size=2)
    if FLAGS.bert_config_file:
        config = BertConfig.from_json_file(FLAGS.bert_config_file)
    return dataclasses.replace(
        config,
        vocab_size=max(load_vocab(FLAGS.vocab_file).values()) + 1,
        max_position_embeddings=FLAGS.max_seq_length,
    )


def make_step(model: BertPretrainer, optimizer: AdamWeightDecay, files: list) -> Callable[[], None]:
    """Returns a function that makes one update on the next batch of the records."""
    objective = OBJECTIVE if asks_next_sentence(files) else MASKED_LM_OBJECTIVE
    spec = schema_of(files, FLAGS.max_seq_length, FLAGS.max_predictions_per_seq)
    batches = iter(train_batches(files, spec, FLAGS.train_batch_size, seed=0))
    update = tf.function(lambda batch: train_step(model, objective, optimizer, batch, seed=0))
    return lambda: update(next(batches))["loss"].numpy()


def seconds(step: Callable[[], None]) -> float:
    """Returns the processor time of a step."""
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    define_flags()
    app.run(main)
