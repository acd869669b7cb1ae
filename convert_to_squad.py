r"""Converts MRQA's and TriviaQA's files to SQuAD's JSON, which run_squad.py reads.

MRQA, the `.jsonl.gz` files of the shared task of 2019:

    python convert_to_squad.py --format=mrqa --input_file='mrqa/train/*.jsonl.gz' --for_training \
      --output_file=mrqa-train.json

TriviaQA, the folders `qa` and `evidence` of the release for reading comprehension:

    python convert_to_squad.py --format=triviaqa --input_file=triviaqa-rc/qa/wikipedia-train.json \
      --evidence_dir=triviaqa-rc/evidence --for_training --output_file=triviaqa-wikipedia-train.json

With --for_training a question has one answer, the first that the context holds, and is left out if there is none.
Without, for prediction and evaluation, such questions are kept too, and a question has all answers that count as right.

As in the converter of TriviaQA's authors: a question and a document make an example of the id `QuestionId--Filename`;
the context is the start of the document; the answer is the first of `NormalizedAliases` that occurs in it in lower
case, also inside a word, where it occurs first; a file for verified evaluation gives its verified part only. Unlike
there: the context is the text as it stands, cut after --max_words words between white space (there 800 tokens of NLTK,
joined by blanks); the answer is written as in the context (there in lower case, which the original run_squad.py does
not find again); examples come in the order of the file; all of --input_file is converted (there 80,000 documents of
the web's training set); evaluation sees all aliases, not the one found.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)


from absl import flags

from finetuning.qa_formats import Conversion, read_mrqa, read_triviaqa, write_squad
from tokenization.files import match_files, prepare_output
from training.progress import reporting

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Declares the flags of this script; the original has no such script."""
    flags.DEFINE_enum("format", None, ["mrqa", "triviaqa"], "Format of the input.")
    flags.DEFINE_string(
        "input_file", None, "Files or globs, separated by commas; may be packed with gzip."
    )
    flags.DEFINE_string("output_file", None, "File to write, in SQuAD's JSON.")
    flags.DEFINE_bool(
        "for_training",
        False,
        "One answer a question, and only questions with one in the context; else all, for prediction.",
    )
    flags.DEFINE_string(
        "evidence_dir", None, "TriviaQA: folder with the folders wikipedia and web of documents."
    )
    flags.DEFINE_integer("max_words", 800, "TriviaQA: words of a document to keep.", 1)


def main() -> None:
    """Checks the flags, converts and says how many questions were kept and why others were not."""
    if (FLAGS.format == "triviaqa") != bool(FLAGS.evidence_dir):
        raise ValueError("--evidence_dir is for --format=triviaqa, which needs it")
    files = match_files(FLAGS.input_file)
    if FLAGS.output_file in files:
        raise ValueError(f"--output_file={FLAGS.output_file} is also an input: name another file")
    prepare_output(FLAGS.output_file)
    conversion = Conversion(FLAGS.for_training)
    if FLAGS.format == "mrqa":
        articles = read_mrqa(files, conversion)
    else:
        articles = read_triviaqa(files, conversion, FLAGS.evidence_dir, FLAGS.max_words)
    write_squad(FLAGS.output_file, reporting(articles, conversion), conversion)
    print(f"{FLAGS.output_file}: {conversion}")


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["format", "input_file", "output_file"])
    app.run(main)
