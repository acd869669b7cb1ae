"""The steps of `pretraining.builder` as a pipeline of Apache Beam: the same records, made on a cluster.

Files are read each by one worker; blocks of text, then partitions, then record files are what workers share out.
Parts of record files lie beside the first output until they are joined, so outputs are on a file system that all
workers reach, as gs:// is; so are the input files and the vocabulary.
"""

import functools
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from pretraining import manifest
from pretraining.job import total
from pretraining.partitions import (
    document_keys,
    in_partition,
    in_random_order,
    num_partitions,
    plan,
)
from pretraining.parts import Part, list_parts, make_rows
from pretraining.recipe import Recipe
from pretraining.row_statistics import merge
from pretraining.text_blocks import Block, read_blocks
from pretraining.token_documents import TokenDocuments, concatenate, tokenize_block
from tokenization.graph import GraphTokenizer
from training.records import serialize_rows, write_records

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.pvalue import AsList, AsSingleton, TaggedOutput
except ImportError:
    raise ValueError("--runner needs Apache Beam: pip install apache-beam") from None

COPIED_AT_ONCE = 1 << 24
_BAD_INPUT = (ValueError, OSError, FileNotFoundError, PermissionError)

Place = tuple[int, int]  # number of a file, number of a block in it


def build(
    recipe: Recipe,
    files: Sequence[str],
    output_files: Sequence[str],
    on_bad_utf8: str = "error",
    memory_mb: int = 128,
    pipeline_options: Sequence[str] = (),
) -> dict:
    """Makes the records of a corpus and their manifest, which it returns: those of `builder.build`, byte for byte.

    Args:
      recipe, files, output_files, on_bad_utf8, memory_mb: see `builder.build`.
      pipeline_options: of Beam, as ["--runner=DataflowRunner", "--project=..."].

    Raises:
      ValueError, OSError: see `builder.build`.
    """
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(list(pipeline_options)))
    except ImportError as error:
        raise ValueError(f"--runner needs a part of Apache Beam that is missing: {error}") from None
    parts_folder = f"{output_files[0]}.parts"
    tf.io.gfile.makedirs(parts_folder)
    documents, counts = _tokenized(pipeline, recipe, files, on_bad_utf8)
    partitions, number = _partitions(documents, counts, recipe, memory_mb)
    parts, plan_counts = _parts(partitions, recipe, output_files, parts_folder)
    shards = _joined(parts, plan_counts, output_files, parts_folder)
    inputs = pipeline | "Inputs" >> beam.Create(list(enumerate(files))) | beam.Map(_fingerprint)
    (
        pipeline
        | beam.Create([{"on_bad_utf8": on_bad_utf8, "memory_mb": memory_mb}])
        | "Manifest"
        >> beam.Map(
            _write_manifest,
            recipe,
            list(output_files),
            *map(AsSingleton, (counts, plan_counts, number)),
            *map(AsList, (inputs, shards)),
        )
    )
    try:
        _run(pipeline)
    except Exception:
        tf.io.gfile.rmtree(parts_folder)
        raise
    tf.io.gfile.rmtree(parts_folder)
    return manifest.read(manifest.path_of(output_files))


def _tokenized(pipeline, recipe: Recipe, files: Sequence[str], on_bad_utf8: str):
    """Returns (place, keys, documents) of each block, and the counts of all of them."""
    tokenized = (
        pipeline
        | "Files" >> beam.Create(list(enumerate(files)))
        | beam.Reshuffle()
        | "Read" >> beam.FlatMap(_read)
        | "Spread blocks" >> beam.Reshuffle()
        | "Tokenize" >> beam.FlatMap(_tokenize, recipe, on_bad_utf8).with_outputs("counts", main="")
    )
    counts = tokenized["counts"] | "Count" >> beam.CombineGlobally(total)
    checked = counts | "Check" >> beam.Map(_checked, ",".join(files))
    return tokenized[""], checked


def _read(numbered: tuple[int, str]) -> Iterator[Block]:
    number, path = numbered
    for block in read_blocks([path]):
        yield block._replace(file=number)


def _tokenize(block: Block, recipe: Recipe, on_bad_utf8: str) -> Iterator:
    tokenizer = _tokenizer(recipe.vocab_file, recipe.do_lower_case)
    documents, counts = tokenize_block(block, tokenizer, on_bad_utf8)
    yield TaggedOutput("counts", counts)
    if documents.num_documents:
        keys = document_keys(recipe, block, documents.num_documents)
        yield (block.file, block.number), keys, documents


@functools.lru_cache(maxsize=1)
def _tokenizer(vocab_file: str, do_lower_case: bool) -> GraphTokenizer:
    return GraphTokenizer(vocab_file, do_lower_case)


def _checked(counts: Mapping[str, int], files: str) -> Mapping[str, int]:
    if not counts.get("documents"):
        raise ValueError(f"--input_file={files}: 0 documents, no line holds a token")
    return counts


def _partitions(documents, counts, recipe: Recipe, memory_mb: int):
    """Returns (partition, its documents in blocks), and how many partitions there are."""
    partitions = (
        documents
        | "Deal out" >> beam.FlatMap(_deal_out, recipe, memory_mb, AsSingleton(counts))
        | "Gather" >> beam.GroupByKey()
    )
    return partitions, partitions | beam.combiners.Count.Globally()


