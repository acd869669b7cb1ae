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

_NO_LABEL = -1
_LEFT_TO_NEXT = 0.1  # share of the rows of whole sentences that leave one to the next, if there are several passes
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

    next_sentence: the original's. Sentences are put together up to a length; A is some of them, B the rest or, for half
      of the pairs and where there is but one sentence, sentences of another document, while the rest opens the next
      pair.
    sentence_order: ALBERT's. B is always the rest, half of the pairs are swapped; a lone sentence is cut in the middle.
    full_sentences: RoBERTa's. A is as many whole sentences as a row holds, of this and the next documents; there is no
      B. A sentence longer than a row is cut.
    doc_sentences: the same within each document.

    All sequences of a document aim at a shorter, random length with the recipe's short_seq_prob. In the last two
    objectives nothing else is drawn, and passes that begin at different sentences soon end theirs at the same ones. So
    in one of several passes a tenth of the full rows leave their last sentence to the next: of two passes over a long
    document, with sentences of 20 tokens, half of the rows of 128 tokens and a quarter of those of 512 are the same.

    Args:
      documents: at least one. Random next sentences come from here.
      recipe: its objective, max_seq_length, short_seq_prob and dupe_factor.
      rng: source of every draw.
    """
    pairs = recipe.objective in ("next_sentence", "sentence_order")
    limit = recipe.max_seq_length - (3 if pairs else 2)  # [CLS] A [SEP] B [SEP], [CLS] A [SEP]
    short = rng.random(documents.num_documents) < recipe.short_seq_prob
    targets = np.where(short, rng.integers(2, limit + 1, len(short)), limit)
    edges = np.concatenate([[0], documents.sentence_ends])
    text = _Pass(edges, documents.document_ends, limit, targets, rng)
    if recipe.objective == "next_sentence":
        return _next_sentence(text)
    if recipe.objective == "sentence_order":
        return _sentence_order(text)
    across = recipe.objective == "full_sentences"
    return _whole_sentences(text, across, several_passes=recipe.dupe_factor > 1)


class _Pass(NamedTuple):
    """What the functions below share.

    Attributes:
      edges: int64 [sentences + 1]. Where sentences start and end in the tokens.
      document_ends: int64 [documents]. See `TokenDocuments`.
      limit: tokens that a sequence has room for, without special tokens.
      targets: int64 [documents]. Length that the sequences of each document aim at, 2 to `limit`.
      rng: source of every draw.
    """

    edges: np.ndarray
    document_ends: np.ndarray
    limit: int
    targets: np.ndarray
    rng: np.random.Generator

    def ends(self, starts: np.ndarray, document: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Returns the sentences up to which chunks go: until they hold the target, at least one, in one document."""
        ends = np.searchsorted(self.edges, self.edges[starts] + np.maximum(targets, 1), "left")
        return np.minimum(ends, self.document_ends[document])


class _Chunks(NamedTuple):
    """Stretches of sentences that are cut into A and B; int64 [N] each.

    Attributes:
      document: number of the document.
      start: first sentence.
      middle: first sentence of B; the end of a lone sentence.
      end: first sentence after B.
      label: of the pair, 0 or 1.
    """

    document: np.ndarray
    start: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    label: np.ndarray


def _chunks(text: _Pass, random_next: bool) -> _Chunks:
    """Draws chunks and how they are cut; with `random_next` the B of the label 1 is left to the next chunk."""

    def draw(sentences: np.ndarray) -> np.ndarray:
        document = np.searchsorted(text.document_ends, sentences, "right")
        end = text.ends(sentences, document, text.targets[document])
        size = end - sentences
        middle = sentences + text.rng.integers(1, np.maximum(size, 2))
        label = text.rng.random(len(size)) < 0.5
        following = end
        if random_next:
            # A lone sentence has nothing after it, so more than half of all pairs are random.
            label |= size == 1
            following = np.where(label, middle, end)
        return np.stack([following, document, sentences, middle, end, label], axis=1)

    return _Chunks(*_walk(len(text.edges) - 1, draw)[:, 1:].T)


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


