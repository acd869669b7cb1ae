"""Learns a WordPiece vocabulary from plain text.

python learn_vocab.py --input_file='corpus/*.txt' --vocab_file=vocab.txt --vocab_size=8000
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import time
from collections.abc import Iterator

from absl import flags

from tokenization import FullTokenizer
from tokenization.files import match_files, prepare_output, read_lines, write_text
from tokenization.learner import learn_vocab

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Declares the flags of this script; the original has no such script."""
    flags.DEFINE_string(
        "input_file", None, "Plain text in UTF-8: files or globs, separated by commas."
    )
    flags.DEFINE_string("vocab_file", None, "Vocabulary to write, one token a line.")
    flags.DEFINE_integer("vocab_size", 30522, "Number of tokens, the special ones included.", 1)
    flags.DEFINE_bool(
        "do_lower_case", True, "Lower the case and strip accents; true for uncased models."
    )
    flags.DEFINE_integer("min_frequency", 2, "Pairs of pieces found less often are not merged.", 1)
    flags.DEFINE_integer("alphabet_size", 1000, "Number of different characters kept.", 1)


def main() -> None:
    """Learns the vocabulary, writes it, and tokenizes the text with it for the summary."""
    start = time.monotonic()
    files = match_files(FLAGS.input_file)
    prepare_output(FLAGS.vocab_file)
    vocab = learn_vocab(
        _read(files),
        FLAGS.vocab_size,
        do_lower_case=FLAGS.do_lower_case,
        min_frequency=FLAGS.min_frequency,
        alphabet_size=FLAGS.alphabet_size,
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
    print(_summary(files))


def _read(files: list[str]) -> Iterator[str]:
    for file in files:
        yield from read_lines(file)


def _summary(files: list[str]) -> str:
    tokenizer = FullTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    characters = tokens = unknown = 0
    for line in _read(files):
        pieces = tokenizer.tokenize(line)
        characters += len(line)
        tokens += len(pieces)
        unknown += pieces.count("[UNK]")
    return (
        f"with it the {characters} characters of the text are {tokens} tokens, "
        f"{characters / tokens:.3f} characters per token; {unknown} tokens are [UNK]"
    )


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["input_file", "vocab_file"])
    app.run(main)
