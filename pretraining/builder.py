"""Text -> record files, in steps whose results are kept on the disk until all is done.

1. Blocks of text are tokenized; every document gets a random number.
2. By that number, documents are dealt out to partitions.
3. Each pass over a partition is planned, and the sequences of all its passes are put in random order.
4. The rows of each file are made in parts, and these are joined.

A step consists of tasks that depend on nothing but the text, the recipe and the numbers of the task. So neither the
number of processes nor a stop and a new start changes the records.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pretraining import manifest
from pretraining.job import Job
from pretraining.recipe import Recipe
from pretraining.row_statistics import merge
from pretraining.shards import write_files
from pretraining.steps import deal_out, plan_all, tokenize
from pretraining.task_pool import TaskPool
from pretraining.work_folder import read_json, remove_unfinished, write_json
from training.lock import lock_directory

FORMAT = 1  # of the work folder


def build(
    recipe: Recipe,
    files: Sequence[str],
    output_files: Sequence[str],
    on_bad_utf8: str = "error",
    num_workers: int = 1,
    memory_mb: int = 128,
    work_dir: str | None = None,
) -> dict:
    """Makes the records of a corpus and their manifest, which it returns.

    The records depend on the recipe, on text and order of the files, on the number of output files and on `memory_mb`.
    When a build was stopped, the same call goes on from what is in `work_dir`.

    Args:
      recipe: what to make.
      files: text, one sentence a line, blank lines between documents; packed or not.
      output_files: TFRecord files, of which each appears when it is whole.
      on_bad_utf8: "error", "replace" or "skip", see `tokenize_block`.
      num_workers: processes.
      memory_mb: megabytes of a partition, which each process may need beside TensorFlow.
      work_dir: a local folder for intermediate results, which is removed at the end; None for one beside the first
        output.

    Raises:
      ValueError: the text is binary, damaged or not UTF-8, or too little for so many files; or `work_dir` is of another
        run.
      OSError: a file cannot be read or written, the disk is full, or a process was killed.
    """
    work_dir = work_dir or f"{output_files[0]}.work"
    if "://" in work_dir:
        raise ValueError(f"--work_dir={work_dir} is not local: name a folder of this machine")
    job = Job(recipe, on_bad_utf8, memory_mb, work_dir)
    settings = {
        "format": FORMAT,
        "version": manifest.FORMAT,
        **recipe._asdict(),
        "vocabulary": manifest.fingerprint(recipe.vocab_file)["sha256"],
        "input_file": files,
        "output_file": output_files,
        "on_bad_utf8": on_bad_utf8,
        "memory_mb": memory_mb,
    }
    with TaskPool(num_workers) as pool:
        lock = _open_work_dir(work_dir, settings, files)
        try:
            return _build(job, pool, files, output_files)
        except ValueError:
            shutil.rmtree(work_dir)  # of no use, as the input or a flag must change
            raise
        except OSError as error:
            free = shutil.disk_usage(work_dir).free >> 20
            raise OSError(
                f"{error}; {work_dir} ({free} MB free) keeps what is done: the same command goes on from there"
            ) from error
        finally:
            del lock


def _open_work_dir(work_dir: str, settings: Mapping[str, Any], files: Sequence[str]):
    """Makes the folder or finds it as an equal run left it, and returns its lock."""
    os.makedirs(work_dir, exist_ok=True)
    lock = lock_directory(work_dir, "work_dir")
    path = os.path.join(work_dir, "run.json")
    asked = json.loads(json.dumps({**settings, **{f"size of {f}": _state(f) for f in files}}))
    found = read_json(path)
    if found is None:
        if any(not name.startswith((".lock", "run.json.")) for name in os.listdir(work_dir)):
            raise ValueError(f"--work_dir={work_dir} holds something else: name a new folder")
        write_json(path, asked)
    elif found != asked:
        changed = [name for name in asked | found if asked.get(name) != found.get(name)]
        raise ValueError(
            f"--work_dir={work_dir} holds an unfinished run with other {', '.join(changed[:5])}: "
            "finish that one with its own flags, or remove the folder, or name another"
        )
    remove_unfinished(work_dir)
    return lock


def _state(path: str) -> list[int]:
    try:
        found = tf.io.gfile.stat(path)
    except tf.errors.OpError as error:
        raise OSError(f"{path} cannot be read: {error.message}") from None
    return [found.length, found.mtime_nsec]


def _build(job: Job, pool: TaskPool, files: Sequence[str], output_files: Sequence[str]) -> dict:
    blocks, inputs, counts = tokenize(job, pool, files)
    partitions = deal_out(job, pool, blocks, counts)
    sizes, plan_counts = plan_all(job, pool, partitions)
    shards = write_files(job, pool, dict(sizes), output_files)
    written = manifest.write(
        job.recipe,
        {"on_bad_utf8": job.on_bad_utf8, "memory_mb": job.memory_mb, "partitions": len(partitions)},
        inputs,
        {**counts, **plan_counts},
        merge([shard["statistics"] for shard in shards]),
        [(path, shard["records"]) for path, shard in zip(output_files, shards, strict=True)],
    )
    _remove(job.work_dir)
    return written


def _remove(work_dir: str) -> None:
    """Removes the folder in an order in which, whenever this is stopped, what is left is a run or nothing."""

    def rank(name: str) -> tuple[bool, bool]:
        return name == "run.json", os.path.isdir(os.path.join(work_dir, name))

    for name in sorted(os.listdir(work_dir), key=rank):
        path = os.path.join(work_dir, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    os.rmdir(work_dir)
