"""One epoch of fine-tuning with HuggingFace transformers on PyTorch's CPU: the other side of benchmarks/finetuning.py.

Runs under an interpreter of its own, which has torch and transformers but nothing of this project. Reads texts, labels
and settings (see `peer` there) as JSON from stdin, and prints the seconds of training, without tokenizing, and the
share of padding as JSON.

Batches are drawn at random and padded to their longest example by the collator of transformers, as its Trainer does
unless it is told to group by length. Where PyTorch has a choice it takes the faster one: a fast tokenizer, fused AdamW,
the attention that transformers selects by itself.
"""

import json
import os
import sys
import time

import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    get_linear_schedule_with_warmup,
)

WARMUP_PROPORTION = 0.1
CLIP_NORM = 1.0


def main() -> None:
    """Reads the case, trains, prints."""
    case = json.load(sys.stdin)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(case["hf_dir"])
    model = BertForSequenceClassification.from_pretrained(case["hf_dir"], num_labels=2).train()
    batches = DataLoader(
        encode(tokenizer, case),
        case["batch_size"],
        shuffle=True,
        drop_last=True,
        collate_fn=DataCollatorWithPadding(tokenizer),
    )
    json.dump(train(model, batches, case["dtype"]), sys.stdout)


def encode(tokenizer, case: dict) -> list[dict]:
    """Returns the arguments of the model for each example, without padding."""
    columns = [list(column) for column in zip(*case["texts"], strict=True)]
    inputs = tokenizer(*columns, truncation="longest_first", max_length=case["max_seq_length"])
    inputs["labels"] = case["labels"]
    return [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]


def train(model, batches: DataLoader, dtype: str) -> dict[str, float]:
    """Returns the seconds of one epoch, and the share of padding."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01, fused=True)
    num_warmup_steps = int(WARMUP_PROPORTION * len(batches))
    schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps, len(batches))
    tokens = positions = 0
    start = time.perf_counter()
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        schedule.step()
        tokens += int(batch["attention_mask"].sum())
        positions += batch["attention_mask"].numel()
    return {"seconds": time.perf_counter() - start, "padding": 1 - tokens / positions}


if __name__ == "__main__":
    main()
