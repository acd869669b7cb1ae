"""The original's records: its algorithm, its random numbers in its order, and its defects.

Four of these concern the records. The files of a glob come in the order of the file system. A carriage return inside a
line joins the words around it. Under whole-word masking a piece at the start of B can belong to the last word of A. A
"random" next sentence can come from the same document, after ten unlucky draws. And a document goes on in the next
file unless a blank line ends it. All documents and all instances are in memory (`create_pretraining_data.py`).
"""

import random
from collections.abc import Sequence

import tensorflow as tf
from absl import logging

from pretraining.original_documents import Document, ReadCounts, read_documents
from pretraining.original_instances import Instance, InstanceMaker, create_instances
from pretraining.original_masking import Masker
from pretraining.recipe import Recipe
from pretraining.records import record_writer
from tokenization import FullTokenizer
from training.progress import reporting

INSTANCES_SHOWN = 20


def reproduce(recipe: Recipe, input_file: str, output_files: Sequence[str]) -> None:
    """Writes the records that the original's script writes, dealt to the files in turn.

    Args:
      recipe: objective "next_sentence", masking "wordpiece" or "whole_word", a sequence a row.
      input_file: names and globs, separated by commas.
      output_files: TFRecord files, which appear when all are whole.

    Raises:
      FileNotFoundError: nothing matches `input_file`.
      ValueError: no line holds a token, or a file is not UTF-8.
    """
    files = [path for pattern in input_file.split(",") for path in tf.io.gfile.glob(pattern)]
    if not files:
        raise FileNotFoundError(f"--input_file={input_file} matches no file")
    tokenizer = FullTokenizer(recipe.vocab_file, recipe.do_lower_case)
    rng = random.Random(recipe.random_seed)
    documents = _read(files, tokenizer)
    rng.shuffle(documents)
    instances = _make(recipe, documents, tokenizer.vocab, rng)
    rng.shuffle(instances)
    _show(instances[:INSTANCES_SHOWN], tokenizer)
    _write(recipe, instances, output_files)


def _read(files: Sequence[str], tokenizer: FullTokenizer) -> list[Document]:
    counts = ReadCounts()
    documents = list(reporting(read_documents(files, tokenizer.encode, counts), counts))
    if not documents:
        raise ValueError("--input_file: 0 documents, no line holds a token")
    if len(documents) == 1:
        logging.warning(
            "the input is one document, so random next sentences come from the same document: "
            "put blank lines between documents"
        )
    logging.info("read %s", counts)
    return documents


def _make(
    recipe: Recipe, documents: Sequence[Document], vocab: dict[str, int], rng: random.Random
) -> list[Instance]:
    """Returns the instances of all passes, in the order in which they are made."""
    whole_word = recipe.masking == "whole_word"
    masker = Masker(vocab, recipe.masked_lm_prob, recipe.max_predictions_per_seq, whole_word)
    maker = InstanceMaker(
        documents,
        vocab["[CLS]"],
        vocab["[SEP]"],
        masker,
        rng,
        recipe.max_seq_length,
        recipe.short_seq_prob,
    )
    return list(create_instances(maker, recipe.dupe_factor))


def _show(instances: Sequence[Instance], tokenizer: FullTokenizer) -> None:
    """Logs instances with `-v=1`, as the original always does."""
    for instance in instances:
        logging.debug("*** Instance ***")
        tokens = tokenizer.convert_ids_to_tokens(instance.input_ids)
        logging.debug("tokens: %s", " ".join(tokens))
        for name, value in instance._asdict().items():
            logging.debug("%s: %s", name, value)


def _write(recipe: Recipe, instances: Sequence[Instance], output_files: Sequence[str]) -> None:
    """Writes the records and says what they hold."""
    with record_writer(
        output_files, recipe.max_seq_length, recipe.max_predictions_per_seq
    ) as write_record:
        for instance in instances:
            write_record(instance)
    total = len(instances)
    tokens = sum(len(instance.input_ids) for instance in instances)
    masked = sum(len(instance.masked_lm_ids) for instance in instances)
    random_next = sum(instance.is_random_next for instance in instances)
    logging.info(
        "wrote %d instances to %s: %d masked tokens, %.1f%% random next, %.1f%% padding",
        total,
        ",".join(output_files),
        masked,
        100 * random_next / total,
        100 * (1 - tokens / (total * recipe.max_seq_length)),
    )
