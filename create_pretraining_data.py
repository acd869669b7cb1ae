r"""Creates masked-LM and next-sentence training records from plain text.

The text is UTF-8, one sentence a line, a blank line between documents; files may be packed (gz, bz2, xz, zst):

    python create_pretraining_data.py --input_file=corpus/*.txt --output_file=/tmp/train.tfrecord \
        --vocab_file=uncased_L-12_H-768_A-12/vocab.txt --max_seq_length=128 \
        --max_predictions_per_seq=20 --dupe_factor=5

The records have the original's schema. Text is streamed through --num_workers processes of bounded memory, so that any
amount of it will do; the records depend on the text and the flags alone. A run that was killed goes on where it was
when the same command is given again. OUTPUT_FILE.manifest.json says what was made of what.

`--reproduce_original` makes the original's own records, one process, all in memory.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import os
from collections.abc import Iterable, Mapping, Sequence

from absl import flags, logging

from pretraining.builder import build
from pretraining.corpus_files import ON_BAD_UTF8
from pretraining.data_report import write_report
from pretraining.masking_flags import define_masking_flags, masking_settings
from pretraining.original_records import reproduce
from pretraining.recipe import OBJECTIVES, Recipe
from tokenization import load_vocab
from tokenization.files import match_files

FLAGS = flags.FLAGS

NUM_SPECIAL_TOKENS = 3  # [CLS] A [SEP] B [SEP]


def define_flags() -> None:
    """Declares the flags of the original, then what it did not have."""
    flags.DEFINE_string(
        "input_file",
        None,
        "Input text files: globs separated by commas. One sentence a line, a blank line between documents; "
        "a document ends with its file.",
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
    flags.DEFINE_bool("do_whole_word_mask", False, "The same as --masking=whole_word.")
    flags.DEFINE_integer(
        "max_seq_length", 128, "Tokens of a sequence, [CLS] and two [SEP] counted.", lower_bound=5
    )
    flags.DEFINE_integer(
        "max_predictions_per_seq", 20, "Most masked tokens of a row.", lower_bound=1
    )
    flags.DEFINE_integer("random_seed", 12345, "Seed of everything that is drawn.")
    flags.DEFINE_integer(
        "dupe_factor",
        10,
        "Passes over the text, each with other pairs and masks.",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "short_seq_prob",
        0.1,
        "Share of the passes over a document that make sequences shorter than the maximum (0 unless given for "
        "full_sentences and doc_sentences, as in RoBERTa).",
        lower_bound=0,
        upper_bound=1,
    )
    define_masking_flags()
    define_row_flags()
    define_builder_flags()


def define_row_flags() -> None:
    """Declares what a row is, beyond the original's pairs."""
    flags.DEFINE_enum(
        "objective",
        "next_sentence",
        OBJECTIVES,
        "What a sequence is: two spans, the second random half of the time (next_sentence) or the two swapped half "
        "of the time (sentence_order); or one span of whole sentences, across documents (full_sentences) or "
        "within one (doc_sentences).",
    )
    flags.DEFINE_bool(
        "dynamic_masking",
        False,
        "Write records without masks, in one pass unless --dupe_factor is given: training draws masks, in every "
        "epoch anew.",
    )
    flags.DEFINE_integer(
        "max_sequences_per_row",
        1,
        "Most sequences packed into a row; training is as if each were alone. 1 leaves them apart.",
        1,
    )


def define_builder_flags() -> None:
    """Declares how and where records are made."""
    flags.DEFINE_integer(
        "num_shards",
        None,
        "Write so many files: with --output_file=a.tfrecord, a-00000-of-00064.tfrecord and so on.",
        lower_bound=1,
    )
    flags.DEFINE_integer("num_workers", 1, "Processes.", lower_bound=1)
    flags.DEFINE_integer(
        "memory_mb",
        128,
        "MiB of a partition of the text, which a worker holds at a time beside TensorFlow. Shuffles go as far as a "
        "partition, so another value gives other records.",
        16,
    )
    flags.DEFINE_string(
        "work_dir",
        None,
        "Local folder for what is under way (default: OUTPUT_FILE.work, beside a local output).",
    )
    flags.DEFINE_enum(
        "on_bad_utf8",
        "error",
        ON_BAD_UTF8,
        "At bytes that are not UTF-8: stop, put U+FFFD in their place, or leave the line out.",
    )
    flags.DEFINE_bool(
        "report", False, "Write OUTPUT_FILE.report.html: what is in the records, with histograms."
    )
    flags.DEFINE_string(
        "runner",
        None,
        "Run on a cluster: a runner of Apache Beam, as DataflowRunner or FlinkRunner.",
    )
    flags.DEFINE_multi_string(
        "pipeline_option", [], "Option of the runner, as project=my-project; may be repeated."
    )
    flags.DEFINE_bool(
        "reproduce_original",
        False,
        "Make the original's own records, its defects included: files of a glob in the file system's order, "
        "documents that go on in the next file, carriage returns deleted inside a line, a word piece at the start "
        "of B joined to the last word of A, the current document as random next after ten tries.",
    )


