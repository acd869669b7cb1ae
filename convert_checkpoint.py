"""Turns a HuggingFace BERT into the original's files: bert_model.ckpt, bert_config.json, vocab.txt.

    python convert_checkpoint.py --hf_dir=bert-base-uncased --output_dir=uncased_L-12_H-768_A-12

Only `model.safetensors` is read (no torch, no pickle). "gelu" there is the exact form and becomes "gelu_erf" here.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import json
import os
from typing import NamedTuple

from absl import flags

from modeling.config import BertConfig
from modeling.huggingface import Converted, read_config, read_tensors
from modeling.release import check_new_folder, write_release

FLAGS = flags.FLAGS

HEADS = {
    "bert/pooler/dense/kernel": "pooler",
    "cls/predictions/output_bias": "masked LM",
    "cls/seq_relationship/output_weights": "next sentence",
    "output_weights": "classifier",
    "cls/squad/output_weights": "question answering",
}


def define_flags() -> None:
    """Defines the flags of this script."""
    flags.DEFINE_string(
        "hf_dir",
        None,
        "Folder with config.json, model.safetensors and vocab.txt or tokenizer.json.",
    )
    flags.DEFINE_string(
        "output_dir", None, "Folder to write: bert_model.ckpt.*, bert_config.json, vocab.txt."
    )


class Vocabulary(NamedTuple):
    """A vocabulary file and what the tokenizer's settings say.

    Attributes:
      text: content of `vocab.txt`, UTF-8.
      size: number of its entries.
      lower_case: whether text is lower-cased; None if the folder does not say.
    """

    text: bytes
    size: int
    lower_case: bool | None


def main() -> None:
    """Converts and prints what was converted."""
    print(convert(FLAGS.hf_dir, FLAGS.output_dir))


def convert(hf_dir: str, output_dir: str) -> str:
    """Reads and checks everything, then writes; returns a table of what was converted.

    Raises:
      FileNotFoundError, ValueError: if the folder is not a whole BERT that this project computes.
      OSError: if the output cannot be written.
    """
    check_new_folder(output_dir)
    config = read_config(hf_dir)
    vocabulary = _read_vocabulary(hf_dir)
    if vocabulary.size > config.vocab_size:
        raise ValueError(
            f"{hf_dir}: the vocabulary has {vocabulary.size} entries, more than "
            f"vocab_size {config.vocab_size} of config.json"
        )
    converted = read_tensors(hf_dir, config)
    write_release(output_dir, converted.tensors, config, vocabulary.text)
    return _summary(output_dir, converted, config, vocabulary)


def _read_vocabulary(folder: str) -> Vocabulary:
    tokenizer = _read_optional(folder, "tokenizer.json")
    settings = _read_optional(folder, "tokenizer_config.json")
    path = os.path.join(folder, "vocab.txt")
    if os.path.exists(path):
        with open(path, "rb") as file:
            text = file.read()
    elif tokenizer.get("model", {}).get("type") == "WordPiece":
        ids = tokenizer["model"]["vocab"]
        text = "".join(f"{token}\n" for token in sorted(ids, key=ids.get)).encode()
    else:
        raise FileNotFoundError(
            f"{path}: no such file, and no tokenizer.json of WordPieces beside it"
        )
    normalizer = tokenizer.get("normalizer") or {}
    lower_case = settings.get("do_lower_case", normalizer.get("lowercase"))
    return Vocabulary(text, len(text.removesuffix(b"\n").split(b"\n")), lower_case)


def _read_optional(folder: str, name: str) -> dict:
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error


def _summary(folder: str, converted: Converted, config: BertConfig, vocabulary: Vocabulary) -> str:
    heads = [title for name, title in HEADS.items() if name in converted.tensors]
    if "pooler" not in heads:
        heads.append("no pooler, which starts from random values")
    casing = {True: "uncased", False: "cased", None: "not said there: set --do_lower_case yourself"}
    rows = {
        "written": folder,
        "tensors": f"{len(converted.tensors)} ({len(converted.left_out)} left out)",
        "parameters": f"{sum(tensor.size for tensor in converted.tensors.values()):,}",
        "layers x width": f"{config.num_hidden_layers} x {config.hidden_size}",
        "activation": config.hidden_act,
        "vocabulary": f"{vocabulary.size:,} entries, {casing[vocabulary.lower_case]}",
        "beside encoder": ", ".join(heads),
    }
    lines = [f"{title:<15} {value}" for title, value in rows.items()]
    lines += [f"{'left out':<15} {name}" for name in converted.left_out]
    return "\n".join(lines + _next_command(folder, vocabulary))


def _next_command(folder: str, vocabulary: Vocabulary) -> list[str]:
    lower_case = "false" if vocabulary.lower_case is False else "true"
    return [
        "",
        "Next, for example:",
        "  python run_classifier.py --task_name=MRPC --do_train=true --do_eval=true \\",
        f"    --data_dir=$GLUE_DIR/MRPC --do_lower_case={lower_case} --vocab_file={folder}/vocab.txt \\",
        f"    --bert_config_file={folder}/bert_config.json \\",
        f"    --init_checkpoint={folder}/bert_model.ckpt --output_dir=/tmp/mrpc_output",
    ]


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["hf_dir", "output_dir"])
    app.run(main)
