r"""Writes what layers of BERT make of any text: vectors of tokens or of lines (Devlin et al. 2019, section 5.3).

    python extract_features.py --input_file=input.txt --output_file=output.jsonl \
      --vocab_file=$BERT_BASE_DIR/vocab.txt --bert_config_file=$BERT_BASE_DIR/bert_config.json \
      --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt --layers=-1,-2,-3,-4 --max_seq_length=128 --batch_size=8

Each line of the input is a text, or a pair of texts with ` ||| ` between them; blank lines count.
finetuning/vector_files.py tells what is in the output.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import os
from collections.abc import Iterator

from absl import flags, logging

from finetuning.extraction import (
    POOLINGS,
    encode_lines,
    extract,
    load_encoder,
    parse_layers,
    progress_log,
    static_lengths,
)
from finetuning.vector_files import FORMATS, vector_writer
from modeling.checkpoint import resolve_prefix
from modeling.config import BertConfig
from tokenization import FullTokenizer, validate_case_matches_checkpoint
from tokenization.files import prepare_output, read_lines
from training.device_flags import define_device_flags, device_strategy
from training.strategy import check_batch_size, set_seed_and_precision
from training.workers import workers_of_tf_config

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this script: names and defaults of the original."""
    flags.DEFINE_string("input_file", None, "Text in UTF-8, one or two (` ||| `) in a line.")
    flags.DEFINE_string("output_file", None, "File to write; replaced if it exists.")
    flags.DEFINE_string("vocab_file", None, "Vocabulary of the model (vocab.txt).")
    flags.DEFINE_string("bert_config_file", None, "Architecture (bert_config.json).")
    flags.DEFINE_string(
        "init_checkpoint", None, "Weights: a pre-trained or a fine-tuned checkpoint."
    )
    flags.DEFINE_string("layers", "-1,-2,-3,-4", "Layers: 0 is the first, -1 the last.")
    flags.DEFINE_integer("max_seq_length", 128, "Longest input in WordPieces; the rest is cut off.")
    flags.DEFINE_bool("do_lower_case", True, "Lower-case the text; false for cased models.")
    flags.DEFINE_alias("do_lower", "do_lower_case")
    flags.DEFINE_integer("batch_size", 32, "Lines in a batch, over all devices.", 1)
    flags.DEFINE_bool(
        "use_one_hot_embeddings",
        False,
        "Changes nothing: it chose how the original looks up embeddings, with the same result.",
    )
    flags.DEFINE_enum("output_format", "jsonl", FORMATS, "The original's JSON, or arrays of numpy.")
    flags.DEFINE_enum(
        "pooling",
        "none",
        [*POOLINGS],
        "One vector for each line instead of each token: that of [CLS], or mean or maximum over all tokens, "
        "[CLS] and [SEP] included.",
    )
    define_device_flags(["float32", "bfloat16"], "Precision of matrix products.")


def read_tokenizer(config: BertConfig) -> FullTokenizer:
    """Returns the tokenizer, after the checks that need no model."""
    validate_case_matches_checkpoint(FLAGS.do_lower_case, FLAGS.init_checkpoint)
    resolve_prefix(FLAGS.init_checkpoint)
    config.check_seq_length(FLAGS.max_seq_length)
    tokenizer = FullTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    config.check_vocab_size(len(tokenizer.vocab), FLAGS.vocab_file)
    return tokenizer


def open_input() -> tuple[Iterator[str], int | None]:
    """Returns the lines, and their number unless the input is a pipe.

    A file is read once before all work, which finds a bad byte early; a pipe can be read only once.
    """
    path = FLAGS.input_file
    for flag in ("input_file", "vocab_file", "bert_config_file"):
        if os.path.realpath(FLAGS[flag].value) == os.path.realpath(FLAGS.output_file):
            raise ValueError(f"--output_file={FLAGS.output_file} is also --{flag}: name another")
    is_pipe = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    total = None if is_pipe else sum(1 for _ in read_lines(path))
    if total == 0:
        raise ValueError(f"--input_file={path} is empty")
    return read_lines(path), total


def main() -> None:
    """Checks everything, then writes line by line while the next lines are computed."""
    if workers_of_tf_config() > 1:
        raise ValueError(
            "TF_CONFIG names several workers, and this script runs on one host: unset it, and give each host a part of "
            "--input_file"
        )
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    layers = parse_layers(FLAGS.layers, config.num_hidden_layers)
    tokenizer = read_tokenizer(config)
    texts, total = open_input()
    lines = encode_lines(texts, tokenizer, FLAGS.max_seq_length)
    strategy = device_strategy()
    check_batch_size("batch_size", FLAGS.batch_size, strategy)
    set_seed_and_precision(0, FLAGS.dtype)
    model = load_encoder(config, FLAGS.init_checkpoint, strategy)
    prepare_output(FLAGS.output_file)
    results = extract(
        model,
        lines,
        strategy,
        layers=layers,
        pooling=FLAGS.pooling,
        batch_size=FLAGS.batch_size,
        lengths=static_lengths(FLAGS.max_seq_length),
        report=progress_log(total),
    )
    token_chars = max(map(len, tokenizer.vocab)) if FLAGS.pooling == "none" else None
    output = FLAGS.output_file, FLAGS.output_format, layers, config.hidden_size, token_chars
    count = cut = 0
    with vector_writer(*output) as write:
        for line, vectors in results:
            write(line.number, tokenizer.convert_ids_to_tokens(line.input_ids), vectors)
            count += 1
            cut += line.is_cut
        if not count:
            raise ValueError(f"--input_file={FLAGS.input_file} is empty")
    logging.info(
        "%d lines in %s; %d of them cut to --max_seq_length=%d",
        count,
        FLAGS.output_file,
        cut,
        FLAGS.max_seq_length,
    )


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(
        ["input_file", "vocab_file", "bert_config_file", "init_checkpoint", "output_file"]
    )
    app.run(main)
