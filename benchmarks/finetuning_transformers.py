"""Fine-tuning with HuggingFace transformers on PyTorch's CPU: the other side of benchmarks/finetuning*.py.

Runs under an interpreter of its own, which has torch and transformers but nothing of this project. Reads data and
settings as JSON from stdin, see `peer_settings` in benchmarks/finetuning.py. Prints the seconds of training, without
tokenizing, the share of padding, and what is predicted for the examples of the development set as JSON.

Batches are drawn at random and padded to their longest example by the collator of transformers, as its Trainer does
unless it is told to group by length. Schedule, clipping, the reach of weight decay and Adam's epsilon are those of
run_classifier.py with --adam_bias_correction. Where PyTorch has a choice it takes the faster one: a fast tokenizer,
fused AdamW, the attention that transformers selects by itself.
"""

import json
import re
import sys
import time

import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    BertForTokenClassification,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
)

WARMUP_PROPORTION = 0.1
CLIP_NORM = 1.0
WEIGHT_DECAY = 0.01
NOT_DECAYED = re.compile("LayerNorm|bias")
NO_LABEL = -100  # what PyTorch's loss leaves out


def main() -> None:
    """Reads the case, trains, predicts, prints."""
    case = json.load(sys.stdin)
    torch.set_num_threads(case["num_threads"])
    torch.manual_seed(case["seed"])
    is_tagging = case["kind"] == "tagging"
    tokenizer = AutoTokenizer.from_pretrained(case["hf_dir"])
    network = BertForTokenClassification if is_tagging else BertForSequenceClassification
    model = network.from_pretrained(case["hf_dir"], num_labels=case["num_labels"])
    collator = DataCollatorForTokenClassification if is_tagging else DataCollatorWithPadding
    collate, encode = collator(tokenizer), encode_words if is_tagging else encode_texts
    examples = encode(tokenizer, case["texts"], case["labels"], case["max_seq_length"])
    batches = DataLoader(
        examples, case["batch_size"], shuffle=True, drop_last=True, collate_fn=collate
    )
    report = train(model.train(), batches, case)
    if case["dev_texts"]:
        examples = encode(tokenizer, case["dev_texts"], case["dev_labels"], case["max_seq_length"])
        batches = DataLoader(examples, case["batch_size"], collate_fn=collate)
        report["predictions"] = predict(model.eval(), batches, case)
    json.dump(report, sys.stdout)


def encode_texts(tokenizer, texts: list, labels: list, max_seq_length: int) -> list[dict]:
    """Returns the arguments of the model for each example, without padding."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    inputs = tokenizer(*columns, truncation="longest_first", max_length=max_seq_length)
    inputs["labels"] = labels
    return [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]


def encode_words(tokenizer, sentences: list, tags: list, max_seq_length: int) -> list[dict]:
    """The same for sentences of words with a tag each; the first piece of a word has the tag."""
    inputs = tokenizer(
        sentences, is_split_into_words=True, truncation=True, max_length=max_seq_length
    )
    inputs["labels"] = [
        [NO_LABEL if word is None else own[word] for word in first_pieces(inputs.word_ids(row))]
        for row, own in enumerate(tags)
    ]
    return [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]


def first_pieces(words: list[int | None]) -> list[int | None]:
    """Returns, for each piece, the word that it is the first of."""
    return [
        word if word != before else None
        for word, before in zip(words, [None, *words[:-1]], strict=True)
    ]


def make_optimizer(model, learning_rate: float, num_steps: int):
    """Returns AdamW as run_classifier.py has it with --adam_bias_correction, and its schedule."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if not NOT_DECAYED.search(n)]},
        {"params": [p for n, p in named if NOT_DECAYED.search(n)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=learning_rate, eps=1e-6, weight_decay=WEIGHT_DECAY, fused=True
    )
    num_warmup_steps = int(WARMUP_PROPORTION * num_steps)

    def rate(step):  # that of transformers begins its descent at the full rate
        return step / num_warmup_steps if step < num_warmup_steps else 1 - step / num_steps

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate)


def train(model, batches: DataLoader, case: dict) -> dict[str, float]:
    """Returns the seconds of training, and the share of padding."""
    num_steps = len(batches) * case["num_epochs"]
    optimizer, schedule = make_optimizer(model, case["learning_rate"], num_steps)
    tokens = positions = 0
    start = time.perf_counter()
    for _ in range(case["num_epochs"]):
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=case["dtype"] == "bfloat16"):
                loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
            optimizer.step()
            schedule.step()
            tokens += int(batch["attention_mask"].sum())
            positions += batch["attention_mask"].numel()
    return {"seconds": time.perf_counter() - start, "padding": 1 - tokens / positions}


@torch.no_grad()
def predict(model, batches: DataLoader, case: dict) -> list:
    """Returns the best label of each example, the number, or the best tags of the words that were not cut off."""
    predictions = []
    for batch in batches:
        labels = batch.pop("labels")
        with torch.autocast("cpu", torch.bfloat16, enabled=case["dtype"] == "bfloat16"):
            logits = model(**batch).logits.float()
        if case["kind"] == "regression":
            predictions += logits[:, 0].tolist()
        elif case["kind"] == "single":
            predictions += logits.argmax(-1).tolist()
        else:
            best = zip(logits.argmax(-1), labels != NO_LABEL, strict=True)
            predictions += [tags[is_first].tolist() for tags, is_first in best]
    return predictions


if __name__ == "__main__":
    main()
