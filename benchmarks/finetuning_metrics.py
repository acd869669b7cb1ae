"""Dev metrics of fine-tuning with our scripts and with HuggingFace transformers, from the same weights.

    python -m benchmarks.finetuning_metrics --peer_python=hf/bin/python --hf_dir=... --model_dir=...

The same weights for both, `hf_dir` with them as published and `model_dir` as convert_checkpoint.py writes them; the
same examples, batch size, rate, schedule, epochs, length, precision and update rule (Adam with bias correction). Ours
is `run_classifier.py` or, for WNUT-17, `run_tagger.py`, with `--length_buckets=auto`; the other side is
benchmarks/finetuning_transformers.py. Its predictions are scored by the same functions as ours. Of a task as many
examples as `--max_examples`, chosen at random once for all.

Each run has one thread and there are as many at once as there are CPUs, which takes less time than one after another
with all threads. A line of JSON tells of each run as soon as it is finished, the table comes at the end.
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import itertools
import json
import os
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from absl import flags

from benchmarks.finetuning import peer_settings, run_ours, run_peer, texts_of, write_sample
from finetuning.metrics import METRICS
from finetuning.tagging_files import TagFile, read_tag_file
from finetuning.tagging_metrics import tagging_results
from finetuning.tagset import find_tagset, tag_numbers
from finetuning.task_files import read_examples
from finetuning.tasks import REGRESSION, TASKS

FLAGS = flags.FLAGS

FOLDERS = {"mrpc": "MRPC", "cola": "CoLA", "sts-b": "STS-B", "sst-2": "SST-2"}
TAGGING = "wnut-17"
SIDES = ["ours", "transformers"]


class Run(NamedTuple):
    """One training."""

    task: str
    seed: int
    side: str  # one of SIDES


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("peer_python", None, "Python interpreter with torch and transformers.")
    flags.DEFINE_string("hf_dir", None, "HuggingFace folder with the weights.")
    flags.DEFINE_string("model_dir", None, "Folder with them as convert_checkpoint.py writes it.")
    flags.DEFINE_string("glue_dir", "../shared/data/glue", "Folder with MRPC and so on.")
    flags.DEFINE_string("ner_dir", "../shared/data/ner", "Folder with WNUT-17.")
    names = [*FOLDERS, TAGGING]
    flags.DEFINE_multi_enum("tasks", names, names, "Which tasks.")
    flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "Precision.")
    flags.DEFINE_multi_integer("seeds", [1, 2, 3], "A run of each side for each.")
    flags.DEFINE_multi_enum("sides", SIDES, SIDES, "Who trains.")
    flags.DEFINE_integer("num_epochs", 3, "As of run_classifier.py.", 1)
    flags.DEFINE_float("learning_rate", 1e-4, "As of run_classifier.py.")
    flags.DEFINE_integer("max_seq_length", 128, "As of run_classifier.py.", 3)
    flags.DEFINE_integer("train_batch_size", 32, "Examples in an update.", 1)
    flags.DEFINE_integer("max_examples", 20000, "Most examples for training of a task of GLUE.", 1)


def main() -> None:
    """Trains all, as many at once as there are CPUs, and prints the table."""
    runs = [Run(*run) for run in itertools.product(FLAGS.tasks, FLAGS.seeds, FLAGS.sides)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = {task: glue_folder(task, folder) for task in FLAGS.tasks if task in FOLDERS}
        found = dict(zip(runs, pool.map(lambda run: measure(run, folders), runs), strict=True))
    print(f"\ndev metrics after {FLAGS.num_epochs} epochs, of {len(FLAGS.seeds)} seeds each")
    print(f"{'task':8} {'metric':9} {'side':13} {'median':>7} {'lowest':>7} {'highest':>7}")
    for task, side in itertools.product(FLAGS.tasks, FLAGS.sides):
        results = [found[Run(task, seed, side)] for seed in FLAGS.seeds]
        for name in results[0]:
            values = [result[name] for result in results]
            numbers = [statistics.median(values), min(values), max(values)]
            print(f"{task:8} {name:9} {side:13}", *(f"{value:7.4f}" for value in numbers))


def glue_folder(task: str, folder: str) -> str:
    """Returns a folder with the task's development set, and no more than the wanted examples to train on."""
    own, published = os.path.join(folder, task), os.path.join(FLAGS.glue_dir, FOLDERS[task])
    os.makedirs(own)
    write_sample(published, TASKS[task].tables["train"].has_header, own)
    os.symlink(os.path.abspath(os.path.join(published, "dev.tsv")), os.path.join(own, "dev.tsv"))
    return own


