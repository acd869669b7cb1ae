"""Questions -> features: `[CLS] question [SEP] window of the context [SEP]` (`convert_examples_to_features` of the
original's run_squad.py; Devlin et al. 2019, section 4.2).

A context is tokenized once for all of its questions, and whatever only decoding needs is computed when it is asked for.

Shapes: n tokens of a feature, padding not included.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import accumulate, chain, repeat
from operator import sub
from typing import NamedTuple

import numpy as np

from finetuning.squad_examples import Answer, Paragraph, Question
from finetuning.windows import Windows
from tokenization import FullTokenizer
from tokenization.basic import whitespace_tokenize

FIRST_UNIQUE_ID = 1000000000
_WORD = re.compile("[^ \t\r\n\u202f]+")  # to the original no other character is white space here
_SHOWN_CHARS = 60


class Document:
    """A context in words and in WordPieces.

    Args:
      context: any text.
      tokenizer: of the model's vocabulary.

    Attributes:
      words: maximal runs without space, tab, CR, LF, U+202F.
      ids: WordPieces of all words, each word tokenized by itself.
      word_to_piece: first piece of each word, and len(ids) at the end.
      word_starts: where each word stands, in code points of the context.
      piece_to_word: number of the word that each piece belongs to.
    """

    def __init__(self, context: str, tokenizer: FullTokenizer):
        self._context = context
        self.words = _WORD.findall(context)
        pieces = tokenizer.encode_words(self.words, context)
        self.ids = [*chain.from_iterable(pieces)]
        self.word_to_piece = [*accumulate(map(len, pieces), initial=0)]
        self._single_spaces = " ".join(self.words) == context

    @cached_property
    def word_starts(self) -> list[int]:
        return [*map(re.Match.start, _WORD.finditer(self._context))]

    def word_at(self, char: int) -> int:
        """Returns the number of the latest word that begins at or before a character; -1 before the first word."""
        if self._single_spaces:  # nearly always, and faster
            return self._context.count(" ", 0, char)
        return bisect_right(self.word_starts, char) - 1

    @cached_property
    def piece_to_word(self) -> list[int]:
        counts = map(sub, self.word_to_piece[1:], self.word_to_piece)
        return [*chain.from_iterable(map(repeat, range(len(self.words)), counts))]


class Feature(NamedTuple):
    """One window of one question."""

    unique_id: int  # FIRST_UNIQUE_ID + number of the feature in all files
    example_index: int  # number of the question, those left out not counted
    doc_span_index: int  # number of the window in the document
    query: list[int]  # [CLS] question [SEP]
    document: Document
    windows: Windows
    window: tuple[int, int]  # first piece, and the one after the last
    num_tokens: int  # n
    start_position: int  # in the feature; 0 without an answer or if it is not all in the window
    end_position: int
    is_impossible: bool  # of the question, in training

    @property
    def query_length(self) -> int:
        """Pieces of the question; the window begins at position query_length + 2."""
        return len(self.query) - 2

    @property
    def input_ids(self) -> list[int]:
        """[n]."""
        start, end = self.window
        return [*self.query, *self.document.ids[start:end], self.query[-1]]

    @property
    def token_to_word(self) -> np.ndarray:
        """int32 [n]. Number of the word in the document; -1 outside the window."""
        start, end = self.window
        return self._in_window(np.array(self.document.piece_to_word[start:end], np.int32), -1)

    @property
    def is_max_context(self) -> np.ndarray:
        """bool [n]. False outside the window; see `Windows.max_context`."""
        return self._in_window(self.windows.max_context(self.doc_span_index), False)

    def _in_window(self, values: np.ndarray, outside) -> np.ndarray:
        return np.pad(values, (len(self.query), 1), constant_values=outside)


class EncodedQuestion(NamedTuple):
    """A question with its features."""

    paragraph: Paragraph
    question: Question
    document: Document
    features: list[Feature]  # empty for a context without tokens


def check_window_flags(max_seq_length: int, doc_stride: int, max_query_length: int) -> None:
    """Checks that every window holds a piece of the context and that they go forward.

    Raises:
      ValueError: names the flag to change.
    """
    if max_seq_length <= max_query_length + 3:
        raise ValueError(
            f"--max_seq_length={max_seq_length} leaves no room for the context beside --max_query_length="
            f"{max_query_length}, [CLS] and two [SEP]: it must be at least {max_query_length + 4}"
        )
    if doc_stride < 1:
        raise ValueError(f"--doc_stride={doc_stride} must be at least 1")


def encode_questions(
    paragraphs: Iterable[Paragraph],
    tokenizer: FullTokenizer,
    *,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
    for_training: bool,
    bad_answers: list[str] | None = None,
) -> Iterator[EncodedQuestion]:
    """Yields the questions with their features, in order; the same ones whenever it is called with the same.

    Args:
      paragraphs: as `read_paragraphs` gives them.
      tokenizer: of the model's vocabulary.
      max_seq_length: tokens of a feature at most; see `check_window_flags` for these three.
      doc_stride: pieces of the context from the start of a window to that of the next.
      max_query_length: pieces of the question that are used.
      for_training: the answers are looked up.
      bad_answers: gets the ids of the questions left out of training because their answer is not where
        `answer_start` says.

    Raises:
      ValueError: such an answer, if `bad_answers` is None; or the vocabulary lacks a token that every input needs.
    """
    tokenizer.check_special_tokens()
    cls, sep = tokenizer.vocab["[CLS]"], tokenizer.vocab["[SEP]"]
    unique_id, example_index = FIRST_UNIQUE_ID, 0
    for paragraph in paragraphs:
        document = Document(paragraph.context, tokenizer)
        for number, question in enumerate(paragraph.questions):
            impossible = for_training and question.is_impossible
            answer = None
            if for_training and not impossible:
                answer = find_answer(document, question.answers[0], tokenizer)
                if answer is None:
                    if bad_answers is None:
                        raise ValueError(_misplaced(paragraph, number))
                    bad_answers.append(question.qas_id)
                    continue
            query = [cls, *tokenizer.encode(question.text)[:max_query_length], sep]
            room = max_seq_length - len(query) - 1
            windows = Windows(len(document.ids), room, min(room, doc_stride))
            numbers = unique_id, example_index
            features = _features(numbers, query, document, windows, answer, impossible)
            yield EncodedQuestion(paragraph, question, document, features)
            unique_id += len(features)
            example_index += 1


def _features(
    numbers: tuple[int, int],
    query: list[int],
    document: Document,
    windows: Windows,
    answer: tuple[int, int] | None,
    is_impossible: bool,
) -> list[Feature]:
    """Returns the features of a question; `numbers` are the unique_id of the first one, and the question's."""
    unique_id, example_index = numbers
    features = []
    for index in range(windows.count):
        window = first, end = windows.bounds(index)
        shared = query, document, windows, window, len(query) + end - first + 1
        label = _label(answer, window, len(query))
        features.append(
            Feature(unique_id + index, example_index, index, *shared, *label, is_impossible)
        )
    return features