def _deal_out(
    block: tuple[Place, np.ndarray, TokenDocuments],
    recipe: Recipe,
    memory_mb: int,
    counts: Mapping[str, int],
) -> Iterator[tuple[int, tuple[Place, TokenDocuments]]]:
    place, keys, documents = block
    order = np.argsort(keys)
    number = num_partitions(counts, recipe, memory_mb)
    for partition in range(number):
        chosen = order[in_partition(keys[order], partition, number)]
        if len(chosen):
            yield partition, (place, documents.subset(np.sort(chosen)))


def _parts(partitions, recipe: Recipe, output_files: Sequence[str], folder: str):
    """Returns (number of the file, (part, statistics)) of each part, and the counts of all plans."""
    made = partitions | "Make parts" >> beam.FlatMap(
        _make_parts, recipe, len(output_files), folder
    ).with_outputs("counts", main="")
    return made[""], made["counts"] | "Count plans" >> beam.CombineGlobally(total)


def _make_parts(
    partition: tuple[int, Iterable[tuple[Place, TokenDocuments]]],
    recipe: Recipe,
    num_files: int,
    folder: str,
) -> Iterator:
    number, blocks = partition
    in_order = sorted(blocks, key=lambda block: block[0])
    documents = concatenate([documents for _, documents in in_order])
    plans = [plan(documents, recipe, number, repeat) for repeat in range(recipe.dupe_factor)]
    yield from (TaggedOutput("counts", counts) for _, counts in plans)
    spans = in_random_order([spans for spans, _ in plans], recipe, number)
    for part in list_parts({number: len(spans)}, num_files, recipe.max_seq_length):
        rows, statistics = make_rows(part, documents, spans[part.start : part.end], recipe)
        # A worker that was taken for lost may still be writing the same part.
        path = _part_path(folder, part)
        own_path = f"{path}.{uuid.uuid4().hex}"
        write_records(own_path, serialize_rows(rows))
        tf.io.gfile.rename(own_path, path, overwrite=True)
        yield part.file, (part, statistics)


def _part_path(folder: str, part: Part) -> str:
    return os.path.join(folder, f"{part.file}-{part.partition}-{part.start}")


def _joined(parts, plan_counts, output_files: Sequence[str], folder: str):
    """Returns (number, statistics) of each record file; none is written where there are too few parts."""
    number = (
        parts | beam.Keys() | beam.Distinct() | "Count files" >> beam.combiners.Count.Globally()
    )
    enough = number | "Check files" >> beam.Map(
        _checked_files, list(output_files), AsSingleton(plan_counts)
    )
    grouped = parts | "Parts of files" >> beam.GroupByKey()
    return grouped | "Join" >> beam.Map(_join, folder, AsSingleton(enough))


def _checked_files(
    number: int, output_files: Sequence[str], plan_counts: Mapping[str, int]
) -> Sequence[str]:
    if number < len(output_files):
        raise ValueError(
            f"--output_file names {len(output_files)} files, the text gives only "
            f"{plan_counts['sequences']} sequences: name fewer files"
        )
    return output_files


def _join(
    parts_of_file: tuple[int, Iterable[tuple[Part, dict]]],
    folder: str,
    output_files: Sequence[str],
) -> tuple[int, dict]:
    """Writes a record file, which is the files of its parts end to end; returns its number and statistics."""
    number, parts = parts_of_file
    parts, statistics = zip(*sorted(parts, key=lambda made: made[0]), strict=True)
    path = output_files[number]
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        for part in parts:
            with tf.io.gfile.GFile(_part_path(folder, part), "rb") as records:
                while data := records.read(COPIED_AT_ONCE):
                    file.write(data)
    tf.io.gfile.rename(temporary, path, overwrite=True)
    return number, merge(statistics)


def _fingerprint(numbered: tuple[int, str]) -> tuple[int, dict]:
    number, path = numbered
    return number, manifest.fingerprint(path)


def _write_manifest(
    settings: dict,
    recipe: Recipe,
    output_files: Sequence[str],
    counts: Mapping[str, int],
    plan_counts: Mapping[str, int],
    partitions: int,
    inputs: Sequence[tuple[int, dict]],
    shards: Sequence[tuple[int, dict]],
) -> None:
    statistics = [found for _, found in sorted(shards, key=lambda shard: shard[0])]
    manifest.write(
        recipe,
        settings | {"partitions": partitions},
        [found for _, found in sorted(inputs, key=lambda found: found[0])],
        {**counts, **plan_counts},
        merge(statistics),
        [(p, found["rows"]) for p, found in zip(output_files, statistics, strict=True)],
    )


def _run(pipeline) -> None:
    """Runs it to its end, and raises what a worker raised for bad input, without the steps of Beam."""
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:
        # Some runners raise what was raised, others one that holds its traceback as a text.
        text = str(error) if isinstance(error, _BAD_INPUT) else _last_of_ours(str(error))
        if not text:
            raise
        raise ValueError(text.partition(" [while running")[0]) from error


def _last_of_ours(traceback: str) -> str | None:
    names = "|".join(kind.__name__ for kind in _BAD_INPUT)
    found = re.findall(rf"^(?:{names}): (.*)", traceback, re.MULTILINE)
    return found[-1] if found else None
