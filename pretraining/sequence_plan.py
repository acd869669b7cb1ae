"""Documents -> plan of one pass: which stretches of the text become sequences, and with which label.

Nothing is copied here: a sequence is four offsets in the tokens of the documents. What the original decides at the
start of each chunk is drawn for every sentence, as if a chunk started there, and then the chunks are walked through; so
all but the walk is arithmetic on whole arrays, with the original's distribution (paper, section 3.1, task 2).

Shapes: N sequences.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pretraining.recipe import Recipe
from pretraining.token_documents import TokenDocuments

_BLOCK = 1 << 16  # sentences whose draws are in memory at a time


class Plan(NamedTuple):
    """The sequences of a pass, in the order of the text.

    Attributes:
      spans: int64 [N, 5]. Where A starts and ends and B starts and ends in the tokens, and the label: 1 if B is random
        (next_sentence) or comes before A (sentence_order), 0 if it follows A; -1 where there is no such task and B is
        empty. An end of a document within A stands for a [SEP].
      counts: "sequences"; "tokens_cut", tokens of the text that the pass leaves out as a pair has no room for them;
        "tokens_without_pair", those of sentences of one token, which cannot be cut in two (sentence_order).
    """

    spans: np.ndarray
    counts: dict[str, int]


def plan_pass(documents: TokenDocuments, recipe: Recipe, rng: np.random.Generator) -> Plan:
    """Plans one pass over the documents.

    Args:
      documents: at least one. Random next sentences come from here.
      recipe: its objective, max_seq_length and short_seq_prob, and whether there are several passes.
      rng: source of every draw.
    """
    edges = np.concatenate([[0], documents.sentence_ends])
    limit = recipe.max_seq_length - 3  # [CLS] A [SEP] B [SEP]
    targets = _targets(documents.num_documents, limit, recipe.short_seq_prob, rng)
    chunks = _chunks(documents, edges, targets, rng)
    return _next_sentence(documents, edges, targets, chunks, limit, rng)


class _Chunks(NamedTuple):
    """Stretches of sentences that are cut into A and B; int64 [N] each.

    Attributes:
      document: number of the document.
      start: first sentence.
      middle: first sentence of B.
      end: first sentence after B.
      label: 1 if B is not used; the chunk ends at `middle` then.
    """

    document: np.ndarray
    start: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    label: np.ndarray


def _targets(
    number: int, limit: int, short_seq_prob: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns the length that the sequences of each document aim at in this pass: int64 [documents]."""
    short = rng.random(number) < short_seq_prob
    return np.where(short, rng.integers(2, limit + 1, number), limit)


def _chunks(
    documents: TokenDocuments, edges: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> _Chunks:
    def draw(sentences: np.ndarray) -> np.ndarray:
        document = np.searchsorted(documents.document_ends, sentences, "right")
        end = _ends(documents, edges, sentences, document, targets[document])
        size = end - sentences
        middle = sentences + rng.integers(1, np.maximum(size, 2))
        # A lone sentence has nothing after it, so more than half of all pairs are random.
        label = (size == 1) | (rng.random(len(size)) < 0.5)
        following = np.where(label, middle, end)
        return np.stack([following, document, sentences, middle, end, label], axis=1)

    return _Chunks(*_walk(len(documents.sentence_ends), draw)[:, 1:].T)


def _ends(
    documents: TokenDocuments,
    edges: np.ndarray,
    starts: np.ndarray,
    document: np.ndarray,
    targets: np.ndarray,
) -> np.ndarray:
    """Returns the sentences up to which chunks go: until they hold the target, at least one, within the document."""
    ends = np.searchsorted(edges, edges[starts] + np.maximum(targets, 1), "left")
    return np.minimum(ends, documents.document_ends[document])


def _walk(number: int, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Goes from item 0 to the item that follows it, and so on, up to `number`.

    Args:
      number: of items.
      draw: items -> a row for each, which begins with the item that follows, a later one.

    Returns:
      The rows of the items that were come by.
    """
    found, item = [], 0
    for first in range(0, number, _BLOCK):
        rows = draw(np.arange(first, min(number, first + _BLOCK)))
        following = rows[:, 0].tolist()
        visited = []
        while item < first + len(following):
            visited.append(item - first)
            item = following[item - first]
        found.append(rows[visited])
    return np.concatenate(found)


def _next_sentence(
    documents: TokenDocuments,
    edges: np.ndarray,
    targets: np.ndarray,
    chunks: _Chunks,
    limit: int,
    rng: np.random.Generator,
) -> Plan:
    b_first, b_last = chunks.middle.copy(), chunks.end.copy()
    random = np.flatnonzero(chunks.label)
    document, start = chunks.document[random], chunks.start[random]
    other = _other_documents(document, documents.num_documents, rng)
    firsts = np.concatenate([[0], documents.document_ends])
    b_first[random] = rng.integers(firsts[other], firsts[other + 1])
    room = targets[document] - (edges[chunks.middle[random]] - edges[start])
    b_last[random] = _ends(documents, edges, b_first[random], other, room)
    spans = np.stack([chunks.start, chunks.middle, b_first, b_last, chunks.label], axis=1)
    spans[:, :4] = edges[spans[:, :4]]
    cut = _truncate(spans, limit, rng)
    lost = cut[:, 0].sum() + cut[chunks.label == 0, 1].sum()
    return Plan(spans, {"sequences": len(spans), "tokens_cut": int(lost)})


def _other_documents(documents: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Returns for each document another one of `number`; itself if it is the only one."""
    others = rng.integers(0, max(1, number - 1), len(documents))
    return others + (others >= documents) if number > 1 else others


def _truncate(spans: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Takes tokens off the ends of the longer span, B if they are equal, until both fit; in place.

    Front and back are equally likely for each token, so that spans begin and end anywhere in a sentence.

    Returns:
      int64 [N, 2]. Tokens taken off A and B.
    """
    a, b = spans[:, 1] - spans[:, 0], spans[:, 3] - spans[:, 2]
    kept_b = np.minimum(b, np.maximum(limit // 2, limit - a))
    kept_a = np.minimum(a, limit - kept_b)
    cut = np.stack([a - kept_a, b - kept_b], axis=1)
    front = rng.binomial(cut, 0.5)
    spans[:, 0:4:2] += front
    spans[:, 1:4:2] -= cut - front
    return cut
