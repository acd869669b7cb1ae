r"""Turns what people have into the text that create_pretraining_data.py reads.

That is one sentence a line and a blank line after each document. For a dump of Wikipedia:

    pip install sentencex mwparserfromhell
    python prepare_corpus.py --input_format=wikipedia --input_file=enwiki-latest-pages-articles.xml.bz2 \
      --output_file=wikipedia.txt --language=en

Formats (--input_format); every file may be packed with gzip, bzip2, xz or zstandard:

    wikipedia  MediaWiki's XML dump: articles without lists, tables, headings, templates, references and files
    books      a book a file, with hard line breaks and blank lines between paragraphs, as Project Gutenberg has them
    jsonl      a JSON object a line, with the document in --text_field, its lines being paragraphs
    wet        Common Crawl's WET files: a document a page, its lines being paragraphs
    text       a paragraph a line, blank lines between documents

Documents that are too short, equal to an earlier one or similar to it are dropped. What is left out is counted, in the
line that is printed at the end and in the file `OUTPUT_FILE.json`. The same input gives the same output.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import functools
import json
import os
import time
from collections.abc import Iterator

from absl import flags

from pretraining.corpus import long_enough, write_corpus
from pretraining.corpus_counts import CorpusCounts
from pretraining.corpus_files import ON_BAD_UTF8
from pretraining.corpus_formats import read_book, read_jsonl, read_text, read_wet, read_wikipedia
from pretraining.near_duplicates import DuplicateFinder
from pretraining.sentences import sentence_splitter
from tokenization.files import match_files, prepare_output, write_text
from training.progress import reporting

FLAGS = flags.FLAGS

READERS = {
    "wikipedia": read_wikipedia,
    "books": read_book,
    "jsonl": read_jsonl,
    "wet": read_wet,
    "text": read_text,
}
SETTINGS = (
    "input_format language min_document_sentences min_document_characters drop_duplicates "
    "duplicate_similarity on_bad_utf8"
).split()


def define_flags() -> None:
    """Declares the flags of this script; the original has no such script."""
    flags.DEFINE_enum("input_format", None, list(READERS), "Format of the input.")
    flags.DEFINE_string("input_file", None, "Files or globs, separated by commas.")
    flags.DEFINE_string("output_file", None, "Text to write; its counts go to OUTPUT_FILE.json.")
    flags.DEFINE_string("text_field", "text", "jsonl: the field with the text of a document.")
    flags.DEFINE_string(
        "language", "en", "Language whose abbreviations do not end a sentence, as a code like en."
    )
    flags.DEFINE_integer(
        "min_document_sentences", 2, "Documents of fewer sentences are dropped.", 1
    )
    flags.DEFINE_integer(
        "min_document_characters", 100, "Documents of fewer characters are dropped.", 0
    )
    flags.DEFINE_enum(
        "drop_duplicates",
        "similar",
        ["similar", "equal", "none"],
        "Documents to drop: those similar to an earlier one, only those equal to one, or none.",
    )
    flags.DEFINE_float(
        "duplicate_similarity",
        0.8,
        "Documents are similar from this share of common runs of 16 letters on.",
        lower_bound=0.5,
        upper_bound=1.0,
    )
    flags.DEFINE_enum(
        "on_bad_utf8",
        "error",
        ON_BAD_UTF8,
        "At bytes that are not UTF-8: stop; put U+FFFD in their place; or leave the line out (of books and "
        "text) or the document (of other formats).",
    )


def main() -> None:
    """Converts the files and says what was kept and what was not."""
    start = time.monotonic()
    split = sentence_splitter(FLAGS.language)
    files = match_files(FLAGS.input_file)
    outputs = FLAGS.output_file, f"{FLAGS.output_file}.json"
    for output in outputs:
        if output in files:
            raise ValueError(
                f"--output_file={FLAGS.output_file} writes {output}, which is an input"
            )
        prepare_output(output)
    counts = CorpusCounts()
    documents = long_enough(
        reporting(read(files, counts), counts),
        split,
        counts,
        FLAGS.min_document_sentences,
        FLAGS.min_document_characters,
    )
    if FLAGS.drop_duplicates == "none":
        write_corpus(FLAGS.output_file, documents, counts, finder=None)
    else:
        similarity = FLAGS.duplicate_similarity if FLAGS.drop_duplicates == "similar" else None
        folder = os.path.dirname(FLAGS.output_file) or "."
        with DuplicateFinder(similarity, None if "://" in folder else folder) as finder:
            write_corpus(FLAGS.output_file, documents, counts, finder)
    settings = {name: FLAGS[name].value for name in SETTINGS}
    report = {"files": files, "settings": settings, "counts": counts.as_dict()}
    write_text(outputs[1], json.dumps(report, indent=2) + "\n")
    print(f"{FLAGS.output_file}: {counts}; {time.monotonic() - start:.1f} s")


def read(files: list[str], counts: CorpusCounts) -> Iterator[list[str]]:
    """Yields the paragraphs of every document of all files."""
    reader = READERS[FLAGS.input_format]
    if reader is read_jsonl:
        reader = functools.partial(read_jsonl, text_field=FLAGS.text_field)
    for path in files:
        counts.files += 1
        yield from reader(path, counts, FLAGS.on_bad_utf8)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["input_format", "input_file", "output_file"])
    app.run(main)