def main() -> None:
    """Checks the flags, then makes the records."""
    check_flags()
    check_vocabulary(load_vocab(FLAGS.vocab_file))
    files = match_files(FLAGS.input_file)
    output_files = name_output_files()
    check_output_files(output_files, [*files, FLAGS.vocab_file])
    recipe = recipe_from_flags()
    if FLAGS.reproduce_original:
        return reproduce(recipe, FLAGS.input_file, output_files)
    manifest = make_records(recipe, files, output_files)
    log_summary(manifest)
    if FLAGS.report:
        write_report(f"{output_files[0]}.report.html", manifest)


def log_summary(manifest: Mapping) -> None:
    """Says what was read, what was left out, and what the records hold."""
    counts, summary, statistics = manifest["counts"], manifest["summary"], manifest["statistics"]
    logging.info("counts: %s", ", ".join(f"{name} {n}" for name, n in counts.items()))
    shares = {"padding_share": "padding", "masked_share": "masked", "label_1_share": "with label 1"}
    logging.info(
        "wrote %d records of %d sequences to %s: %s",
        statistics["rows"],
        statistics["sequences"],
        FLAGS.output_file,
        ", ".join(
            f"{summary[name]:.1%} {text}" for name, text in shares.items() if name in summary
        ),
    )
    if counts["documents"] == 1 and FLAGS.objective == "next_sentence":
        logging.warning(
            "the input is one document, so random next sentences come from the same document: "
            "put blank lines between documents"
        )


def make_records(recipe: Recipe, files: list[str], output_files: list[str]) -> dict:
    """Makes the records here or on a cluster, and returns their manifest."""
    arguments = (recipe, files, output_files, FLAGS.on_bad_utf8)
    if FLAGS.runner:
        from pretraining import beam_builder

        options = [f"--{option}" for option in (f"runner={FLAGS.runner}", *FLAGS.pipeline_option)]
        return beam_builder.build(*arguments, FLAGS.memory_mb, options)
    return build(*arguments, FLAGS.num_workers, FLAGS.memory_mb, FLAGS.work_dir)


def recipe_from_flags() -> Recipe:
    """Returns what the records depend on."""
    masking = masking_settings()
    if FLAGS.do_whole_word_mask:
        masking["masking"] = "whole_word"
    if FLAGS.dynamic_masking:
        masking["masking"] = None
    sentences = FLAGS.objective in ("full_sentences", "doc_sentences")
    names = set(Recipe._fields) - {*masking, "dupe_factor", "short_seq_prob"}
    return Recipe(
        **masking,
        dupe_factor=value_or("dupe_factor", 1 if FLAGS.dynamic_masking else None),
        short_seq_prob=value_or("short_seq_prob", 0.0 if sentences else None),
        **{name: FLAGS[name].value for name in names},
    )


def value_or(name: str, default: float | None) -> float:
    """Returns the value of a flag; `default`, if there is one, where the command line does not give the flag."""
    return FLAGS[name].value if default is None or given([name]) else default


def given(names: Iterable[str]) -> list[str]:
    """Returns those of the flags that the command line gives."""
    return [name for name in names if not FLAGS[name].using_default_value]


def check_flags() -> None:
    """Raises ValueError when flags contradict each other."""
    masks = ("do_whole_word_mask", "max_predictions_per_seq", *masking_settings())
    local = ("num_workers", "work_dir")
    beyond = ("objective", "dynamic_masking", "max_sequences_per_row", "max_span_words")
    beyond += ("runner", "report", "on_bad_utf8", "memory_mb", *local)
    contradictions = (
        ("do_whole_word_mask", ["masking"]),
        ("dynamic_masking", masks),
        ("runner", local),
        ("reproduce_original", beyond if FLAGS.masking != "span" else ["masking"]),
    )
    for name, excluded in contradictions:
        if FLAGS[name].value and (found := given(excluded)):
            raise ValueError(f"--{name} and --{found[0]} do not go together: leave one of them out")
    if FLAGS.pipeline_option and not FLAGS.runner:
        raise ValueError("--pipeline_option needs --runner")
    if FLAGS.max_predictions_per_seq > FLAGS.max_seq_length - NUM_SPECIAL_TOKENS:
        logging.warning(
            "--max_predictions_per_seq=%d is more than the tokens of a sequence of "
            "--max_seq_length=%d: the rest will always be padding",
            FLAGS.max_predictions_per_seq,
            FLAGS.max_seq_length,
        )


def check_vocabulary(vocab: Mapping[str, int]) -> None:
    """Raises ValueError when the vocabulary lacks a token that every record may need."""
    missing = [token for token in ("[CLS]", "[SEP]", "[MASK]", "[UNK]") if token not in vocab]
    if missing:
        raise ValueError(
            f"--vocab_file={FLAGS.vocab_file} lacks {', '.join(missing)}: "
            "use the vocabulary of a BERT model, or add a line for each"
        )


def name_output_files() -> list[str]:
    """Returns the names of the shards."""
    files = FLAGS.output_file.split(",")
    if FLAGS.num_shards is None:
        return files
    if len(files) > 1:
        raise ValueError(
            f"--num_shards={FLAGS.num_shards} and --output_file={FLAGS.output_file}: name one file"
        )
    stem, extension = os.path.splitext(files[0])
    count = FLAGS.num_shards
    return [f"{stem}-{shard:05d}-of-{count:05d}{extension}" for shard in range(count)]


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
