r"""Creates masked-LM and next-sentence training records from plain text.

The text is UTF-8, one sentence a line, a blank line between documents:

    python create_pretraining_data.py --input_file=corpus/*.txt --output_file=/tmp/train.tfrecord \
        --vocab_file=uncased_L-12_H-768_A-12/vocab.txt --max_seq_length=128 \
        --max_predictions_per_seq=20 --dupe_factor=5
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import os
from collections.abc import Mapping, Sequence

from absl import flags, logging

from pretraining.original_records import reproduce
from pretraining.recipe import Recipe
from tokenization import load_vocab
from tokenization.files import match_files

FLAGS = flags.FLAGS

NUM_SPECIAL_TOKENS = 3  # [CLS] A [SEP] B [SEP]


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
    flags.DEFINE_bool("reproduce_original", False, "Whether to make the original's own records.")


def main() -> None:
    """Makes the records."""
    check_vocabulary(load_vocab(FLAGS.vocab_file))
    files = match_files(FLAGS.input_file)
    output_files = FLAGS.output_file.split(",")
    check_output_files(output_files, [*files, FLAGS.vocab_file])
    if FLAGS.max_predictions_per_seq > FLAGS.max_seq_length - NUM_SPECIAL_TOKENS:
        logging.warning(
            "--max_predictions_per_seq=%d is more than the tokens of a sequence of "
            "--max_seq_length=%d: the rest will always be padding",
            FLAGS.max_predictions_per_seq,
            FLAGS.max_seq_length,
        )
    recipe = Recipe(
        vocab_file=FLAGS.vocab_file,
        do_lower_case=FLAGS.do_lower_case,
        max_seq_length=FLAGS.max_seq_length,
        short_seq_prob=FLAGS.short_seq_prob,
        dupe_factor=FLAGS.dupe_factor,
        masking="whole_word" if FLAGS.do_whole_word_mask else "wordpiece",
        masked_lm_prob=FLAGS.masked_lm_prob,
        max_predictions_per_seq=FLAGS.max_predictions_per_seq,
        random_seed=FLAGS.random_seed,
    )
    reproduce(recipe, FLAGS.input_file, output_files)


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


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["input_file", "output_file", "vocab_file"])
    app.run(main)
