"""Record files that are made once: a manifest beside them says of what they were made, and what came out.

The manifest of a split is `<split>.tf_record.json`. It is removed before the files are touched and written when they
are whole, so that it is never beside files that it does not describe.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from tokenization.files import write_text
from training.record_files import find_damage

_CHUNK_BYTES = 1 << 20


class RecordFile(NamedTuple):
    """One file of records of one static length."""

    length: int
    name: str  # without folder
    size: int  # bytes
    records: int


class Manifest(NamedTuple):
    """What is said about the files of a split."""

    contents: dict[str, list[str]]  # what -> SHA-256 of its files
    settings: dict[str, Any]  # name -> JSON value; all others that the records depend on
    files: list[RecordFile]  # by length, ascending
    totals: dict[str, int]


def read_manifest(output_dir: str, split: str) -> Manifest | None:
    """Returns the manifest of the split; None if there is none, or it is damaged, of which the log tells."""
    path = _manifest_path(output_dir, split)
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            manifest = Manifest(**json.loads(file.read()))
        files = [RecordFile(*values) for values in manifest.files]
        # Such files may be removed later, so that nothing else may be named here.
        if not all(re.fullmatch(rf"{split}(\.\d+)?\.tf_record", file.name) for file in files):
            raise ValueError
        return manifest._replace(files=files)
    except (ValueError, TypeError):
        logging.warning("%s is damaged: the records are made again", path)
        return None


def differences(wanted: Manifest, old: Manifest, output_dir: str) -> list[str]:
    """Returns what forbids to use the files of an old manifest where others are wanted; nothing if they serve.

    Args:
      wanted: contents and settings.
      old: the whole manifest.
      output_dir: folder of its files.
    """
    found = [
        f"the content of the {name} has changed"
        for name, hashes in wanted.contents.items()
        if old.contents.get(name) != hashes
    ]
    found += [
        f"{name} was {old.settings.get(name)} and is {value}"
        for name, value in wanted.settings.items()
        if old.settings.get(name) != value
    ]
    for file in old.files:
        path = os.path.join(output_dir, file.name)
        if not tf.io.gfile.exists(path):
            found.append(f"{file.name} is missing")
        elif tf.io.gfile.stat(path).length != file.size:
            found.append(f"{file.name} has not the {file.size} bytes that were written")
        else:
            found += find_damage(path)[:1]
    return found


def install(output_dir: str, split: str, new: Manifest, old: Manifest | None) -> None:
    """Puts new files, under their names with `.tmp` until now, in the place of the old ones."""
    path = _manifest_path(output_dir, split)
    _remove([path])
    _remove(os.path.join(output_dir, file.name) for file in (old.files if old else ()))
    for file in new.files:
        final = os.path.join(output_dir, file.name)
        tf.io.gfile.rename(f"{final}.tmp", final, overwrite=True)
    write_text(path, json.dumps(new._asdict(), indent=2) + "\n")


def content_hash(path: str) -> str:
    """Returns the SHA-256 of a file.

    Raises:
      OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be read: {error.message}") from error
    return digest.hexdigest()


def _manifest_path(output_dir: str, split: str) -> str:
    return os.path.join(output_dir, f"{split}.tf_record.json")


def _remove(paths: Iterable[str]) -> None:
    for path in filter(tf.io.gfile.exists, paths):
        tf.io.gfile.remove(path)
