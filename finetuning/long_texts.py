"""What of a text stays that is longer than the model's input: its beginning, its two ends, or all of it in windows.

Sun et al. 2019 (section 5.3.1) compare them for documents. Shapes: M rows, N examples, C labels.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from finetuning.tasks import MULTI, REGRESSION
from finetuning.windows import Windows

TRUNCATIONS = HEAD, HEAD_TAIL, WINDOWS = "head", "head_tail", "windows"

Ids = list[int]


def cut(
    texts: tuple[Ids, Ids], room: tuple[int, int], truncation: str
) -> Iterator[tuple[Ids, Ids]]:
    """Yields the rows that an example is made into: one, or with windows at least one.

    Where one text of a pair has more windows than the other, the last of the other stands in the rows that are left.

    Args:
      texts: ids of the tokens of both.
      room: tokens of each that fit into a row.
      truncation: of TRUNCATIONS. Of a text that is too long, "head_tail" keeps the first quarter of its room from the
        beginning and the rest from the end; "windows" overlap by half of theirs.
    """
    parts = [_parts(ids, kept, truncation) for ids, kept in zip(texts, room, strict=True)]
    for row in range(max(map(len, parts))):
        a, b = (of_text[min(row, len(of_text) - 1)] for of_text in parts)
        yield a, b


def _parts(ids: Ids, room: int, truncation: str) -> list[Ids]:
    if room >= len(ids) or not room or truncation == HEAD:
        return [ids[:room]]
    if truncation == HEAD_TAIL:
        head = room // 4
        return [ids[:head] + ids[head - room :]]
    windows = Windows(len(ids), room, max(1, room // 2))
    return [ids[slice(*windows.bounds(index))] for index in range(windows.count)]


def mean_of_rows(
    scores: Mapping[str, np.ndarray], owners: np.ndarray, kind: str
) -> dict[str, np.ndarray]:
    """Returns the scores of examples whose outputs are the means of those of their rows.

    Args:
      scores: as from `objective.example_scores`, of M rows.
      owners: int [M]. The example of each row; all from 0 to N - 1 are there.
      kind: of the task.
    """
    _, first, counts = np.unique(owners, return_index=True, return_counts=True)
    sums = np.zeros([len(counts), scores["outputs"].shape[1]])
    np.add.at(sums, owners, scores["outputs"])
    means = (sums / counts[:, None]).astype(np.float32)
    found = judge(means, scores["label_ids"][first], kind)
    return found | {"is_real_example": np.ones(len(counts), np.int32)}


def judge(outputs: np.ndarray, labels: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """Returns what `objective.example_scores` makes of logits, made of probabilities or numbers.

    A probability that is rounded to 0 has the loss of the least one above it, 87 nats.

    Args:
      outputs: float32 [N, C].
      labels: [N], or [N, C] with any number of labels.
      kind: of the task.
    """
    found = {"outputs": outputs, "label_ids": labels}
    if kind == REGRESSION:
        numbers = outputs[:, 0]
        return found | {"predictions": numbers, "loss": np.square(numbers - labels)}
    if kind == MULTI:
        predictions = (outputs > 0.5).astype(np.int32)
        right = np.where(labels > 0, outputs, 1 - outputs)
        losses, correct = _nats(right).mean(-1), (predictions == labels).mean(-1)
    else:
        predictions = outputs.argmax(-1).astype(np.int32)
        losses = _nats(outputs[np.arange(len(labels)), labels])
        correct = predictions == labels
    return found | {
        "predictions": predictions,
        "loss": losses,
        "correct": correct.astype("float32"),
    }


def _nats(probabilities: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
