"""Speed of tokenizing text into ids: the original's algorithm, ours, ours in a graph, HuggingFace's.

python -m benchmarks.tokenizer

All engines take turns on the same lines; a ratio is that of two runs of the same turn.
"""

import gc
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable

from absl import flags

from benchmarks import original_tokenizer
from tokenization import FullTokenizer, load_vocab
from tokenization.files import read_lines
from training import app

FLAGS = flags.FLAGS

BATCH = 1024
ORIGINAL = "original, transcribed"


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("input_file", "../shared/data/corpus/gutenberg.txt", "Text in UTF-8.")
    flags.DEFINE_string("vocab_file", "../shared/data/vocab/uncased_vocab.txt", "Vocabulary.")
    flags.DEFINE_bool("do_lower_case", True, "Lower-case the text.")
    flags.DEFINE_integer("repeats", 5, "Turns of every engine.", 1)


def main() -> None:
    """Compares the ids, then times the engines in turn and prints a table."""
    lines = list(read_lines(FLAGS.input_file))
    megabytes = sum(len(line.encode()) + 1 for line in lines) / 1e6
    engines = _engines()
    differing = _lines_that_differ(engines, lines)
    rates = {name: [] for name in engines}
    for turn in range(FLAGS.repeats):
        for name, prepare in engines.items():
            rates[name].append(megabytes / _seconds(prepare(lines), lines))
            print(f"turn {turn + 1}: {name}: {rates[name][-1]:.2f} MB/s", file=sys.stderr)
    print(f"{FLAGS.input_file}: {megabytes:.2f} MB, {len(lines)} lines; median (lowest to highest)")
    for name in engines:
        ratios = [rate / base for rate, base in zip(rates[name], rates[ORIGINAL], strict=True)]
        print(
            f"{name:30} {_spread(rates[name])} MB/s, {_spread(ratios)} x the original, "
            f"{differing[name]} lines differ"
        )


def _seconds(run: Callable, lines: list[str]) -> float:
    gc.collect()
    start = time.perf_counter()
    run(lines)
    return time.perf_counter() - start


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def _lines_that_differ(engines: dict[str, Callable], lines: list[str]) -> dict[str, int]:
    """Runs every engine once, which also warms it up, and counts lines with other ids than the original's."""
    expected = engines[ORIGINAL](lines)(lines)
    differing = {}
    for name, prepare in engines.items():
        ids = expected if name == ORIGINAL else _as_lists(prepare(lines)(lines))
        differing[name] = sum(a != b for a, b in zip(ids, expected, strict=True))
    return differing


def _as_lists(ids) -> list[list[int]]:
    return ids if isinstance(ids[0], list) else [line for batch in ids for line in batch.to_list()]


def _engines() -> dict[str, Callable]:
    """Returns name -> function of the lines that gets ready and returns what is timed."""
    engines = {ORIGINAL: _original, "ours, cold": _cold, "ours, warm": _warm}
    if importlib.util.find_spec("tokenization.graph") and importlib.util.find_spec(
        "tensorflow_text"
    ):
        engines[f"ours, graph, batches of {BATCH}"] = _graph
    else:
        print(
            "the engine for graphs is left out: tensorflow_text is not installed", file=sys.stderr
        )
    if importlib.util.find_spec("tokenizers"):
        engines["HuggingFace tokenizers"] = _huggingface
    else:
        print("HuggingFace is left out: the package tokenizers is not installed", file=sys.stderr)
    return engines


def _original(lines):
    vocab = load_vocab(FLAGS.vocab_file)
    return lambda lines: [
        original_tokenizer.encode(line, vocab, FLAGS.do_lower_case) for line in lines
    ]


def _cold(lines):
    tokenizer = FullTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    return lambda lines: [tokenizer.encode(line) for line in lines]


def _warm(lines):
    run = _cold(lines)
    run(lines)
    return run


def _graph(lines):
    import tensorflow as tf

    from tokenization.graph import GraphTokenizer

    tokenizer = GraphTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    tokenize = tf.function(tokenizer.tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    tokenize(tf.constant(lines[:BATCH]))
    batches = range(0, len(lines), BATCH)
    return lambda lines: [tokenize(tf.constant(lines[i : i + BATCH])) for i in batches]


def _huggingface(lines):
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(FLAGS.vocab_file, lowercase=FLAGS.do_lower_case)
    encode = tokenizer.encode_batch
    return lambda lines: [e.ids for e in encode(lines, add_special_tokens=False)]


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # one core, as ours
    define_flags()
    app.run(main)
