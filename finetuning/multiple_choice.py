"""Multiple choice as in SWAG (Zellers et al. 2018; Devlin et al. 2019, section 4.4): the likeliest of N endings.

A file is CSV, TSV or JSONL, see `finetuning.table_files`, with the columns of the published CSV: `sent1`, the
situation; `sent2`, how the next sentence begins, which may be empty; `ending0`, `ending1` and so on, as many in each
row; `label`, the number of the right one, which prediction does not need. Others are not read.

Shapes: B batch, N choices, S sequence, n tokens of the longest choice.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from finetuning.features import truncated_lengths
from finetuning.length_records import Row
from finetuning.objective import example_scores, real_examples
from finetuning.table_files import read_table, shown, text_field
from modeling.heads import BertMultipleChoice
from tokenization import FullTokenizer

_TEXTS = ("sent1", "sent2", "ending0", "ending1")


class Question(NamedTuple):
    """A situation and the N ways in which it may go on.

    Attributes:
      place: in the files, as "val.csv, line 3".
      situation: the first sentence.
      choices: the second sentence with each of its endings.
      label: number of the right one; 0 where labels are not read.
    """

    place: str
    situation: str
    choices: list[str]
    label: int


def read_questions(path: str, with_labels: bool) -> list[Question]:
    """Returns the questions of a file, in its order, at least one, all with the same number of choices.

    Raises:
      OSError: it cannot be read.
      ValueError: see `read_table`; or a row has another number of endings than the first, an ending that is empty or
        no text, or a label that is not the number of an ending. Names the line.
    """
    questions = []
    wanted = [*_TEXTS, *(["label"] if with_labels else [])]
    for line, fields in read_table(path, wanted):
        question = _question(f"{path}, line {line}", fields, with_labels)
        if questions and len(question.choices) != len(questions[0].choices):
            raise ValueError(
                f"{question.place}: {len(question.choices)} endings where {questions[0].place} has "
                f"{len(questions[0].choices)}"
            )
        questions.append(question)
    if not questions:
        raise ValueError(f"{path} holds no question")
    _warn(path, questions, with_labels)
    return questions


def _warn(path: str, questions: Sequence[Question], with_labels: bool) -> None:
    """Tells of what is most likely a mistake."""
    empty = [question for question in questions if not question.situation.strip()]
    if empty:
        logging.warning("%d questions without sent1, the first is %s", len(empty), empty[0].place)
    if with_labels and len(questions) > 1 and len({each.label for each in questions}) == 1:
        logging.warning("%s: all labels are %d, most likely by mistake", path, questions[0].label)


def _question(place: str, fields: Mapping, with_labels: bool) -> Question:
    endings = [f"ending{number}" for number in range(sum(map(_is_ending, fields)))]
    missing = [name for name in endings if name not in fields]
    if missing:
        raise ValueError(f"{place}: there is no {missing[0]} although there are later ones")
    texts = {name: text_field(fields[name], name, place) for name in ("sent1", "sent2", *endings)}
    for name in endings:
        if not texts[name].strip():
            raise ValueError(f"{place}: {name} is empty")
    choices = [f"{texts['sent2']} {texts[name]}".strip() for name in endings]
    label = _label(fields["label"], len(choices), place) if with_labels else 0
    return Question(place, texts["sent1"], choices, label)


def _is_ending(name: str) -> bool:
    return name.startswith("ending") and name.removeprefix("ending").isdecimal()


def _label(value: object, num_choices: int, place: str) -> int:
    text = str(value)
    if not (text.isdecimal() and int(text) < num_choices):
        raise ValueError(f"{place}: label {shown(value)} is none of 0 to {num_choices - 1}")
    return int(text)


def feature_spec(length: int, num_choices: int) -> dict[str, tf.io.FixedLenFeature]:
    """Returns the schema of a record of N sequences of S = `length` tokens, padded with zeros.

    unique_ids: int64 []. Number of the question in its file, from 0.
    input_ids: int64 [N, S]. `[CLS] situation [SEP] choice [SEP]`.
    input_mask: int64 [N, S]. 1 for tokens, 0 for padding.
    segment_ids: int64 [N, S]. 1 for `choice [SEP]`.
    label_ids: int64 []. The right choice.
    is_real_example: int64 []. 0 for what only fills up a batch, and weighs nothing.
    """
    tokens = tf.io.FixedLenFeature([num_choices, length], tf.int64)
    scalar = tf.io.FixedLenFeature([], tf.int64)
    names = ("input_ids", "input_mask", "segment_ids")
    scalars = ("unique_ids", "label_ids", "is_real_example")
    return dict.fromkeys(names, tokens) | dict.fromkeys(scalars, scalar)


def encode_questions(
    questions: Sequence[Question], tokenizer: FullTokenizer, max_seq_length: int
) -> Iterator[Row]:
    """Yields the features of `feature_spec`, with the length of the longest choice; what was truncated is in the log.

    Args:
      questions: to encode.
      tokenizer: of the model's vocabulary.
      max_seq_length: most tokens of a choice with its situation, at least 3.

    Raises:
      ValueError: the vocabulary lacks a token that every input needs.
    """
    tokenizer.check_special_tokens()
    num_truncated = 0
    for number, question in enumerate(questions):
        situation = tokenizer.encode(question.situation)
        choices = [tokenizer.encode(choice) for choice in question.choices]
        kept = [truncated_lengths(len(situation), len(ids), max_seq_length) for ids in choices]
        lengths = [(len(situation), len(ids)) for ids in choices]
        num_truncated += kept != lengths
        pairs = [(situation[:a], ids[:b]) for ids, (a, b) in zip(choices, kept, strict=True)]
        yield {
            "unique_ids": np.int32(number),
            **_sequences(pairs, tokenizer.vocab),
            "label_ids": np.int32(question.label),
            "is_real_example": np.int32(1),
        }
    logging.info(
        "%d questions with %d choices, %d of them truncated to --max_seq_length=%d",
        len(questions),
        len(questions[0].choices),
        num_truncated,
        max_seq_length,
    )


def _sequences(pairs: Sequence[tuple[list[int], list[int]]], vocab: dict[str, int]) -> Row:
    cls, sep = vocab["[CLS]"], vocab["[SEP]"]
    segments = [([cls, *a, sep], [*b, sep] if b else []) for a, b in pairs]
    length = max(len(a) + len(b) for a, b in segments)
    input_ids, input_mask, segment_ids = np.zeros([3, len(pairs), length], np.int32)
    for number, (a, b) in enumerate(segments):
        end = len(a) + len(b)
        input_ids[number, :end] = a + b
        input_mask[number, :end] = 1
        segment_ids[number, len(a) : end] = 1
    return {"input_ids": input_ids, "input_mask": input_mask, "segment_ids": segment_ids}


def question_scores(model: BertMultipleChoice, batch) -> dict[str, tf.Tensor]:
    """Returns the scores of each question, see `objective.example_scores`, and unique_ids int32 [B]."""
    return example_scores()(model, batch) | {"unique_ids": batch["unique_ids"]}


def in_file_order(batches: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the `question_scores` of all batches as one, [questions, ...] by name."""
    scores = real_examples(batches)
    order = np.argsort(scores["unique_ids"])
    return {name: values[order] for name, values in scores.items()}
