"""Do the records fit the run, by the manifest that lies beside them? Records without one are not looked at."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import tensorflow as tf
from absl import logging

from pretraining import manifest
from tokenization import validate_case_matches_checkpoint
from training.record_files import ScannedFile


def check_manifests(
    files: Sequence[ScannedFile],
    flags: Mapping[str, object],
    vocab_size: int,
    vocab_file: str | None = None,
    init_checkpoint: str | None = None,
    flag_prefix: str = "",
    skip_corrupt: bool = False,
) -> dict[str, dict]:
    """Compares the manifests of record files with the files themselves, the flags, the vocabulary and the model.

    Args:
      files: what will be read, see `scan_files`.
      flags: values of flags that the records must have been made with, by their names in `Recipe`.
      vocab_size: rows of the model's word embedding.
      vocab_file: vocabulary of the run, if it has one.
      init_checkpoint: where the weights come from, if from somewhere; its name may tell whether it is cased.
      flag_prefix: what the names of `flags` begin with in this run.
      skip_corrupt: whether damaged records are left out, so that files may be shorter than they were.

    Returns:
      path -> manifest of those found.

    Raises:
      ValueError: with a line for each mismatch, saying what to change.
      OSError: a file cannot be read.
    """
    found = manifest.find([file.path for file in files])
    problems = list(_foreign_files(files, found))
    for path, made in found.items():
        problems += _other_flags(path, made["recipe"], flags, flag_prefix)
        problems += _other_vocabulary(path, made["vocabulary"], vocab_size, vocab_file)
        problems += _other_case(path, made["recipe"], init_checkpoint)
        problems += _changed_files(path, made["shards"], files, skip_corrupt)
    _raise(problems)
    return found


def check_one_vocabulary(files: Sequence[ScannedFile]) -> None:
    """Raises ValueError unless the tokens of all records mean the same, as far as they have manifests.

    Args:
      files: all that one run reads, of all phases and for evaluation.
    """
    (first, expected), *others = manifest.find([f.path for f in files]).items() or [(None, None)]
    _raise(
        [
            f"{path}: its records are of another {what} than those of {first}: use one kind in a run"
            for path, made in others
            for what, different in (
                ("vocabulary", made["vocabulary"]["sha256"] != expected["vocabulary"]["sha256"]),
                ("--do_lower_case", _lower(made) != _lower(expected)),
            )
            if different
        ]
    )


def _raise(problems: list[str]) -> None:
    if problems:
        count = f"the records do not fit, {len(problems)} reasons:"
        raise ValueError("\n  ".join([count, *problems] if problems[1:] else problems))


def _lower(made: Mapping) -> bool:
    return made["recipe"]["do_lower_case"]


def _other_flags(path, recipe, flags, prefix) -> Iterator[str]:
    for name, value in flags.items():
        if recipe[name] != value:
            yield (
                f"{path}: its records were made with --{name}={recipe[name]}, but here "
                f"--{prefix}{name}={value}: use the same"
            )


def _other_vocabulary(path, vocabulary, vocab_size, vocab_file) -> Iterator[str]:
    made_with = f"{path}: its records were made with the {vocabulary['size']} tokens of"
    if vocabulary["size"] > vocab_size:
        yield (
            f"{made_with} {vocabulary['file']}, but --bert_config_file has vocab_size {vocab_size}: "
            "use the configuration that belongs to that vocabulary"
        )
    elif vocabulary["size"] < vocab_size:
        logging.warning(
            "%s %s, fewer than the vocab_size %d of --bert_config_file: the rest will not be trained",
            made_with,
            vocabulary["file"],
            vocab_size,
        )
    if vocab_file and manifest.fingerprint(vocab_file)["sha256"] != vocabulary["sha256"]:
        yield (
            f"{made_with} {vocabulary['file']} (SHA-256 {vocabulary['sha256'][:12]}...), and "
            f"--vocab_file={vocab_file} is another: use that one"
        )


def _other_case(path, recipe, init_checkpoint) -> Iterator[str]:
    try:
        validate_case_matches_checkpoint(recipe["do_lower_case"], init_checkpoint)
    except ValueError as error:
        yield f"{path}: its records were made with {error}"


def _changed_files(path, shards, files: Sequence[ScannedFile], skip_corrupt) -> Iterator[str]:
    """Yields what is wrong with files that the manifest names; those that are not read must only be there."""
    counts = {os.path.normpath(file.path): file.count for file in files}
    for shard in shards:
        name = shard["file"]
        if not tf.io.gfile.exists(name):
            yield f"{name} is missing, {path} names it: copy it, too, or make the records again"
        elif os.path.normpath(name) in counts and not skip_corrupt:
            records, size = counts[os.path.normpath(name)], tf.io.gfile.stat(name).length
            if (records, size) != (shard["records"], shard["bytes"]):
                yield (
                    f"{name} has {records} records in {size} bytes, but {shard['records']} in "
                    f"{shard['bytes']} by {path}: copy it again, or make the records again"
                )


def _foreign_files(files: Iterable[ScannedFile], found: Mapping[str, Mapping]) -> Iterator[str]:
    """Yields the files that lie among those of a manifest and are not named in any."""
    named = {os.path.normpath(shard["file"]) for made in found.values() for shard in made["shards"]}
    folders = {os.path.dirname(os.path.normpath(path)): path for path in found}
    for file in files:
        name = os.path.normpath(file.path)
        if name not in named and os.path.dirname(name) in folders:
            yield (
                f"{file.path} is not among the files of {folders[os.path.dirname(name)]}: it is left from "
                "another run; delete it, or move it to a folder of its own to train on it, too"
            )
