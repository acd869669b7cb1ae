"""What is written beside records: what they were made of and how, and what they hold.

A JSON file `OUTPUT_FILE.manifest.json`, named after the first of the record files. `run_pretraining.py` compares it
with its flags, its vocabulary and the files that it finds.
"""

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Mapping, Sequence

import tensorflow as tf

from pretraining.recipe import Recipe
from pretraining.row_statistics import summary
from tokenization import load_vocab
from tokenization.files import write_text

FORMAT = 1
SUFFIX = ".manifest.json"
_CHUNK = 2**20
_LIST_OF_NUMBERS = re.compile(r"\[\n([\d,\s]+)\]")


def path_of(output_files: Sequence[str]) -> str:
    """Returns the name of the manifest of these record files."""
    return output_files[0] + SUFFIX


def fingerprint(path: str) -> dict:
    """Returns {"file": path, "bytes": size, "sha256": hash} of a file as it lies there, packed or not.

    Raises:
      OSError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be read: {error.message}") from None
    return {"file": path, "bytes": size, "sha256": digest.hexdigest()}


def write(
    recipe: Recipe,
    settings: Mapping[str, object],
    inputs: Sequence[Mapping],
    counts: Mapping[str, int],
    statistics: Mapping[str, object],
    shards: Sequence[tuple[str, int]],
) -> dict:
    """Writes the manifest of finished record files and returns it.

    Args:
      recipe: what the records depend on.
      settings: what else was set, as {"on_bad_utf8": "error"}.
      inputs: the `fingerprint` of each input file, in the order in which they were read.
      counts: what was read, kept, cut and left out, by name.
      statistics: the merged `row_statistics`.
      shards: (path, number of records) of each record file, in order.

    Raises:
      OSError: a file cannot be read or written.
    """
    path = path_of([shard for shard, _ in shards])
    vocab = load_vocab(recipe.vocab_file)
    manifest = {
        "format": FORMAT,
        "versions": {name: _version(name) for name in ("bert-tf2-reference", "tensorflow")},
        "recipe": recipe._asdict(),
        "settings": dict(settings),
        "vocabulary": {**fingerprint(recipe.vocab_file), "size": max(vocab.values()) + 1},
        "inputs": list(inputs),
        "counts": dict(counts),
        "summary": summary(statistics),
        "shards": [
            {"file": _relative(shard, path), "records": records, "bytes": _size(shard)}
            for shard, records in shards
        ],
        "statistics": dict(statistics),
    }
    write_text(path, _LIST_OF_NUMBERS.sub(_on_one_line, json.dumps(manifest, indent=2)) + "\n")
    return manifest


def read(path: str) -> dict:
    """Returns the manifest in a file, its shards under the names that they have from here.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no manifest, or of a later version of this library.
    """
    try:
        with tf.io.gfile.GFile(path) as file:
            manifest = json.loads(file.read())
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be read: {error.message}") from None
    except ValueError as error:
        raise ValueError(f"{path} is no manifest, {error}: make the records again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ValueError(
            f"{path} is a manifest of format {found}, this version reads {FORMAT}: "
            "make the records again, or read them with the version that made them"
        )
    for shard in manifest["shards"]:
        shard["file"] = os.path.join(os.path.dirname(path), shard["file"])
    return manifest


def find(record_files: Sequence[str]) -> dict[str, dict]:
    """Returns path -> manifest of those in the folders of these files that name one of them.

    Raises:
      OSError, ValueError: see `read`.
    """
    folders = sorted({os.path.dirname(path) for path in record_files})
    paths = [path for folder in folders for path in _manifests(folder)]
    found = {path: read(path) for path in paths}
    wanted = set(map(os.path.normpath, record_files))
    return {
        path: manifest
        for path, manifest in found.items()
        if wanted & {os.path.normpath(shard["file"]) for shard in manifest["shards"]}
    }


def _manifests(folder: str) -> list[str]:
    names = sorted(tf.io.gfile.listdir(folder or "."))
    return [os.path.join(folder, name) for name in names if name.endswith(SUFFIX)]


def _relative(path: str, manifest_path: str) -> str:
    """Returns the name of a shard as seen from its manifest, so that both can be moved together."""
    return path.removeprefix(os.path.join(os.path.dirname(manifest_path), ""))


def _size(path: str) -> int:
    return tf.io.gfile.stat(path).length


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _on_one_line(numbers: re.Match) -> str:
    return "[" + " ".join(numbers[1].split()) + "]"
