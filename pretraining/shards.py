"""The last step of a build: rows are made in parts, and the parts are joined to record files.

parts/FILE-PARTITION-START/   records of a part and their statistics
shards/FILE.json              what a finished file holds
"""

import functools
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import tensorflow as tf

from pretraining.job import Job, reported
from pretraining.parts import Part, list_parts, make_rows
from pretraining.row_statistics import merge
from pretraining.task_pool import TaskPool
from pretraining.work_folder import appearing, load_array, load_documents, read_json, write_json
from training.records import serialize_rows, write_records

COPIED_AT_ONCE = 1 << 20  # the memory of larger pieces comes anew from the system each time


def write_files(
    job: Job, pool: TaskPool, sizes: Mapping[int, int], output_files: Sequence[str]
) -> list[dict]:
    """Writes the files in order and returns the number of records and the statistics of each."""
    parts = list_parts(sizes, len(output_files), job.recipe.max_seq_length)
    of_file = {file: list(group) for file, group in itertools.groupby(parts, lambda p: p.file)}
    if len(of_file) < len(output_files):
        raise ValueError(
            f"the text gives only {sum(sizes.values())} sequences, which is too little for the "
            f"{len(output_files)} files of --output_file"
        )
    done = {f: shard for f, path in enumerate(output_files) if (shard := _finished(job, f, path))}
    missing = [
        part
        for part in parts
        if part.file not in done and not os.path.exists(_part_folder(job, part))
    ]
    made = reported(
        pool.map(functools.partial(_make_part, job), missing),
        f"wrote %d of {len(missing)} parts of the files",
    )
    missing = set(missing)
    for file, path in enumerate(output_files):
        if file not in done:
            done[file] = _join(job, of_file[file], _awaited(of_file[file], missing, made), path)
    return [done[file] for file in range(len(output_files))]


def _awaited(parts: Sequence[Part], missing: Set[Part], made: Iterator) -> Iterator[Part]:
    """Yields the parts, each when it is there; `made` waits for the missing ones in their order."""
    for part in parts:
        if part in missing:
            next(made)
        yield part


def _finished(job: Job, file: int, path: str) -> dict | None:
    """Returns what was noted about a record file if it is there."""
    shard = read_json(job.folder("shards", f"{file}.json"))
    found = shard and tf.io.gfile.exists(path) and tf.io.gfile.stat(path).length == shard["bytes"]
    return shard if found else None


def _part_folder(job: Job, part: Part) -> str:
    return job.folder("parts", f"{part.file}-{part.partition}-{part.start}")


def _make_part(job: Job, part: Part) -> None:
    documents = load_documents(job.folder("partitions", part.partition))
    spans = load_array(job.folder("orders", part.partition), "spans")[part.start : part.end]
    rows, statistics = make_rows(part, documents, spans, job.recipe)
    with appearing(_part_folder(job, part)) as folder:
        write_records(os.path.join(folder, "records"), serialize_rows(rows))
        write_json(os.path.join(folder, "statistics.json"), statistics)


def _join(job: Job, parts: Sequence[Part], finished: Iterable[Part], path: str) -> dict:
    """Writes a record file, which is the files of its parts end to end, and notes what it holds."""
    sources = (os.path.join(_part_folder(job, part), "records") for part in finished)
    temporary = f"{path}.tmp"
    try:
        _concatenate(sources, temporary)
        tf.io.gfile.rename(temporary, path, overwrite=True)
        size = tf.io.gfile.stat(path).length
    except (OSError, tf.errors.OpError) as error:
        if tf.io.gfile.exists(temporary):
            tf.io.gfile.remove(temporary)
        if isinstance(error, OSError) and not error.errno:
            raise  # it names the part that could not be made
        raise OSError(f"{path} cannot be written: {error}") from error
    folders = [_part_folder(job, part) for part in parts]
    statistics = merge([read_json(os.path.join(f, "statistics.json")) for f in folders])
    shard = {"records": statistics["rows"], "bytes": size, "statistics": statistics}
    os.makedirs(job.folder("shards"), exist_ok=True)
    write_json(job.folder("shards", f"{parts[0].file}.json"), shard)
    for folder in folders:
        shutil.rmtree(folder)
    return shard


def _concatenate(sources: Iterable[str], path: str) -> None:
    """Writes a file; while a source is written to the disk, by a thread, the next one may be made."""
    remote = "://" in path
    with (
        tf.io.gfile.GFile(path, "wb") if remote else open(path, "wb") as file,
        ThreadPoolExecutor(1) as writer,
    ):
        written = [writer.submit(_append, file, source, remote) for source in sources]
        for part in written:
            part.result()


def _append(file: BinaryIO, source: str, remote: bool) -> None:
    with open(source, "rb") as records:
        shutil.copyfileobj(records, file, COPIED_AT_ONCE)
    if not remote:
        file.flush()
        os.fsync(file.fileno())
