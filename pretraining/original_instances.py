"""Documents -> training instances: two spans of text, one of them masked, is B what follows A?

Next sentence prediction (paper, section 3.1, task 2). The order of the random draws is that of
`create_instances_from_document` in the original.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pretraining.original_documents import Document
from pretraining.original_masking import Masker

NUM_SPECIAL_TOKENS = 3  # [CLS] A [SEP] B [SEP]
TRIES_OF_THE_ORIGINAL = 10


class SentencePair(NamedTuple):
    """Two spans of text.

    a_ids: int [A]. Token ids of the first span.
    b_ids: int [B]. Token ids of the second span.
    is_random_next: whether B comes from somewhere else instead of following A.
    """

    a_ids: list[int]
    b_ids: list[int]
    is_random_next: bool


class Instance(NamedTuple):
    """One training example of S tokens, P of them masked.

    input_ids: int [S]. `[CLS] A [SEP] B [SEP]` with its holes.
    b_start: position of B's first token.
    is_random_next: label of the pair.
    masked_lm_positions: int [P]. Ascending.
    masked_lm_ids: int [P]. Original tokens at these positions.
    """

    input_ids: list[int]
    b_start: int
    is_random_next: bool
    masked_lm_positions: list[int]
    masked_lm_ids: list[int]


class InstanceMaker:
    """Makes the instances of one document at a time; all draws come from one generator in order."""

    def __init__(
        self,
        documents: Sequence[Document],
        cls_id: int,
        sep_id: int,
        masker: Masker,
        rng: random.Random,
        max_seq_length: int = 128,
        short_seq_prob: float = 0.1,
    ):
        """Binds what all instances share.

        Args:
          documents: at least one; none is empty. Random next spans come from here.
          cls_id: id of [CLS].
          sep_id: id of [SEP].
          masker: hides the tokens of each instance.
          rng: source of every draw.
          max_seq_length: upper limit of S, special tokens counted, at least 5.
          short_seq_prob: share of the passes over a document that aim at a shorter, random length.
        """
        self.documents = documents
        self.cls_id = cls_id
        self.sep_id = sep_id
        self.masker = masker
        self.rng = rng
        self.max_num_tokens = max_seq_length - NUM_SPECIAL_TOKENS
        self.short_seq_prob = short_seq_prob

    def instances(self, document_index: int) -> Iterator[Instance]:
        """Yields the masked instances of one pass over one document."""
        # The pairs are a generator, so each is masked before the draws for the next one.
        for a_ids, b_ids, is_random_next in self.sentence_pairs(document_index):
            a_ids, b_ids = truncate_pair(a_ids, b_ids, self.max_num_tokens, self.rng)
            token_ids = [self.cls_id, *a_ids, self.sep_id, *b_ids, self.sep_id]
            b_start = len(a_ids) + 2
            masked = self.masker.mask(token_ids, b_start, self.rng)
            yield Instance(
                masked.token_ids, b_start, is_random_next, masked.positions, masked.label_ids
            )

    def sentence_pairs(self, document_index: int) -> Iterator[SentencePair]:
        """Cuts a document into chunks of about the target length and splits each into A and B.

        With a random B, the sentences of the chunk that A leaves unused open the next chunk. The
        target length is drawn once a pass, not once a chunk, as in the original.
        """
        document = self.documents[document_index]
        target = self._target_length()
        start = 0
        while start < len(document):
            chunk = _chunk(document, start, target)
            a_end = 1 if len(chunk) == 1 else self.rng.randint(1, len(chunk) - 1)
            a_ids = _joined(chunk[:a_end])
            # A lone sentence has nothing after it, so more than half of all pairs are random.
            is_random_next = len(chunk) == 1 or self.rng.random() < 0.5
            if is_random_next:
                b_ids = self._random_span(document_index, target - len(a_ids))
                start += a_end
            else:
                b_ids = _joined(chunk[a_end:])
                start += len(chunk)
            yield SentencePair(a_ids, b_ids, is_random_next)

    def _target_length(self) -> int:
        if self.rng.random() < self.short_seq_prob:
            return self.rng.randint(2, self.max_num_tokens)
        return self.max_num_tokens

    def _random_span(self, document_index: int, target: int) -> list[int]:
        document = self.documents[self._other_document(document_index)]
        start = self.rng.randint(0, len(document) - 1)
        return _joined(_chunk(document, start, target))

    def _other_document(self, current: int) -> int:
        for _ in range(TRIES_OF_THE_ORIGINAL):
            drawn = self.rng.randint(0, len(self.documents) - 1)
            if drawn != current:
                break
        return drawn


def create_instances(maker: InstanceMaker, dupe_factor: int = 10) -> Iterator[Instance]:
    """Yields the instances of `dupe_factor` passes over all documents, each masked afresh."""
    for _ in range(dupe_factor):
        for document_index in range(len(maker.documents)):
            yield from maker.instances(document_index)


def truncate_pair(
    a_ids: list[int], b_ids: list[int], max_num_tokens: int, rng: random.Random
) -> tuple[list[int], list[int]]:
    """Takes tokens off the ends of the longer span, B if they are equal, until both fit.

    Front and back are equally likely, so that spans begin and end anywhere in a sentence.
    """
    a_start, a_end, b_start, b_end = 0, len(a_ids), 0, len(b_ids)
    for _ in range(len(a_ids) + len(b_ids) - max_num_tokens):
        at_front = rng.random() < 0.5
        if a_end - a_start > b_end - b_start:
            a_start, a_end = (a_start + 1, a_end) if at_front else (a_start, a_end - 1)
        else:
            b_start, b_end = (b_start + 1, b_end) if at_front else (b_start, b_end - 1)
    return a_ids[a_start:a_end], b_ids[b_start:b_end]


def _chunk(document: Document, start: int, target: int) -> Document:
    """The sentences from `start` until they hold `target` tokens; at least one."""
    length = 0
    for end in range(start, len(document)):
        length += len(document[end])
        if length >= target:
            break
    return document[start : end + 1]


def _joined(sentences: Document) -> list[int]:
    return list(itertools.chain.from_iterable(sentences))