def find_answer(
    document: Document, answer: Answer, tokenizer: FullTokenizer
) -> tuple[int, int] | None:
    """Returns the first and the last piece of an answer; None if the words at its place do not hold it.

    These are the pieces of the words that it touches or, where the pieces of the answer's own text are found among
    them, those pieces (`_improve_answer_span` of the original).
    """
    start = document.word_at(answer.start)
    end = document.word_at(answer.start + len(answer.text) - 1)
    if _squeezed(answer.text) not in " ".join(document.words[start : end + 1]):
        return None
    # -1 for an answer that starts before the first word is the last word to the original, by Python's indexing.
    first = document.word_to_piece[start % len(document.words)]
    last = document.word_to_piece[end + 1] - 1
    ids, among = tokenizer.encode(answer.text), document.ids[first : last + 1]
    if not ids or ids == among:
        return first, last
    # As texts, because Python's search in them takes linear time: an id is the character of that number.
    place = _as_text(among).find(_as_text(ids))
    return (first, last) if place < 0 else (first + place, first + place + len(ids) - 1)


def _as_text(ids: list[int]) -> str:
    return "".join(map(chr, ids))


def _squeezed(text: str) -> str:
    return " ".join(whitespace_tokenize(text))


def _label(
    answer: tuple[int, int] | None, bounds: tuple[int, int], query_tokens: int
) -> tuple[int, int]:
    """Returns start_position and end_position, both 0 unless the whole answer is in the window."""
    start, end = bounds
    if answer is None or answer[0] < start or answer[1] >= end:
        return 0, 0
    return answer[0] - start + query_tokens, answer[1] - start + query_tokens


def _misplaced(paragraph: Paragraph, number: int) -> str:
    question = paragraph.questions[number]
    text, start = question.answers[0]
    found = paragraph.context[start : start + len(text)]
    return (
        f"{paragraph.place}.qas[{number}].answers[0]: the answer of question {question.qas_id!r} is {_shown(text)} but "
        f"at its answer_start {start} the context has {_shown(found)}: correct it, or leave such questions out with "
        "--skip_bad_answers"
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")
