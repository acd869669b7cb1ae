"""Files with a word and its tag on each line: columns as CoNLL's shared tasks have them, and CoNLL-U.

A file whose name ends in `.conllu` is CoNLL-U, any other one has columns between tabs or, where a line has no tab,
between blanks. An empty line ends a sentence. A line of columns that begins with `-DOCSTART-`, or a comment `# newdoc`,
begins a document.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from tokenization.files import read_lines

T = TypeVar("T")

_CONLLU_COLUMNS = 10
_ID = re.compile(r"[0-9]+([-.][0-9]+)?")
_VALUE = re.compile("[^ ]+")
_DOCUMENT_START = re.compile(r"-DOCSTART-([ \t]|$)")
_NEW_DOCUMENT = re.compile(r"#\s*newdoc\b")
_SHOWN_CHARS = 40


class Columns(NamedTuple):
    """Which columns hold what, counted from 0; -1 is the last one."""

    word: int
    tag: int


CONLL, CONLLU = Columns(word=0, tag=-1), Columns(word=1, tag=3)


class Sentence(NamedTuple):
    """The words of a sentence.

    Attributes:
      words: as they are in the file.
      tags: one for each word; none where they were not read.
      lines: the place of each word in `TagFile.lines`.
      document: number of the document in the file.
    """

    words: list[str]
    tags: list[str]
    lines: list[int]
    document: int


class TagFile(NamedTuple):
    """A file as it was read: all of its lines, and the sentences among them.

    Attributes:
      path: of the file.
      lines: without their ends.
      tag_column: where CoNLL-U has the tags; None: in other files predictions are a further column.
      sentences: at least one, none without words.
      num_documents: how many beginnings of documents the file marks.
    """

    path: str
    lines: list[str]
    tag_column: int | None
    sentences: list[Sentence]
    num_documents: int


def read_tag_file(
    path: str, word_column: int | None, tag_column: int | None, with_tags: bool
) -> TagFile:
    """Reads a file of words.

    Args:
      path: decides the format, see above.
      word_column, tag_column: counted from 0, -1 is the last one; None: 0 and -1, in CoNLL-U 1 (FORM) and 3 (UPOS).
      with_tags: whether the tags are wanted.

    Raises:
      OSError: it cannot be read.
      ValueError: it is not UTF-8, has no word, or a line has not the columns that it should have; names the line.
    """
    is_conllu = path.lower().endswith(".conllu")
    default = CONLLU if is_conllu else CONLL
    columns = Columns(
        default.word if word_column is None else word_column,
        default.tag if tag_column is None else tag_column,
    )
    lines = list(read_lines(path))
    if lines:  # further on the mark is a word like any other
        lines[0] = lines[0].removeprefix("\ufeff")
    reader = _Reader(columns, with_tags, is_conllu)
    for number, line in enumerate(lines):
        try:
            reader.read(number, line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number + 1}: {error}") from None
    reader.end_sentence()
    if not reader.sentences:
        raise ValueError(f"{path} holds no word")
    tag_column = columns.tag if is_conllu else None
    return TagFile(path, lines, tag_column, reader.sentences, reader.num_documents)


class _Reader:
    """Takes lines and collects sentences."""

    def __init__(self, columns: Columns, with_tags: bool, is_conllu: bool):
        self._columns, self._with_tags, self._is_conllu = columns, with_tags, is_conllu
        self._num_columns = None
        self.sentences = []
        self.num_documents = 0
        self._begin()

    def _begin(self) -> None:
        self._sentence = Sentence([], [], [], self.num_documents)

    def end_sentence(self) -> None:
        if self._sentence.words:
            self.sentences.append(self._sentence)
        self._begin()

    def read(self, number: int, line: str) -> None:
        if not line.strip(" \t"):
            self.end_sentence()
        elif (_NEW_DOCUMENT if self._is_conllu else _DOCUMENT_START).match(line):
            self.num_documents += 1
            self.end_sentence()
        elif not (self._is_conllu and line.startswith("#")):
            values = line.split("\t") if self._is_conllu or "\t" in line else _VALUE.findall(line)
            self._check_number(values)
            # An ID like 3-4 is of what is written as one word but analysed as several, 3.1 of what is not written.
            if not self._is_conllu or values[0].isdecimal():
                self._add(number, values)

    def _check_number(self, values: list[str]) -> None:
        if self._is_conllu and len(values) != _CONLLU_COLUMNS:
            raise ValueError(
                f"{len(values)} columns between tabs where CoNLL-U has {_CONLLU_COLUMNS}"
            )
        if self._is_conllu and not _ID.fullmatch(values[0]):
            raise ValueError(f"{values[0][:_SHOWN_CHARS]!r} is no ID of a word")
        if self._num_columns is None:
            self._check_columns(len(values))
            self._num_columns = len(values)
        if len(values) != self._num_columns:
            raise ValueError(
                f"{len(values)} columns, {' '.join(values)[:_SHOWN_CHARS]!r}, where the lines before have "
                f"{self._num_columns}{self._advice()}"
            )

    def _advice(self) -> str:
        return "" if self._is_conllu else "; the name of a file in CoNLL-U ends in .conllu"

    def _check_columns(self, num_columns: int) -> None:
        wanted = self._columns._asdict()
        if not self._with_tags and not self._is_conllu:
            del wanted["tag"]
        for name, column in wanted.items():
            if not -num_columns <= column < num_columns:
                raise ValueError(
                    f"there is no --{name}_column={column} among {num_columns} columns: the first is 0, the last -1"
                )
        if len({column % num_columns for column in wanted.values()}) < len(wanted):
            raise ValueError(
                f"{num_columns} columns, and words and tags in the same one: --word_column and --tag_column say where "
                f"they are{self._advice()}"
            )

    def _add(self, number: int, values: list[str]) -> None:
        word = values[self._columns.word]
        if not word:
            raise ValueError("the word is empty")
        self._sentence.words.append(word)
        self._sentence.lines.append(number)
        if self._with_tags:
            tag = values[self._columns.tag]
            if not tag or (self._is_conllu and tag == "_"):
                raise ValueError(f"the word {word[:_SHOWN_CHARS]!r} has no tag")
            self._sentence.tags.append(tag)


def by_sentence(file: TagFile, values: Iterable[T]) -> list[list[T]]:
    """Returns values of the words of a file as lists, one for each sentence."""
    values = iter(values)
    return [list(islice(values, len(sentence.words))) for sentence in file.sentences]


def with_tags(file: TagFile, tags: Sequence[Sequence[str]]) -> str:
    """Returns the text of the file with other tags: in CoNLL-U in their column, else in one more column at the end.

    Args:
      tags: those of each sentence, one for each word.
    """
    lines = list(file.lines)
    if file.tag_column is None:
        for number, line in enumerate(lines):
            if _DOCUMENT_START.match(line):
                lines[number] = _with_column(line, "O")
    for sentence, new in zip(file.sentences, tags, strict=True):
        for number, tag in zip(sentence.lines, new, strict=True):
            if file.tag_column is None:
                lines[number] = _with_column(lines[number], tag)
            else:
                values = lines[number].split("\t")
                values[file.tag_column] = tag
                lines[number] = "\t".join(values)
    return "".join(f"{line}\n" for line in lines)


def _with_column(line: str, value: str) -> str:
    return f"{line}\t{value}" if "\t" in line else f"{line.rstrip(' ')} {value}"