def _next_sentence(text: _Pass) -> Plan:
    chunks = _chunks(text, random_next=True)
    b_start, b_end = chunks.middle.copy(), chunks.end.copy()
    random = np.flatnonzero(chunks.label)
    document = chunks.document[random]
    other = _other_documents(document, len(text.document_ends), text.rng)
    firsts = np.concatenate([[0], text.document_ends])
    b_start[random] = text.rng.integers(firsts[other], firsts[other + 1])
    a_lengths = text.edges[chunks.middle[random]] - text.edges[chunks.start[random]]
    b_end[random] = text.ends(b_start[random], other, text.targets[document] - a_lengths)
    spans = np.stack([chunks.start, chunks.middle, b_start, b_end, chunks.label], axis=1)
    spans[:, :4] = text.edges[spans[:, :4]]
    cut = _truncate(spans, text.limit, text.rng)
    # What is cut off a random B has its turn elsewhere in the pass.
    return _plan(spans, tokens_cut=cut[:, 0].sum() + cut[chunks.label == 0, 1].sum())


def _other_documents(documents: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Returns for each document another one of `number`; itself if it is the only one."""
    if number == 1:
        return documents
    others = rng.integers(0, number - 1, len(documents))
    return others + (others >= documents)


def _sentence_order(text: _Pass) -> Plan:
    chunks = _chunks(text, random_next=False)
    start, middle, end = (text.edges[n] for n in (chunks.start, chunks.middle, chunks.end))
    middle = np.where(middle == end, (start + end) // 2, middle)
    spans = np.stack([start, middle, middle, end, chunks.label], axis=1)
    swapped = chunks.label == 1
    spans[swapped, :4] = spans[swapped][:, [2, 3, 0, 1]]
    paired = end - start > 1
    spans = spans[paired]
    cut = _truncate(spans, text.limit, text.rng)
    return _plan(spans, tokens_cut=cut.sum(), tokens_without_pair=(~paired).sum())


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


def _whole_sentences(text: _Pass, across: bool, several_passes: bool) -> Plan:
    edges = _cut_sentences(text.edges, text.limit)
    firsts = np.searchsorted(edges, text.edges[np.append(0, text.document_ends)])
    # Positions in a text that has a [SEP] after each document.
    ends = edges[1:] + np.repeat(np.arange(len(firsts) - 1), np.diff(firsts))

    def draw(sentences: np.ndarray) -> np.ndarray:
        document = np.searchsorted(firsts, sentences, "right") - 1
        goal = edges[sentences] + document + text.targets[document]
        following = np.maximum(np.searchsorted(ends, goal, "right"), sentences + 1)
        last = len(ends) if across else firsts[document + 1]
        following = np.minimum(following, last)
        if several_passes:
            left = text.rng.random(len(sentences)) < _LEFT_TO_NEXT
            following -= left & (following < last) & (following > sentences + 1)
        return np.stack([following, sentences], axis=1)

    end, start = _walk(len(ends), draw).T
    nothing = np.zeros_like(start)
    spans = np.stack([edges[start], edges[end], nothing, nothing, nothing + _NO_LABEL], axis=1)
    return _plan(spans)


def _cut_sentences(edges: np.ndarray, limit: int) -> np.ndarray:
    """Returns the edges of sentences of at most `limit` tokens: longer ones are cut into several."""
    long = np.flatnonzero(np.diff(edges) > limit)
    cuts = [np.arange(edges[n] + limit, edges[n + 1], limit) for n in long]
    return np.sort(np.concatenate([edges, *cuts]), kind="stable")


def _plan(spans: np.ndarray, tokens_cut: int = 0, tokens_without_pair: int = 0) -> Plan:
    counts = {
        "sequences": len(spans),
        "tokens_cut": int(tokens_cut),
        "tokens_without_pair": int(tokens_without_pair),
    }
    return Plan(spans, counts)
