"""One measurement of HuggingFace transformers on PyTorch's CPU: the other side of benchmarks/train_step.py.

Runs under an interpreter of its own, which has torch, transformers and numpy but nothing of this project. Reads a case
(see `make_case` there) as JSON from stdin and prints the seconds of every training step as JSON.

Two variants. `as_shipped` is BertForPreTraining as it comes: it computes the vocabulary at all positions and ignores
most of the logits. `masked_only` takes the same modules but lets only the masked positions through the vocabulary head,
as this project does. Where PyTorch has a choice both take the faster one: fused AdamW, the attention that transformers
selects by itself, and the erf form of GELU, which is what transformers means by "gelu" (ours is the tanh form, which
costs PyTorch two to four times as much).
"""

import json
import os
import sys
import time

import torch
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForPreTraining

IGNORED = -100  # a label that is no masked token


def main() -> None:
    """Reads the case, trains, prints."""
    case = json.load(sys.stdin)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**case["config"])).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    batch = {name: torch.tensor(values) for name, values in case["batch"].items()}
    loss = {"masked_only": masked_only, "as_shipped": as_shipped}[case["peer_variant"]]
    seconds = []
    for _ in range(case["steps"]):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=case["dtype"] == "bfloat16"):
            value = loss(model, batch)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value.item()
        seconds.append(time.perf_counter() - start)
    json.dump(seconds, sys.stdout)


def masked_only(model, batch):
    """Returns the loss, with logits [B, P, V] of the masked positions."""
    outputs = encode(model.bert, batch)
    rows = torch.arange(len(batch["input_ids"]))[:, None]  # [B, 1]
    masked = outputs.last_hidden_state[rows, batch["masked_lm_positions"]]  # [B, P, H]
    logits = model.cls.predictions(masked)  # [B, P, V]
    next_sentence = model.cls.seq_relationship(outputs.pooler_output)  # [B, 2]
    return cross_entropy(logits.flatten(0, 1), batch["masked_lm_ids"].flatten()) + cross_entropy(
        next_sentence, batch["next_sentence_labels"].flatten()
    )


def as_shipped(model, batch):
    """Returns the loss, with logits [B, S, V] of all positions."""
    labels = torch.full_like(batch["input_ids"], IGNORED)
    labels.scatter_(1, batch["masked_lm_positions"], batch["masked_lm_ids"])
    next_sentence_labels = batch["next_sentence_labels"].flatten()
    return encode(model, batch, labels=labels, next_sentence_label=next_sentence_labels).loss


def encode(module, batch, **labels):
    """Calls a model of transformers on the batch."""
    return module(
        input_ids=batch["input_ids"],
        attention_mask=batch["input_mask"],
        token_type_ids=batch["segment_ids"],
        **labels,
    )


if __name__ == "__main__":
    main()
