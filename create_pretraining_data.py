r"""Creates masked-LM and next-sentence training records from plain text.

The text is UTF-8, one sentence a line, a blank line between documents:

    python create_pretraining_data.py --input_file=corpus/*.txt --output_file=/tmp/train.tfrecord \
        --vocab_file=uncased_L-12_H-768_A-12/vocab.txt --max_seq_length=128 \
        --max_predictions_per_seq=20 --dupe_factor=5

The records have the original's schema, and are made by its algorithm from the same random numbers,
but for four defects, which `--reproduce_original` brings back: files of one glob came in the order of
the file system; a carriage return inside a line joined the words around it; under whole-word masking a
piece at the start of B could belong to the last word of A; a "random" next sentence could come from the
same document after ten unlucky draws. Where a corpus meets none of these the records are the same.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from absl import flags, logging

from pretraining.original_documents import Document, ReadCounts, expand_patterns, read_documents
from pretraining.original_instances import (
    NUM_SPECIAL_TOKENS,
    Instance,
    InstanceMaker,
    create_instances,
)
from pretraining.original_masking import Masker
from pretraining.records import record_writer
from tokenization import FullTokenizer

FLAGS = flags.FLAGS

INSTANCES_SHOWN = 20
SECONDS_BETWEEN_REPORTS = 10.0


def define_flags() -> None:
    """Declares the flags of the original, and --reproduce_original."""
    flags.DEFINE_string(
        "input_file",
        None,
        "Input text files: globs separated by commas. One sentence a line, a blank line between "
        "documents; the end of a file does not end a document.",
    )
    flags.DEFINE_string("output_file", None, "Output TFRecord files, separated by commas.")
    flags.DEFINE_string(
        "vocab_file", None, "The vocabulary file that the BERT model is trained on."
    )
    flags.DEFINE_bool(
        "do_lower_case",
        True,
        "Whether to lower-case the text and strip accents: true for uncased models, false for cased.",
    )
    flags.DEFINE_bool(
        "do_whole_word_mask", False, "Whether to mask all WordPieces of a word or none of them."
    )
    flags.DEFINE_integer(
        "max_seq_length", 128, "Tokens of a sequence, [CLS] and two [SEP] counted.", lower_bound=5
    )
    flags.DEFINE_integer(
        "max_predictions_per_seq", 20, "Most masked tokens of a sequence.", lower_bound=1
    )
    flags.DEFINE_integer("random_seed", 12345, "Seed of everything that is drawn.")
    flags.DEFINE_integer(
        "dupe_factor",
        10,
        "Passes over the text, each with other pairs and masks.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "masked_lm_prob", 0.15, "Share of tokens to mask.", lower_bound=0, upper_bound=1
    )
    flags.DEFINE_float(
        "short_seq_prob",
        0.1,
        "Share of the passes over a document that make sequences shorter than the maximum.",
        lower_bound=0,
        upper_bound=1,
    )
    flags.DEFINE_bool(
        "reproduce_original",
        False,
        "Whether to keep four defects of the original script, for records equal to its own: files of "
        "a glob in the file system's order (else by name); carriage returns deleted inside a line "
        "(else white space); with --do_whole_word_mask, a word piece at the start of B joined to the "
        "last word of A (else a word of its own); the current document as random next after ten "
        "tries (else always another, if there are several).",
    )


def main() -> None:
    """Reads the text, makes the instances, shuffles them and writes the records."""
    tokenizer = FullTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    check_vocabulary(tokenizer.vocab)
    files = expand_patterns(FLAGS.input_file.split(","), sort=not FLAGS.reproduce_original)
    output_files = FLAGS.output_file.split(",")
    check_output_files(output_files, [*files, FLAGS.vocab_file])
    if FLAGS.max_predictions_per_seq > FLAGS.max_seq_length - NUM_SPECIAL_TOKENS:
        logging.warning(
            "--max_predictions_per_seq=%d is more than the tokens of a sequence of "
            "--max_seq_length=%d: the rest will always be padding",
            FLAGS.max_predictions_per_seq,
            FLAGS.max_seq_length,
        )

    rng = random.Random(FLAGS.random_seed)
    documents = read(files, tokenizer)
    rng.shuffle(documents)
    instances = make_instances(documents, tokenizer.vocab, rng)
    rng.shuffle(instances)
    show(instances[:INSTANCES_SHOWN], tokenizer)
    write(instances, output_files)


def check_vocabulary(vocab: Mapping[str, int]) -> None:
    """Raises ValueError when the vocabulary lacks a token that every record may need."""
    missing = [token for token in ("[CLS]", "[SEP]", "[MASK]", "[UNK]") if token not in vocab]
    if missing:
        raise ValueError(
            f"--vocab_file={FLAGS.vocab_file} lacks {', '.join(missing)}: "
            "use the vocabulary of a BERT model, or add a line for each"
        )


def check_output_files(output_files: Sequence[str], other_files: Sequence[str]) -> None:
    """Raises before any work if the output has no place or would overwrite the input."""
    for path in output_files:
        if not path or output_files.count(path) > 1:
            raise ValueError(f"--output_file={FLAGS.output_file}: {path!r} is empty or named twice")
        if path in other_files:
            raise ValueError(f"--output_file={path} is also an input: name another file")
        if "://" in path:
            continue
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"--output_file={path}: the folder {folder} does not exist")
        if os.path.isdir(path):
            raise ValueError(f"--output_file={path} is a directory: name a file in it")


def read(files: Sequence[str], tokenizer: FullTokenizer) -> list[Document]:
    """Returns the documents of all files as token ids."""
    counts = ReadCounts()
    found = read_documents(files, tokenizer.encode, counts, FLAGS.reproduce_original)
    documents = list(
        reporting(found, lambda n: f"read {n} documents, file {counts.files} of {len(files)}")
    )
    if not documents:
        raise ValueError(f"--input_file={FLAGS.input_file}: 0 documents, no line holds a token")
    if len(documents) == 1:
        logging.warning(
            "the input is one document, so random next sentences come from the same document: "
            "put blank lines between documents"
        )
    logging.info(
        "read %d files: %d documents, %d sentences, %d tokens; dropped %d lines without tokens",
        counts.files,
        counts.documents,
        counts.sentences,
        counts.tokens,
        counts.lines_without_tokens,
    )
    return documents


def make_instances(
    documents: Sequence[Document], vocab: Mapping[str, int], rng: random.Random
) -> list[Instance]:
    """Returns the instances of all passes, in the order in which they are made."""
    masker = Masker(
        vocab,
        FLAGS.masked_lm_prob,
        FLAGS.max_predictions_per_seq,
        FLAGS.do_whole_word_mask,
        FLAGS.reproduce_original,
    )
    maker = InstanceMaker(
        documents,
        vocab["[CLS]"],
        vocab["[SEP]"],
        masker,
        rng,
        FLAGS.max_seq_length,
        FLAGS.short_seq_prob,
        FLAGS.reproduce_original,
    )
    made = create_instances(maker, FLAGS.dupe_factor)
    return list(reporting(made, lambda n: f"made {n} instances"))


def show(instances: Sequence[Instance], tokenizer: FullTokenizer) -> None:
    """Logs instances with `-v=1`, as the original always does."""
    for instance in instances:
        logging.debug("*** Instance ***")
        tokens = tokenizer.convert_ids_to_tokens(instance.input_ids)
        logging.debug("tokens: %s", " ".join(tokens))
        for name, value in instance._asdict().items():
            logging.debug("%s: %s", name, value)


def write(instances: Sequence[Instance], output_files: Sequence[str]) -> None:
    """Writes the records and says what they hold."""
    total = len(instances)
    lengths = FLAGS.max_seq_length, FLAGS.max_predictions_per_seq
    with record_writer(output_files, *lengths) as write_record:
        for instance in reporting(instances, lambda n: f"wrote {n} of {total} instances"):
            write_record(instance)
    tokens = sum(len(instance.input_ids) for instance in instances)
    masked = sum(len(instance.masked_lm_ids) for instance in instances)
    random_next = sum(instance.is_random_next for instance in instances)
    logging.info(
        "wrote %d instances to %s: %d masked tokens, %.1f%% random next, %.1f%% padding",
        total,
        FLAGS.output_file,
        masked,
        100 * random_next / total,
        100 * (1 - tokens / (total * FLAGS.max_seq_length)),
    )


def reporting(items: Iterable, describe: Callable[[int], str]) -> Iterator:
    """Yields the items, and logs `describe(number so far)` every ten seconds."""
    due = time.monotonic() + SECONDS_BETWEEN_REPORTS
    for number, item in enumerate(items, 1):
        yield item
        if time.monotonic() >= due:
            logging.info(describe(number))
            due = time.monotonic() + SECONDS_BETWEEN_REPORTS


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["input_file", "output_file", "vocab_file"])
    app.run(main)
