"""Pre-training on a domain of one's own, two ways, as docs/domain.md tells it: seven novels, two cores, half an hour.

    python -m benchmarks.domain_pretraining --input_file=../shared/data/corpus/gutenberg.txt --output_dir=/tmp/domain

Static masks and next sentences, as the original; masks drawn anew in every epoch and full sentences, as RoBERTa. Same
text, same vocabulary, same model, same number of sequences; each on one core, side by side. Every twentieth document is
held out of all of it. A command that was run is not run again, so that a stopped run goes on.
"""

import json
import os
import pathlib
import shlex
import subprocess
import sys

from absl import app, flags

from training.charts import STYLE, line_chart
from training.pages import page

FLAGS = flags.FLAGS

CONFIG = {
    "vocab_size": 4000,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}
SHAPE = "--max_seq_length=64"
PREDICTIONS = "--max_predictions_per_seq=10"
VARIANTS = {
    "static": f"--objective=next_sentence --dupe_factor=10 {PREDICTIONS}",
    "dynamic": "--objective=full_sentences --dynamic_masking",
}
SAVED = 8  # checkpoints, and points of each curve


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("input_file", "../shared/data/corpus/gutenberg.txt", "One sentence a line.")
    flags.DEFINE_string("output_dir", "/tmp/domain", "Folder for all that is made.")
    flags.DEFINE_integer("num_train_steps", 4000, "Updates of 64 sequences.", SAVED)


def main(_) -> None:
    """Makes everything and prints the accuracies."""
    folder = pathlib.Path(FLAGS.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    hold_out(folder)
    (folder / "bert_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    run(
        folder,
        "vocabulary",
        f"learn_vocab.py --input_file={folder}/train.txt --vocab_file={folder}/vocab.txt --vocab_size=4000",
    )
    for variant, options in VARIANTS.items():
        make_records(folder, variant, options)
    processes = [start(folder, f"train_{name}", training(folder, name)) for name in VARIANTS]
    for process in processes:
        finish(process)
    curves = {variant: [] for variant in VARIANTS}
    print("step     " + "  ".join(f"{variant:>8}" for variant in VARIANTS))
    for step in (FLAGS.num_train_steps * n // SAVED for n in range(1, SAVED + 1)):
        for variant, curve in curves.items():
            curve.append((step, evaluate(folder, variant, step)))
        values = [curve[-1][1] for curve in curves.values()]
        print(f"{step:5}    " + "  ".join(f"{value:8.4f}" for value in values), flush=True)
    chart = line_chart("masked LM accuracy, held out", curves, "step")
    (folder / "curves.html").write_text(page("Pre-training on novels", chart, STYLE))


def hold_out(folder: pathlib.Path) -> None:
    """Splits the documents of the input: every twentieth is held out."""
    documents = pathlib.Path(FLAGS.input_file).read_text().strip().split("\n\n")
    held_out = documents[19::20]
    del documents[19::20]
    for name, part in (("train", documents), ("heldout", held_out)):
        (folder / f"{name}.txt").write_text("\n\n".join(part) + "\n")


def make_records(folder: pathlib.Path, variant: str, options: str) -> None:
    """Makes the records of training, and those held out: one pass, masked once, in the format of the variant."""
    common = f"create_pretraining_data.py --vocab_file={folder}/vocab.txt {SHAPE}"
    run(
        folder,
        f"records_{variant}",
        f"{common} {options} --input_file={folder}/train.txt --output_file={folder}/{variant}.tfrecord",
    )
    objective = options.split()[0]
    run(
        folder,
        f"heldout_{variant}",
        f"{common} {objective} --dupe_factor=1 {PREDICTIONS} --input_file={folder}/heldout.txt "
        f"--output_file={folder}/heldout_{variant}.tfrecord",
    )


def training(folder: pathlib.Path, variant: str) -> str:
    """Returns the command that trains on the records of a variant."""
    steps = FLAGS.num_train_steps
    return (
        f"run_pretraining.py --do_train --input_file={folder}/{variant}.tfrecord {SHAPE} {PREDICTIONS} "
        f"--vocab_file={folder}/vocab.txt --bert_config_file={folder}/bert_config.json "
        f"--output_dir={folder}/model_{variant} --train_batch_size=64 --learning_rate=1e-3 "
        f"--num_train_steps={steps} --num_warmup_steps={steps // 10} "
        f"--save_checkpoints_steps={steps // SAVED} --keep_checkpoint_max={SAVED}"
    )


def evaluate(folder: pathlib.Path, variant: str, step: int) -> float:
    """Returns the held-out masked LM accuracy of a checkpoint."""
    name = f"eval_{variant}_{step}"
    run(
        folder,
        name,
        f"run_pretraining.py --do_eval --input_file={folder}/heldout_{variant}.tfrecord {SHAPE} {PREDICTIONS} "
        f"--bert_config_file={folder}/bert_config.json --output_dir={folder}/{name} "
        f"--init_checkpoint={folder}/model_{variant}/model.ckpt-{step} --eval_batch_size=61 --max_eval_steps=29",
    )
    lines = (folder / name / "eval_results.txt").read_text().splitlines()
    return float(dict(line.split(" = ") for line in lines)["masked_lm_accuracy"])


def run(folder: pathlib.Path, name: str, command: str) -> None:
    """Runs a command of the project to its end, unless it was."""
    finish(start(folder, name, command))


def start(folder: pathlib.Path, name: str, command: str) -> tuple[subprocess.Popen, pathlib.Path]:
    """Starts a command of the project on one core, with its log in a file, unless it was run."""
    done = folder / f"{name}.done"
    if done.exists():
        command = "-c pass"
    else:
        print(f"python {command}", flush=True)
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    with open(folder / f"{name}.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, *shlex.split(command)], stderr=log, env=environment
        ), done


def finish(started: tuple[subprocess.Popen, pathlib.Path]) -> None:
    """Waits for a command, and notes that it was run."""
    process, done = started
    if process.wait():
        raise SystemExit(f"{done.stem} ended with status {process.returncode}: see {done.stem}.log")
    done.touch()


if __name__ == "__main__":
    define_flags()
    app.run(main)
