"""Documents of any format -> the text that `create_pretraining_data.py` reads: sentences in lines, blank lines between.

A first pass writes what is long enough; if documents are compared, a second one leaves the duplicates out.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
import tensorflow as tf

from pretraining.corpus_counts import CorpusCounts
from pretraining.near_duplicates import DuplicateFinder

Sentences = list[str]


def long_enough(
    documents: Iterable[list[str]],
    split: Callable[[Iterable[str]], Sentences],
    counts: CorpusCounts,
    min_sentences: int,
    min_characters: int,
) -> Iterator[Sentences]:
    """Yields the documents, split into sentences, that are not too short, and counts all of them.

    Args:
      documents: paragraphs of each.
      split: see `sentence_splitter`.
      counts: updated in place.
      min_sentences: shorter documents are dropped.
      min_characters: the same, without line feeds.
    """
    for paragraphs in documents:
        document = split(paragraphs)
        if not document:
            counts.drop("empty")
        elif len(document) < min_sentences:
            counts.drop("of too few sentences")
        elif sum(map(len, document)) < min_characters:
            counts.drop("of too few characters")
        else:
            counts.keep(document)
            yield document


def write_corpus(
    path: str,
    documents: Iterable[Sentences],
    counts: CorpusCounts,
    finder: DuplicateFinder | None,
) -> None:
    """Writes documents as text, each with a blank line after it; the file appears when it is whole.

    Args:
      path: the file, of any file system of `tf.io.gfile`.
      documents: consumed one at a time, counted before.
      counts: updated in place with the duplicates.
      finder: finds duplicates; None if none are looked for.

    Raises:
      OSError: the file cannot be written.
      ValueError: no document is left.
    """
    every, unique = (f"{path}.{os.getpid()}.{part}.tmp" for part in ("every", "unique"))
    try:
        _write(every, _sketched(documents, finder) if finder else documents)
        if not counts.kept:
            raise ValueError(f"{path} is not written, no document is left: {counts}")
        if finder:
            _write(unique, _without_duplicates(every, counts, *finder.find()))
        tf.io.gfile.rename(unique if finder else every, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"cannot write {path}: {error.message}") from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"cannot write {path}: its disk is full; twice the size of the text is needed, and 520 bytes "
            "for each document to find duplicates"
        ) from None
    finally:
        for temporary in (every, unique):
            with contextlib.suppress(tf.errors.NotFoundError):
                tf.io.gfile.remove(temporary)


def _sketched(documents: Iterable[Sentences], finder: DuplicateFinder) -> Iterator[Sentences]:
    for document in documents:
        finder.add("\n".join(document))
        yield document


def _without_duplicates(
    path: str, counts: CorpusCounts, equal: np.ndarray, similar: np.ndarray
) -> Iterator[Sentences]:
    for number, document in enumerate(_read(path)):
        if equal[number]:
            counts.take_back(document, "equal to an earlier one")
        elif similar[number]:
            counts.take_back(document, "similar to an earlier one")
        else:
            yield document


def _write(path: str, documents: Iterable[Sentences]) -> None:
    with _open(path, "wb") as file:
        for document in documents:
            file.write("".join(f"{sentence}\n" for sentence in [*document, ""]).encode())


def _read(path: str) -> Iterator[Sentences]:
    document = []
    with _open(path, "rb") as file:
        for line in file:
            if line == b"\n":
                yield document
                document = []
            else:
                document.append(line.decode().removesuffix("\n"))


def _open(path: str, mode: str) -> BinaryIO:
    return tf.io.gfile.GFile(path, mode) if "://" in path else open(path, mode)
