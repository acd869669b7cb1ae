"""Checks our BERT against HuggingFace transformers on the same real weights and sentences.

A development check. It needs an environment of its own, beside this project's requirements:

    python -m venv hf && hf/bin/pip install -r requirements/pinned.txt torch==2.13.0 transformers
    hf/bin/python benchmarks/check_against_transformers.py --hf_dir=... --converted_dir=...

Prints the largest absolute difference of the embeddings, of every layer and of the pooled output (real tokens only);
exits with 1 if one is above the tolerance.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
import tensorflow as tf
import torch
import transformers

from modeling.checkpoint import load_init_checkpoint
from modeling.config import BertConfig
from modeling.encoder import BertModel
from tokenization import FullTokenizer

TOLERANCE = 2e-5
PAIRS = [
    ("Who was Jim Henson?", "Jim Henson was a puppeteer."),
    ("The river froze twice that winter.", "Nobody had crossed it on foot before, they said."),
    ("Yes.", "No."),
    (
        "Although the committee had asked for the accounts in March, they arrived in September.",
        "By then the treasurer had left the country, and the ink on the last page was still wet; "
        'what the other pages said was, as the chairman put it, "of historical interest only".',
    ),
    ("Die Köchin naïvely ordered 3,500 crème brûlées for €12.40 each!", "東京 is far away."),
]


def encode(vocab_file: str) -> dict[str, np.ndarray]:
    """Returns input_ids, input_mask, segment_ids, int32 [B, S], of the sentence pairs, padded."""
    tokenizer = FullTokenizer(vocab_file, do_lower_case=True)
    rows = []
    for first, second in PAIRS:
        first = ["[CLS]", *tokenizer.tokenize(first), "[SEP]"]
        second = [*tokenizer.tokenize(second), "[SEP]"]
        ids = tokenizer.convert_tokens_to_ids(first + second)
        rows.append((ids, [1] * len(ids), [0] * len(first) + [1] * len(second)))
    length = max(len(ids) for ids, _, _ in rows)
    columns = zip(*rows, strict=True)
    names = ("input_ids", "input_mask", "segment_ids")
    return {
        name: np.array([values + [0] * (length - len(values)) for values in column], np.int32)
        for name, column in zip(names, columns, strict=True)
    }


def our_outputs(converted_dir: str, batch: dict) -> list[np.ndarray]:
    """Returns embedding output, the output of every layer, pooled output."""
    model = BertModel(BertConfig.from_json_file(f"{converted_dir}/bert_config.json"))
    variables = {variable.path: variable for variable in model.trainable_variables}
    print(load_init_checkpoint(f"{converted_dir}/bert_model.ckpt", variables).summary())
    outputs = model(**{name: tf.constant(values) for name, values in batch.items()})
    layers = [outputs.embedding_output, *outputs.encoder_outputs]
    return [layer.numpy() for layer in layers] + [outputs.pooled_output.numpy()]


def their_outputs(hf_dir: str, batch: dict) -> list[np.ndarray]:
    """Returns the same of transformers."""
    model = transformers.BertModel.from_pretrained(hf_dir, attn_implementation="eager").eval()
    with torch.no_grad():
        outputs = model(
            input_ids=torch.tensor(batch["input_ids"]).long(),
            attention_mask=torch.tensor(batch["input_mask"]).long(),
            token_type_ids=torch.tensor(batch["segment_ids"]).long(),
            output_hidden_states=True,
        )
    return [layer.numpy() for layer in outputs.hidden_states] + [outputs.pooler_output.numpy()]


def main() -> int:
    """Compares; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hf_dir", required=True, help="HuggingFace folder.")
    parser.add_argument("--converted_dir", required=True, help="What convert_checkpoint.py made.")
    arguments = parser.parse_args()
    batch = encode(f"{arguments.converted_dir}/vocab.txt")
    mask = batch["input_mask"].astype(bool)
    print(
        f"{len(PAIRS)} pairs, lengths {mask.sum(1).tolist()}, transformers {transformers.__version__}"
    )
    ours = our_outputs(arguments.converted_dir, batch)
    theirs = their_outputs(arguments.hf_dir, batch)
    names = ["embeddings", *(f"layer {i}" for i in range(1, len(ours) - 1)), "pooled"]
    worst = 0.0
    for name, a, b in zip(names, ours, theirs, strict=True):
        difference = np.abs(a - b)
        difference = difference if name == "pooled" else difference[mask]
        worst = max(worst, difference.max())
        print(
            f"{name:<11} largest difference {difference.max():.1e}, largest value {np.abs(b).max():.2f}"
        )
    print(
        f"{'agrees' if worst <= TOLERANCE else 'DIFFERS'}: {worst:.1e}, tolerance {TOLERANCE:.0e}"
    )
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
