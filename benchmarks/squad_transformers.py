"""Fine-tunes on SQuAD with HuggingFace transformers and PyTorch, by the recipe of run_squad.py, for comparison.

    hf/bin/python benchmarks/squad_transformers.py --hf_dir=... --train_file=train-v1.1.json \
      --predict_file=dev-v1.1.json --seed=1

Needs torch and transformers, and nothing of this project. Reader, tokenizer, windows, network, loop, decoding and
metrics are independent of ours; weights, schedule, update rule, batch size, number of updates, precision and the reach
of dropout are the same. Prints the scores, the wall times and the arguments as JSON. What differs beside the random
numbers: batches are made of questions of similar length (as `group_by_length` of transformers does) and padded to
their longest, and answers are cut out of the text by the offsets of the tokenizer.
"""

import argparse
import collections
import json
import re
import string
import sys
import time

import torch
from finetuning_transformers import CLIP_NORM, make_optimizer
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, BertForQuestionAnswering

MAX_SEQ_LENGTH = 384
DOC_STRIDE = 128
MAX_QUERY_LENGTH = 64
N_BEST_SIZE = 20
MAX_ANSWER_LENGTH = 30
PREDICT_BATCH_SIZE = 8
GROUPED_BATCHES = (
    50  # that many batches are drawn at random, then sorted by length among themselves
)


def main() -> None:
    """Trains, evaluates and prints."""
    arguments = parse_arguments()
    torch.set_num_threads(arguments.num_threads)
    torch.manual_seed(arguments.seed)
    tokenizer = AutoTokenizer.from_pretrained(arguments.hf_dir)
    model = BertForQuestionAnswering.from_pretrained(arguments.hf_dir)
    questions = read_questions(arguments.train_file)
    windows = [window for question in questions for window in encode(tokenizer, question)]
    num_train_steps = int(len(questions) / arguments.train_batch_size * arguments.num_train_epochs)
    start = time.perf_counter()
    train(model, windows, num_train_steps, arguments)
    middle = time.perf_counter()
    scores = evaluate(model, tokenizer, read_questions(arguments.predict_file), arguments)
    seconds = {"train_seconds": middle - start, "predict_seconds": time.perf_counter() - middle}
    print(json.dumps({**scores, **seconds, "steps": num_train_steps, **vars(arguments)}, indent=2))


def parse_arguments() -> argparse.Namespace:
    """Returns the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hf_dir", required=True, help="HuggingFace folder of the weights.")
    parser.add_argument("--train_file", required=True, help="SQuAD's JSON.")
    parser.add_argument("--predict_file", required=True, help="SQuAD's JSON, with answers.")
    parser.add_argument("--version_2_with_negative", action="store_true")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--num_train_epochs", type=float, default=2.0)
    parser.add_argument("--train_batch_size", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--num_threads", type=int, default=2)
    return parser.parse_args()


def read_questions(path: str) -> list[dict]:
    """Returns the questions, each with its context and its answers."""
    with open(path, encoding="utf-8") as file:
        articles = json.load(file)["data"]
    return [
        {"context": paragraph["context"], **question}
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def encode(tokenizer, question) -> list[dict]:
    """Returns the windows over the context: ids, offsets into the context, and the answer's first and last token."""
    query = tokenizer(question["question"], add_special_tokens=False)["input_ids"]
    context = tokenizer(
        question["context"], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    head = [tokenizer.cls_token_id, *query[:MAX_QUERY_LENGTH], tokenizer.sep_token_id]
    room = MAX_SEQ_LENGTH - len(head) - 1
    ids, offsets, windows = context["input_ids"], context["offset_mapping"], []
    for first in range(0, max(len(ids), 1), DOC_STRIDE):
        part = ids[first : first + room]
        start, end = answer_tokens(question, offsets[first : first + room])
        windows.append(
            {
                "input_ids": [*head, *part, tokenizer.sep_token_id],
                "token_type_ids": [0] * len(head) + [1] * (len(part) + 1),
                "offsets": [None] * len(head) + offsets[first : first + room] + [None],
                "start": start + len(head) if end else 0,
                "end": end + len(head) - 1 if end else 0,
            }
        )
        if first + room >= len(ids):
            break
    return windows


def answer_tokens(question, offsets) -> tuple[int, int]:
    """Returns the first token of the answer and the one after its last; 0, 0 if it is not whole in the window."""
    if not question["answers"] or not offsets:
        return 0, 0
    first = question["answers"][0]["answer_start"]
    last = first + len(question["answers"][0]["text"])
    if first < offsets[0][0] or last > offsets[-1][1]:
        return 0, 0
    tokens = [i for i, (start, end) in enumerate(offsets) if start < last and end > first]
    return (tokens[0], tokens[-1] + 1) if tokens else (0, 0)


def train(model, windows, num_train_steps, arguments) -> None:
    """Trains by the update rule of the original with bias correction."""
    optimizer, schedule = make_optimizer(model, arguments.learning_rate, num_train_steps)
    model.train()
    for step, batch in enumerate(grouped_batches(windows, num_train_steps, arguments)):
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.dtype == "bfloat16"):
            outputs = model(**collate(batch))
        positions = [torch.tensor([window[name] for window in batch]) for name in ("start", "end")]
        loss = sum(
            cross_entropy(logits.float(), position)
            for logits, position in zip(
                (outputs.start_logits, outputs.end_logits), positions, strict=True
            )
        )
        optimizer.zero_grad()
        (loss / 2).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            print(f"step {step} of {num_train_steps}: loss {loss.item() / 2:.4f}", file=sys.stderr)


