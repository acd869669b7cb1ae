"""Learns a WordPiece vocabulary from plain text, and says how it cuts text beside another vocabulary.

    python learn_vocab.py --input_file='corpus/*.txt.gz' --vocab_file=vocab.txt --vocab_size=30522 \
      --heldout_file=heldout.txt --compare_vocab_file=uncased_L-12_H-768_A-12/vocab.txt

The same text gives the same file, whatever the order of its lines (unless --max_words makes it forget words).
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import json
import time
from collections.abc import Iterator

from absl import flags, logging

from tokenization import load_vocab
from tokenization.corpus import read_blocks
from tokenization.fertility import Fertility, fertility_table, measure_fertility
from tokenization.files import match_files, prepare_output, write_text
from tokenization.learner import learn_vocab
from tokenization.word_counts import MAX_WORDS, WordCounts, count_words

FLAGS = flags.FLAGS

NUM_SPLIT = 10


def define_flags() -> None:
    """Declares the flags of this script; the original has no such script."""
    flags.DEFINE_string(
        "input_file",
        None,
        "Plain text in UTF-8, may be packed with gzip, bzip2, xz or zstandard: files or globs, separated by commas.",
    )
    flags.DEFINE_string("vocab_file", None, "Vocabulary to write, one token a line.")
    flags.DEFINE_integer("vocab_size", 30522, "Number of tokens, the special ones included.", 1)
    flags.DEFINE_bool(
        "do_lower_case", True, "Lower the case and strip accents; true for uncased models."
    )
    flags.DEFINE_integer("min_frequency", 2, "Pairs of pieces found less often are not merged.", 1)
    flags.DEFINE_integer("alphabet_size", 1000, "Number of different characters kept.", 1)
    flags.DEFINE_integer(
        "unused_rows",
        99,
        "Number of tokens [unusedN], room for words to come (extend_vocab.py). The first 99 stand between [PAD] and "
        "[UNK], so that the special tokens have the ids of the releases; the original's uncased ones have 994.",
        0,
    )
    flags.DEFINE_integer(
        "max_words",
        MAX_WORDS,
        "Different words held in memory, about a kilobyte each; when there are more, the rarest are forgotten until "
        "half of this number are left.",
        2,
    )
    _define_report_flags()


def _define_report_flags() -> None:
    flags.DEFINE_string("compare_vocab_file", None, "Another vocabulary, measured beside this one.")
    flags.DEFINE_string(
        "heldout_file",
        None,
        "Text to measure on, as --input_file; by default the text learned from.",
    )
    flags.DEFINE_string("report_file", None, "JSON file to write what was measured into.")


def main() -> None:
    """Learns the vocabulary, writes it, and measures it."""
    start = time.monotonic()
    files = match_files(FLAGS.input_file)
    others = _other_vocabularies()
    for output in _outputs(files):
        prepare_output(output)
    counts = _count(files, "--input_file")
    text = counts
    if FLAGS.heldout_file:
        text = _count(match_files(FLAGS.heldout_file, "heldout_file"), "--heldout_file")
    vocab = learn_vocab(
        counts.words,
        FLAGS.vocab_size,
        FLAGS.min_frequency,
        FLAGS.alphabet_size,
        FLAGS.unused_rows,
    )
    write_text(FLAGS.vocab_file, "".join(f"{token}\n" for token in vocab))
    seconds = time.monotonic() - start
    print(
        f"{FLAGS.vocab_file}: {len(vocab)} tokens learned from {len(files)} file(s) in {seconds:.1f} s"
    )
    if len(vocab) < FLAGS.vocab_size:
        print(
            f"that is fewer than --vocab_size={FLAGS.vocab_size}: every pair of pieces left occurs less than "
            f"{FLAGS.min_frequency} times (--min_frequency)"
        )
    vocabularies = {FLAGS.vocab_file: {token: i for i, token in enumerate(vocab)}, **others}
    _report({name: measure_fertility(v, text, NUM_SPLIT) for name, v in vocabularies.items()})


def _other_vocabularies() -> dict[str, dict[str, int]]:
    if not FLAGS.compare_vocab_file:
        return {}
    if FLAGS.compare_vocab_file == FLAGS.vocab_file:
        raise ValueError(
            f"--compare_vocab_file={FLAGS.compare_vocab_file} is --vocab_file, which is to be written"
        )
    return {FLAGS.compare_vocab_file: load_vocab(FLAGS.compare_vocab_file)}


def _outputs(inputs: list[str]) -> list[str]:
    outputs = {"vocab_file": FLAGS.vocab_file, "report_file": FLAGS.report_file}
    for flag, path in outputs.items():
        if path in inputs:
            raise ValueError(f"--{flag}={path} is also an input: name another file")
    return [path for path in outputs.values() if path]


def _count(files: list[str], flag: str) -> WordCounts:
    counts = count_words(_read(files), FLAGS.do_lower_case, FLAGS.max_words)
    if not counts.words:
        raise ValueError(f"there is no word in the text of {flag}={', '.join(files)}")
    if counts.pruned:
        logging.warning(
            "%s: %d words of the running text were forgotten, because more than %d different ones did not fit "
            "(--max_words): counts of rare words are too small by up to that",
            flag,
            counts.pruned,
            FLAGS.max_words,
        )
    return counts


def _read(files: list[str]) -> Iterator[str]:
    for file in files:
        yield from read_blocks(file)


def _report(columns: dict[str, Fertility]) -> None:
    print(f"\nmeasured on {FLAGS.heldout_file or FLAGS.input_file}:\n\n{fertility_table(columns)}")
    if FLAGS.report_file:
        report = {name: fertility._asdict() for name, fertility in columns.items()}
        write_text(FLAGS.report_file, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["input_file", "vocab_file"])
    app.run(main)