def measure(run: Run, folders: dict[str, str]) -> dict[str, float]:
    """Trains once, prints and returns the metrics by name."""
    if run.task == TAGGING:
        metrics = our_tagger(run) if run.side == "ours" else peer_tagger(run)
    else:
        way = our_classifier if run.side == "ours" else peer_classifier
        metrics = way(run, folders[run.task])
    print(json.dumps(run._asdict() | metrics), flush=True)
    return metrics


def common() -> dict[str, object]:
    """Returns what both sides call the same."""
    names = ("max_seq_length", "learning_rate", "dtype")
    return {name: FLAGS[name].value for name in names} | {"num_threads": 1}


def our_classifier(run: Run, folder: str) -> dict[str, float]:
    """Trains with run_classifier.py."""
    found = our_metrics("run_classifier.py", run, task_name=run.task, data_dir=folder)
    return {name: found[f"eval_{name}"] for name in TASKS[run.task].metrics}


def our_tagger(run: Run) -> dict[str, float]:
    """Trains with run_tagger.py."""
    files = {f"{split}_file": tagging_path(split) for split in ("train", "dev")}
    return {"f1": our_metrics("run_tagger.py", run, **files)["eval_f1"]}


def our_metrics(script: str, run: Run, **data) -> dict[str, float]:
    """Trains with one of our scripts."""
    with tempfile.TemporaryDirectory() as output_dir:
        run_ours(
            script,
            FLAGS.model_dir,
            **common(),
            **data,
            length_buckets="auto",
            train_batch_size=FLAGS.train_batch_size,
            eval_batch_size=FLAGS.train_batch_size,
            num_train_epochs=FLAGS.num_epochs,
            adam_bias_correction="true",
            save_checkpoints_steps=10**9,
            do_eval="true",
            seed=run.seed,
            output_dir=output_dir,
        )
        with open(os.path.join(output_dir, "results.json"), encoding="utf-8") as file:
            return json.load(file)["metrics"]


def peer_predictions(run: Run, num_labels: int, **data) -> list:
    """Trains with transformers and returns what it predicts."""
    settings = peer_settings(
        hf_dir=FLAGS.hf_dir,
        num_labels=num_labels,
        batch_size=FLAGS.train_batch_size,
        num_epochs=FLAGS.num_epochs,
        seed=run.seed,
        **common(),
        **data,
    )
    return run_peer(settings, FLAGS.peer_python)["predictions"]


def peer_classifier(run: Run, folder: str) -> dict[str, float]:
    """Trains with transformers."""
    task = TASKS[run.task]
    train, dev = (read_examples(task, folder, split) for split in ("train", "dev"))

    def number(label):
        return label if task.kind == REGRESSION else task.labels.index(label)

    labels, dev_labels = ([number(example.label) for example in split] for split in (train, dev))
    predicted = peer_predictions(
        run,
        len(task.labels),
        kind=task.kind,
        texts=texts_of(train),
        labels=labels,
        dev_texts=texts_of(dev),
        dev_labels=dev_labels,
    )
    pair = np.array(dev_labels), np.array(predicted)
    return {name: float(METRICS[name](*pair)) for name in task.metrics}


def peer_tagger(run: Run) -> dict[str, float]:
    """The same for WNUT-17; words that were cut off are outside of all entities."""
    files = [read_tag_file(tagging_path(split), None, None, True) for split in ("train", "dev")]
    tagset = find_tagset(files[0])
    (texts, labels), (dev_texts, dev_labels) = (tagged_words(file, tagset) for file in files)
    predicted = peer_predictions(
        run,
        len(tagset.tags),
        kind="tagging",
        texts=texts,
        labels=labels,
        dev_texts=dev_texts,
        dev_labels=dev_labels,
    )
    gold = [sentence.tags for sentence in files[1].sentences]
    tags = [[tagset.tags[number] for number in numbers] for numbers in predicted]
    tags = [[*own, *["O"] * (len(right) - len(own))] for own, right in zip(tags, gold, strict=True)]
    return {"f1": tagging_results(gold, tags, np.zeros(0), tagset.scheme)["eval_f1"]}


def tagged_words(file: TagFile, tagset) -> tuple[list, list]:
    """Returns the words of each sentence, and the numbers of their tags."""
    numbers = iter(tag_numbers(file, tagset).tolist())
    words = [list(sentence.words) for sentence in file.sentences]
    return words, [[next(numbers) for _ in sentence] for sentence in words]


def tagging_path(split: str) -> str:
    """Returns the file of a split."""
    return os.path.join(FLAGS.ner_dir, f"wnut17{split}.conll")


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["peer_python", "hf_dir", "model_dir"])
    app.run(main)
