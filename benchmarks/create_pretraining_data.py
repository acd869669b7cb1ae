"""Speed of making pre-training records from text: the original's algorithm, and ours.

python -m benchmarks.create_pretraining_data

Both turn the same text into a file of the same records, in turn; a ratio is that of two runs of the same turn.
Time is processor time, which other programs on the machine disturb less. The start of Python is not part of it.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable

import tensorflow as tf
from absl import flags

from benchmarks import original_pretraining_data
from pretraining.original_documents import ReadCounts, read_documents
from pretraining.original_instances import InstanceMaker, create_instances
from pretraining.original_masking import Masker
from pretraining.records import record_writer
from tokenization import FullTokenizer, load_vocab
from training import app

FLAGS = flags.FLAGS

SEED = 12345
MAX_SEQ_LENGTH = 128
MAX_PREDICTIONS = 20


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("input_file", "../shared/data/corpus/gutenberg.txt", "Text in UTF-8.")
    flags.DEFINE_string("vocab_file", "../shared/data/vocab/uncased_vocab.txt", "Vocabulary.")
    flags.DEFINE_float("megabytes", 1.0, "How much of the text, from its start.", 0.001)
    flags.DEFINE_integer("dupe_factor", 10, "Passes over the text.", 1)
    flags.DEFINE_bool("do_whole_word_mask", False, "Mask all pieces of a word or none.")
    flags.DEFINE_integer("repeats", 5, "Turns of both.", 1)


def main() -> None:
    """Times both in turn, compares their records and prints a table."""
    speeds = {"original, transcribed": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "text")
        megabytes = copy_start(FLAGS.input_file, text, int(FLAGS.megabytes * 1e6)) / 1e6
        outputs = [os.path.join(folder, name) for name in ("original", "ours")]
        for _ in range(FLAGS.repeats):
            for speed, make, output in zip(speeds, (original, ours), outputs, strict=True):
                speeds[speed].append(megabytes / seconds(make, text, output))
        records = [parsed(output) for output in outputs]
    if records[0] != records[1]:
        raise ValueError("the two made different records")
    print(f"{megabytes:.2f} MB, {FLAGS.dupe_factor} passes, {len(records[0])} equal records")
    for name, values in speeds.items():
        print(f"{name:22} {spread(values)} MB/s")
    ratios = [b / a for a, b in zip(*speeds.values(), strict=True)]
    print(f"{'ratio':22} {spread(ratios)}")


def original(text: str, output: str) -> None:
    """The yardstick."""
    original_pretraining_data.create_records(
        text,
        output,
        load_vocab(FLAGS.vocab_file),
        FLAGS.dupe_factor,
        FLAGS.do_whole_word_mask,
        SEED,
        MAX_SEQ_LENGTH,
        MAX_PREDICTIONS,
    )


def ours(text: str, output: str) -> None:
    """What create_pretraining_data.py does with --reproduce_original, without its checks and log."""
    rng = random.Random(SEED)
    tokenizer = FullTokenizer(FLAGS.vocab_file)
    vocab = tokenizer.vocab
    documents = list(read_documents([text], tokenizer.encode, ReadCounts(), True))
    rng.shuffle(documents)
    masker = Masker(vocab, 0.15, MAX_PREDICTIONS, FLAGS.do_whole_word_mask, True)
    maker = InstanceMaker(
        documents, vocab["[CLS]"], vocab["[SEP]"], masker, rng, MAX_SEQ_LENGTH, 0.1, True
    )
    instances = list(create_instances(maker, FLAGS.dupe_factor))
    rng.shuffle(instances)
    with record_writer([output], MAX_SEQ_LENGTH, MAX_PREDICTIONS) as write:
        for instance in instances:
            write(instance)


def seconds(make: Callable[[str, str], None], text: str, output: str) -> float:
    """Returns the processor time that `make` takes."""
    start = time.process_time()
    make(text, output)
    return time.process_time() - start


def spread(values: list[float]) -> str:
    """Returns median, least and most."""
    return f"{statistics.median(values):6.3f} ({min(values):.3f} to {max(values):.3f})"


def copy_start(source: str, target: str, num_bytes: int) -> int:
    """Copies whole lines from the start of a file and returns how many bytes they are."""
    with open(source, "rb") as file:
        start = file.read(num_bytes)
    start = start[: start.rindex(b"\n") + 1]
    with open(target, "wb") as file:
        return file.write(start)


def parsed(path: str) -> list[tf.train.Example]:
    """Returns the records; their bytes may differ, because the order of features is not fixed."""
    records = tf.data.TFRecordDataset(path).as_numpy_iterator()
    return [tf.train.Example.FromString(record) for record in records]


if __name__ == "__main__":
    define_flags()
    app.run(main)