def grouped_batches(windows, num_train_steps, arguments):
    """Yields one batch a step, of windows of about the same length; a remainder of an epoch is dropped."""
    size, made = arguments.train_batch_size, 0
    while made < num_train_steps:
        batches = []
        for chunk in torch.randperm(len(windows)).split(size * GROUPED_BATCHES):
            ordered = sorted(chunk.tolist(), key=lambda i: len(windows[i]["input_ids"]))
            batches += [ordered[i : i + size] for i in range(0, len(ordered) - size + 1, size)]
        for i in torch.randperm(len(batches))[: num_train_steps - made]:
            yield [windows[j] for j in batches[i]]
            made += 1


def collate(batch) -> dict[str, torch.Tensor]:
    """Returns the arguments of the model, padded to the longest window."""
    length = max(len(window["input_ids"]) for window in batch)

    def padded(rows):
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])

    return {
        "input_ids": padded([window["input_ids"] for window in batch]),
        "token_type_ids": padded([window["token_type_ids"] for window in batch]),
        "attention_mask": padded([[1] * len(window["input_ids"]) for window in batch]),
    }


@torch.no_grad()
def evaluate(model, tokenizer, questions, arguments) -> dict[str, float]:
    """Returns exact match and F1 in percent, of all questions and, for SQuAD 2.0, of the two kinds."""
    model.eval()
    windows = [(i, window) for i, q in enumerate(questions) for window in encode(tokenizer, q)]
    windows.sort(key=lambda pair: len(pair[1]["input_ids"]))
    best = [(float("-inf"), "")] * len(questions)
    null = [float("inf")] * len(questions)
    for first in range(0, len(windows), PREDICT_BATCH_SIZE):
        batch = windows[first : first + PREDICT_BATCH_SIZE]
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.dtype == "bfloat16"):
            outputs = model(**collate([window for _, window in batch]))
        for (i, window), start, end in zip(
            batch, outputs.start_logits.float(), outputs.end_logits.float(), strict=True
        ):
            best[i] = max(best[i], best_span(window, start, end, questions[i]["context"]))
            null[i] = min(null[i], (start[0] + end[0]).item())
    texts = [
        "" if arguments.version_2_with_negative and lost > score else text
        for (score, text), lost in zip(best, null, strict=True)
    ]
    return score_texts(questions, texts, arguments.version_2_with_negative)


def best_span(window, start_logits, end_logits, context) -> tuple[float, str]:
    """Returns the score and the text of the likeliest answer in a window."""
    offsets, found = window["offsets"], (float("-inf"), "")
    count = min(N_BEST_SIZE, len(offsets))
    ends = end_logits[: len(offsets)].topk(count).indices.tolist()
    for start in start_logits[: len(offsets)].topk(count).indices.tolist():
        for end in ends:
            if offsets[start] and offsets[end] and start <= end < start + MAX_ANSWER_LENGTH:
                score = (start_logits[start] + end_logits[end]).item()
                found = max(found, (score, context[offsets[start][0] : offsets[end][1]]))
    return found


def score_texts(questions, texts, version_2) -> dict[str, float]:
    """Returns the official scores."""
    totals = collections.defaultdict(list)
    for question, text in zip(questions, texts, strict=True):
        golds = [words(answer["text"]) for answer in question["answers"]] or [[]]
        pair = (
            max(float(words(text) == gold) for gold in golds),
            max(f1(words(text), gold) for gold in golds),
        )
        totals[""].append(pair)
        if version_2:
            totals["HasAns_" if question["answers"] else "NoAns_"].append(pair)
    return {
        f"{kind}{name}": 100 * sum(column) / len(column)
        for kind, pairs in totals.items()
        for name, column in zip(("exact_match", "f1"), zip(*pairs, strict=True), strict=True)
    }


def words(text: str) -> list[str]:
    """Returns the words that count: in lower case, without punctuation and articles."""
    plain = "".join(char for char in text.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def f1(predicted: list[str], gold: list[str]) -> float:
    """Returns the harmonic mean of precision and recall over the words."""
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((collections.Counter(predicted) & collections.Counter(gold)).values())
    return 2 * common / (len(predicted) + len(gold))


if __name__ == "__main__":
    main()
