"""The tags of a task: which there are, how they mark entities, and the file that keeps them beside the checkpoint.

Schemes (x is the type of an entity, O a word outside of all):
  iob2   B-x begins an entity, I-x goes on.
  iob1   I-x begins an entity and goes on; B-x begins one right after another of the same type.
  iobes  B-x begins, I-x goes on, E-x ends an entity of several words; S-x is one of a single word.
  bilou  the same with L-x for E-x and U-x for S-x.
  plain  tags are classes of words, as in part-of-speech tagging, and there are no entities.
Entities of a task with one type may leave it out: B and I instead of B-x and I-x.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import logging

from finetuning.label_map import folder_of
from finetuning.tagging_files import TagFile
from tokenization.files import read_lines, write_text

SCHEMES = ("plain", "iob2", "iob1", "iobes", "bilou")
TAGSET_FILE = "tags.json"
_LETTERS = {"iob2": "BI", "iob1": "BI", "iobes": "BIES", "bilou": "BILU"}
_LISTED = 10  # tags that the log names
_ENTITY_TAG = re.compile("([BIESLU])(?:-(.+))?")


class Tagset(NamedTuple):
    """What the outputs of a tagger stand for.

    Attributes:
      tags: the number of a tag is its place.
      scheme: one of `SCHEMES`.
    """

    tags: tuple[str, ...]
    scheme: str


def find_tagset(file: TagFile, scheme: str | None = None) -> Tagset:
    """Returns the tags of a training set, sorted, and their scheme.

    Args:
      file: with tags.
      scheme: one of `SCHEMES`; None: the one that the tags look like.

    Raises:
      ValueError: a tag is none of the scheme, some tags look like those of entities and others do not, or all are the
        same; names the line.
    """
    sentences = [sentence.tags for sentence in file.sentences]
    tags = tuple(sorted({tag for sentence in sentences for tag in sentence}))
    if len(tags) < 2:
        raise ValueError(
            f"{file.path}: all words have the tag {tags[0]!r}, there is nothing to learn"
        )
    tagset = Tagset(tags, scheme or _detected_scheme(file, tags, sentences))
    logging.info(
        "%s: %d tags, scheme %s%s: %s",
        file.path,
        len(tags),
        tagset.scheme,
        "" if scheme else " (found)",
        " ".join(tags[:_LISTED]) + (" ..." if len(tags) > _LISTED else ""),
    )
    check_tags(file, tagset)
    return tagset


def tagset_of_run(
    train_file: TagFile | None, scheme: str | None, output_dir: str, init_checkpoint: str | None
) -> Tagset:
    """Returns the tags of the training set; without one those that a training left beside its checkpoints.

    Raises:
      ValueError: see `find_tagset`; or the run in `output_dir` has other tags; or there are none.
    """
    kept = _read_tagset(output_dir)
    if train_file:
        tagset = find_tagset(train_file, scheme)
        if kept and kept.tags != tagset.tags:
            raise ValueError(
                f"--output_dir={output_dir} has a run with other tags than {train_file.path}: use another one"
            )
        return tagset
    if not kept and init_checkpoint:
        kept = _read_tagset(folder_of(init_checkpoint))
    if not kept:
        raise ValueError(
            f"without --do_train the tags come from the {TAGSET_FILE} of a training: there is none in --output_dir="
            f"{output_dir}, nor beside --init_checkpoint={init_checkpoint}"
        )
    return kept._replace(scheme=scheme or kept.scheme)


def check_tags(file: TagFile, tagset: Tagset) -> None:
    """Checks that all tags are of the scheme; of what is odd beside the log tells.

    Args:
      file: with tags.

    Raises:
      ValueError: one is not; names the line.
    """
    tags = {tag for sentence in file.sentences for tag in sentence.tags}
    for tag in sorted(tags):
        if not _is_of(tagset.scheme, tag):
            wanted = ", ".join(f"{letter}-x" for letter in _LETTERS[tagset.scheme])
            raise ValueError(
                f"{_place(file, tag)}: tag {tag[:40]!r} is none of {tagset.scheme}, which has {wanted} and O: correct "
                "it, or choose another --tag_scheme"
            )
    unknown = sorted(tags.difference(tagset.tags))
    if unknown:
        logging.warning(
            "%s: %d tags that training does not have, and that are never predicted: %s",
            file.path,
            len(unknown),
            " ".join(unknown[:_LISTED]),
        )
    _report_invalid(file, tagset.scheme)


def _report_invalid(file: TagFile, scheme: str) -> None:
    places = [
        sentence.lines[min(place, len(sentence.lines) - 1)] + 1
        for sentence in file.sentences
        for place in invalid_places(sentence.tags, scheme)
    ]
    if places:
        logging.warning(
            "%s: %d tags cannot stand where they are in %s, the first is line %d; they are used as they are",
            file.path,
            len(places),
            scheme,
            places[0],
        )


def _place(file: TagFile, tag: str) -> str:
    """Says where a tag is first."""
    line = next(
        number
        for sentence in file.sentences
        for number, other in zip(sentence.lines, sentence.tags, strict=True)
        if other == tag
    )
    return f"{file.path}, line {line + 1}"


def _is_of(scheme: str, tag: str) -> bool:
    if scheme == "plain" or tag == "O":
        return True
    match = _ENTITY_TAG.fullmatch(tag)
    return match is not None and match[1] in _LETTERS[scheme]


def _detected_scheme(file: TagFile, tags: Sequence[str], sentences: Sequence[Sequence[str]]) -> str:
    others = [tag for tag in tags if tag != "O"]
    matches = [_ENTITY_TAG.fullmatch(tag) for tag in others]
    # A letter alone may be a class of words, unless all are letters of entities and B is among them.
    if "B" not in others or not {*others} <= {*"BIESLU"}:
        matches = [match if match and match[2] else None for match in matches]
    if not any(matches):
        return "plain"
    if not all(matches):
        odd = others[matches.index(None)]
        raise ValueError(
            f"{_place(file, odd)}: tag {odd[:40]!r} is none of an entity, as {next(filter(None, matches))[0]!r} is: "
            "correct it, or set --tag_scheme=plain if there are no entities"
        )
    letters = {match[1] for match in matches}
    if not letters <= set("BI"):
        return "bilou" if letters & set("LU") else "iobes"
    counts = {scheme: count_invalid(sentences, scheme) for scheme in ("iob2", "iob1")}
    return min(counts, key=counts.get)


def invalid_places(tags: Sequence[str], scheme: str) -> list[int]:
    """Returns the places in a sentence where a tag cannot stand after the one before it; its length for its end.

    Args:
      tags: of a sentence; one that is none of the scheme counts as O.
      scheme: one of `SCHEMES`.
    """
    if scheme == "plain":
        return []
    parts = [_parts(tag) for tag in ("O", *as_iobes(tags, scheme), "O")]
    follows = {"iob2": _follows_iob2, "iob1": _follows_iob1}.get(scheme, _follows_iobes)
    return [place for place, pair in enumerate(pairwise(parts)) if not follows(*pair)]


def count_invalid(sentences: Iterable[Sequence[str]], scheme: str) -> int:
    """Returns the number of `invalid_places` in all sentences."""
    return sum(len(invalid_places(tags, scheme)) for tags in sentences)


def as_iobes(tags: Sequence[str], scheme: str) -> Sequence[str]:
    """Returns the tags with the letters of iobes if they are those of bilou, else as they are."""
    if scheme != "bilou":
        return tags
    return [
        re.sub("^[LU](?=-|$)", lambda match: {"L": "E", "U": "S"}[match[0]], tag) for tag in tags
    ]


def _parts(tag: str) -> tuple[str, str]:
    match = _ENTITY_TAG.fullmatch(tag)
    return (match[1], match[2] or "") if match else ("O", "")


def _follows_iob2(before: tuple[str, str], after: tuple[str, str]) -> bool:
    return after[0] != "I" or (before[0] in "BI" and before[1] == after[1])


def _follows_iob1(before: tuple[str, str], after: tuple[str, str]) -> bool:
    return after[0] != "B" or (before[0] in "BI" and before[1] == after[1])


def _follows_iobes(before: tuple[str, str], after: tuple[str, str]) -> bool:
    is_open, goes_on = before[0] in "BI", after[0] in "IE"
    return is_open == goes_on and (not goes_on or before[1] == after[1])


def tag_numbers(file: TagFile, tagset: Tagset) -> np.ndarray:
    """Returns the number of the tag of each word, int32; -1 where training has no such tag, and where none was read."""
    numbers = {tag: number for number, tag in enumerate(tagset.tags)}
    found = [
        numbers.get(tag, -1)
        for sentence in file.sentences
        for tag in sentence.tags or [None] * len(sentence.words)
    ]
    return np.array(found, np.int32)


def write_tagset(folder: str, tagset: Tagset) -> None:
    """Writes `tags.json`."""
    path = os.path.join(folder, TAGSET_FILE)
    write_text(path, json.dumps(tagset._asdict(), ensure_ascii=False, indent=2) + "\n")


def _read_tagset(folder: str) -> Tagset | None:
    path = os.path.join(folder, TAGSET_FILE)
    if not tf.io.gfile.exists(path):
        return None
    try:
        values = json.loads("\n".join(read_lines(path)))
        tagset = Tagset(tuple(values["tags"]), values["scheme"])
        if tagset.scheme not in SCHEMES or not all(isinstance(tag, str) for tag in tagset.tags):
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise ValueError(
            f"{path} is damaged: it should hold the tags and the scheme of the checkpoint beside it"
        ) from None
    return tagset
