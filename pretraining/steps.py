"""The steps of a build from text to sequences in random order, their tasks and their results on the disk.

blocks/FILE-NUMBER/     documents of a block of text, sorted by their keys
partitions/PARTITION/   documents of a partition
plans/PARTITION-PASS/   spans of one pass over it
orders/PARTITION/       spans of all passes in random order
"""

import functools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pretraining import manifest
from pretraining.job import Job, finish, total
from pretraining.partitions import (
    document_keys,
    in_partition,
    in_random_order,
    num_partitions,
    plan,
)
from pretraining.task_pool import TaskPool
from pretraining.text_blocks import Block, read_blocks
from pretraining.token_documents import concatenate, tokenize_block
from pretraining.work_folder import (
    appearing,
    load_array,
    load_documents,
    read_json,
    save_arrays,
    save_documents,
    write_json,
)
from tokenization.graph import GraphTokenizer


def tokenize(job: Job, pool: TaskPool, files: Sequence[str]) -> list:
    """Returns the names of the blocks that hold documents, what identifies the inputs, and counts."""
    path = job.folder("blocks.json")
    if found := read_json(path):
        return found
    names = []

    def missing() -> Iterator[Block]:
        for block in read_blocks(files):
            names.append(f"{block.file}-{block.number}")
            if not os.path.exists(job.folder("blocks", names[-1])):
                yield block

    finish(pool.map(functools.partial(_tokenize_block, job), missing()), "tokenized %d blocks")
    each = [read_json(job.folder("blocks", name, "counts.json")) for name in names]
    counts = total(each)
    if not counts["documents"]:
        raise ValueError(f"--input_file={','.join(files)}: 0 documents, no line holds a token")
    filled = [name for name, of_block in zip(names, each, strict=True) if of_block["documents"]]
    write_json(path, [filled, list(pool.map(manifest.fingerprint, files)), counts])
    return read_json(path)


def _tokenize_block(job: Job, block: Block) -> None:
    tokenizer = _tokenizer(job.recipe.vocab_file, job.recipe.do_lower_case)
    documents, counts = tokenize_block(block, tokenizer, job.on_bad_utf8)
    keys = document_keys(job.recipe, block, documents.num_documents)
    order = np.argsort(keys)
    with appearing(job.folder("blocks", f"{block.file}-{block.number}")) as folder:
        save_documents(folder, documents.subset(order))
        save_arrays(folder, keys=keys[order], order=order)
        write_json(os.path.join(folder, "counts.json"), counts)


@functools.lru_cache(maxsize=1)
def _tokenizer(vocab_file: str, do_lower_case: bool) -> GraphTokenizer:
    return GraphTokenizer(vocab_file, do_lower_case)


def deal_out(
    job: Job, pool: TaskPool, blocks: Sequence[str], counts: Mapping[str, int]
) -> list[int]:
    """Returns the partitions that hold documents."""
    path = job.folder("partitions.json")
    if found := read_json(path):
        return found
    total = num_partitions(counts, job.recipe, job.memory_mb)
    missing = [q for q in range(total) if not os.path.exists(job.folder("partitions", q))]
    task = functools.partial(_gather, job, blocks, total)
    finish(pool.map(task, missing), f"made %d of {len(missing)} partitions")
    filled = [q for q in range(total) if os.listdir(job.folder("partitions", q))]
    write_json(path, filled)
    shutil.rmtree(job.folder("blocks"))
    return filled


def _gather(job: Job, blocks: Sequence[str], total: int, partition: int) -> None:
    found = []
    for name in blocks:
        folder = job.folder("blocks", name)
        chosen = in_partition(load_array(folder, "keys"), partition, total)
        if chosen.start < chosen.stop:
            documents = load_documents(folder).stretch(chosen.start, chosen.stop)
            found.append(documents.subset(np.argsort(load_array(folder, "order")[chosen])))
    with appearing(job.folder("partitions", partition)) as folder:
        if found:
            save_documents(folder, concatenate(found))


def plan_all(job: Job, pool: TaskPool, partitions: Sequence[int]) -> list:
    """Returns (partition, number of sequences) of each, and counts of what the plans leave out."""
    path = job.folder("orders.json")
    if found := read_json(path):
        return found
    unordered = [q for q in partitions if not os.path.exists(job.folder("orders", q))]
    passes = [(q, number) for q in unordered for number in range(job.recipe.dupe_factor)]
    missing = [task for task in passes if not os.path.exists(_plan_folder(job, *task))]
    finish(
        pool.map(functools.partial(_plan_pass, job), missing),
        f"planned %d of {len(missing)} passes over partitions",
    )
    finish(
        pool.map(functools.partial(_order, job), unordered),
        f"shuffled %d of {len(unordered)} partitions",
    )
    sizes = [(q, len(load_array(job.folder("orders", q), "spans"))) for q in partitions]
    each = [read_json(job.folder("orders", q, "counts.json")) for q in partitions]
    write_json(path, [sizes, total(each)])
    return read_json(path)


def _plan_pass(job: Job, task: tuple[int, int]) -> None:
    partition, number = task
    documents = load_documents(job.folder("partitions", partition))
    spans, counts = plan(documents, job.recipe, partition, number)
    with appearing(_plan_folder(job, partition, number)) as folder:
        save_arrays(folder, spans=spans.astype(np.int32))
        write_json(os.path.join(folder, "counts.json"), counts)


def _plan_folder(job: Job, partition: int, number: int) -> str:
    return job.folder("plans", f"{partition}-{number}")


def _order(job: Job, partition: int) -> None:
    passes = [_plan_folder(job, partition, number) for number in range(job.recipe.dupe_factor)]
    counts = [read_json(os.path.join(folder, "counts.json")) for folder in passes]
    spans = in_random_order(
        [np.load(os.path.join(f, "spans.npy")) for f in passes], job.recipe, partition
    )
    with appearing(job.folder("orders", partition)) as folder:
        save_arrays(folder, spans=spans)
        write_json(os.path.join(folder, "counts.json"), total(counts))
    for folder in passes:
        shutil.rmtree(folder)
