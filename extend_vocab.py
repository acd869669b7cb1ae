"""Adds words to the vocabulary of a trained model, so that it reads them whole.

A list of words, one a line:

    python extend_vocab.py --vocab_file=$BERT/vocab.txt --bert_config_file=$BERT/bert_config.json \
      --init_checkpoint=$BERT/bert_model.ckpt --words_file=words.txt --output_dir=uncased_medical

The words of a text that save most pieces:

    python extend_vocab.py --vocab_file=$BERT/vocab.txt --bert_config_file=$BERT/bert_config.json \
      --init_checkpoint=$BERT/bert_model.ckpt --input_file='corpus/*.txt' --output_dir=uncased_medical

New words take the rows of the tokens [unusedN] first; when these are used up, vocab_size grows. Their embeddings, and
their biases of the masked LM's output, start as the means of the pieces that stood for them. They mean little more
until the model is trained on (run_pretraining.py). State of an optimizer is not taken over.

A new word is also found at the start of longer words, which are cut otherwise then; with --input_file the number of
these is printed. All other text gives the same input to the model as before, and the same output.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import dataclasses

from absl import flags, logging

from modeling.checkpoint import resolve_prefix
from modeling.config import BertConfig
from modeling.release import check_new_folder, write_release
from modeling.vocabulary import add_words, read_parameters
from tokenization import FullTokenizer, validate_case_matches_checkpoint
from tokenization.corpus import read_blocks
from tokenization.extension import (
    WordList,
    choose_words,
    count_changes,
    free_rows,
    place_words,
    read_word_list,
)
from tokenization.fertility import fertility_table, measure_fertility
from tokenization.files import match_files, read_lines
from tokenization.word_counts import WordCounts, count_words

FLAGS = flags.FLAGS

NUM_SHOWN = 10


def define_flags() -> None:
    """Declares the flags of this script; the original has no such script."""
    flags.DEFINE_string("vocab_file", None, "Vocabulary of the model.")
    flags.DEFINE_string("bert_config_file", None, "Configuration of the model.")
    flags.DEFINE_string("init_checkpoint", None, "Checkpoint of the model.")
    flags.DEFINE_string(
        "output_dir", None, "Folder to write: bert_model.ckpt.*, bert_config.json, vocab.txt."
    )
    flags.DEFINE_bool("do_lower_case", True, "As the model was trained; true for uncased ones.")
    flags.DEFINE_string("words_file", None, "Words to add, one a line.")
    flags.DEFINE_string(
        "input_file",
        None,
        "Instead: text from which to choose them, plain or packed; files or globs, separated by commas.",
    )
    flags.DEFINE_integer(
        "num_words",
        None,
        "Words to choose from --input_file; by default as many as there are tokens [unusedN].",
        1,
    )
    flags.DEFINE_integer("min_count", 5, "Words that come less often are not chosen.", 1)


def main() -> None:
    """Reads and checks everything, then writes, and says what was added."""
    if bool(FLAGS.words_file) == bool(FLAGS.input_file):
        raise ValueError("give --words_file or --input_file, one of them")
    check_new_folder(FLAGS.output_dir)
    validate_case_matches_checkpoint(FLAGS.do_lower_case, FLAGS.init_checkpoint)
    prefix = resolve_prefix(FLAGS.init_checkpoint)
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    before = FullTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    before.check_special_tokens()
    old_tokens = [line.strip() for line in read_lines(FLAGS.vocab_file)]
    config.check_vocab_size(len(old_tokens), FLAGS.vocab_file)

    counts = _count() if FLAGS.input_file else None
    words = _choose(counts, before, old_tokens) if counts else _listed(before)
    tokens, rows = place_words(old_tokens, words)
    pieces = {row: before.encode(word) for row, word in zip(rows, words, strict=True)}
    larger = dataclasses.replace(config, vocab_size=max(config.vocab_size, len(tokens)))
    parameters, state = read_parameters(prefix)
    tensors = add_words(parameters, pieces, config.vocab_size, larger.vocab_size)
    vocabulary = "".join(f"{token}\n" for token in tokens)
    write_release(FLAGS.output_dir, tensors, larger, vocabulary.encode())

    _print_summary(words, before, rows[-1] - len(old_tokens) + 1, len(state))
    print(f"vocab_size     {config.vocab_size} -> {larger.vocab_size}")
    if counts:
        ids = {token: row for row, token in enumerate(tokens)}
        _print_effect(counts, before, FullTokenizer.from_vocab(ids, FLAGS.do_lower_case))


def _count() -> WordCounts:
    files = match_files(FLAGS.input_file)
    counts = count_words(
        (block for file in files for block in read_blocks(file)), FLAGS.do_lower_case
    )
    if not counts.words:
        raise ValueError(f"there is no word in the text of --input_file={FLAGS.input_file}")
    if counts.pruned:
        logging.warning(
            "%d occurrences of rare words were forgotten to save memory, and are in no count",
            counts.pruned,
        )
    return counts


def _choose(counts: WordCounts, tokenizer: FullTokenizer, tokens: list[str]) -> list[str]:
    num_words = FLAGS.num_words or len(free_rows(tokens))
    if not num_words:
        raise ValueError(f"{FLAGS.vocab_file} has no token [unusedN] left: give --num_words")
    words = choose_words(counts, tokenizer, num_words, FLAGS.min_count)
    if not words:
        raise ValueError(
            f"--input_file={FLAGS.input_file}: the vocabulary splits no word that comes {FLAGS.min_count} times or "
            "more (--min_count)"
        )
    return words


def _listed(tokenizer: FullTokenizer) -> list[str]:
    words: WordList = read_word_list(FLAGS.words_file, tokenizer)
    for listed, why in ((words.known, "already in the vocabulary"), (words.repeated, "repeated")):
        if listed:
            print(f"not added      {len(listed)} words, {why}: {_some(listed)}")
    if not words.new:
        raise ValueError(f"--words_file={FLAGS.words_file} holds no word that is new")
    return words.new


def _print_summary(words: list[str], before: FullTokenizer, grown: int, num_state: int) -> None:
    appended = max(grown, 0)
    print(f"written        {FLAGS.output_dir}")
    print(
        f"added          {len(words)} words: {len(words) - appended} in rows [unusedN], {appended} in new ones"
    )
    print(f"               {_some(words)}")
    unknown = [word for word in words if before.tokenize(word) == ["[UNK]"]]
    if unknown:
        print(
            f"without pieces {len(unknown)} words, which start with what [UNK] has: {_some(unknown)}"
        )
    if num_state:
        print(f"left out       {num_state} tensors of optimizer state and counters")


def _some(words: list[str]) -> str:
    more = f", ... and {len(words) - NUM_SHOWN} more" if len(words) > NUM_SHOWN else ""
    return ", ".join(words[:NUM_SHOWN]) + more


def _print_effect(counts: WordCounts, before: FullTokenizer, after: FullTokenizer) -> None:
    changes = count_changes(counts, before, after)
    print(
        f"cut otherwise  {changes.words} other words of the text, which begin with a new one ({changes.occurrences} "
        f"occurrences); {len(changes.unknown)} of them become [UNK]"
        + (f": {_some(changes.unknown)}" if changes.unknown else "")
    )
    columns = {
        name: measure_fertility(tokenizer.vocab, counts, NUM_SHOWN)
        for name, tokenizer in (("before", before), ("after", after))
    }
    print(f"\n{fertility_table(columns)}")


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(
        ["vocab_file", "bert_config_file", "init_checkpoint", "output_dir"]
    )
    app.run(main)
