"""The main job on bundled data: vocabulary, pre-training, fine-tuning, prediction. `make demo` runs it."""

import collections
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = pathlib.Path("demo_output")
EXAMPLES = pathlib.Path("examples")

VOCABULARY = f"""learn_vocab.py --input_file={EXAMPLES}/corpus/*.txt
    --vocab_file={OUTPUT}/vocab.txt --vocab_size=2000 --unused_rows=0"""
RECORDS = f"""create_pretraining_data.py --vocab_file={OUTPUT}/vocab.txt
    --max_seq_length=32 --max_predictions_per_seq=5 --dupe_factor=10"""
TRAINING_RECORDS = f"""{RECORDS}
    --input_file={EXAMPLES}/corpus/*.txt --output_file={OUTPUT}/train.tfrecord"""
HELD_OUT_RECORDS = f"""{RECORDS}
    --input_file={EXAMPLES}/heldout.txt --output_file={OUTPUT}/heldout.tfrecord"""
PRETRAINING = f"""run_pretraining.py --bert_config_file={EXAMPLES}/bert_config.json
    --input_file={OUTPUT}/train.tfrecord --eval_input_file={OUTPUT}/heldout.tfrecord
    --output_dir={OUTPUT}/pretrained --do_train=true --do_eval=true
    --max_seq_length=32 --max_predictions_per_seq=5 --train_batch_size=64
    --learning_rate=8e-4 --num_train_steps=900 --num_warmup_steps=90"""
CLASSIFIER = f"""run_classifier.py --task_name=cola --data_dir={EXAMPLES}/reviews
    --vocab_file={OUTPUT}/vocab.txt --bert_config_file={EXAMPLES}/bert_config.json
    --init_checkpoint={OUTPUT}/pretrained/model.ckpt-900 --output_dir={OUTPUT}/reviews
    --do_train=true --do_eval=true --do_predict=true
    --max_seq_length=32 --learning_rate=3e-4 --num_train_epochs=6"""


def run(title: str, command: str) -> float:
    """Runs a script of the project, shows its command, and returns the seconds it took."""
    print(f"\n=== {title}\n\n    python {command}\n", flush=True)
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *shlex.split(command)], cwd=ROOT)
    if done.returncode:
        sys.exit(f"The demo stops: the command above ended with status {done.returncode}.")
    return time.perf_counter() - start


def read_results(directory: str) -> dict[str, float]:
    """Returns the numbers of an eval_results.txt."""
    lines = (ROOT / OUTPUT / directory / "eval_results.txt").read_text().splitlines()
    return {key: float(value) for key, value in (line.split(" = ") for line in lines)}


def unigram_accuracy() -> float:
    """Returns the held-out masked LM accuracy of always answering the commonest token of the training records."""
    import training.app  # noqa: F401, I001  (first: it silences TensorFlow's start-up)
    import tensorflow as tf

    counts = {}
    for name in ("train", "heldout"):
        counts[name] = collections.Counter()
        for record in tf.data.TFRecordDataset(str(ROOT / OUTPUT / f"{name}.tfrecord")):
            features = tf.train.Example.FromString(record.numpy()).features.feature
            weights = features["masked_lm_weights"].float_list.value
            ids = features["masked_lm_ids"].int64_list.value
            counts[name].update(token for token, real in zip(ids, weights, strict=True) if real)
    commonest = counts["train"].most_common(1)[0][0]
    return counts["heldout"][commonest] / counts["heldout"].total()


def test_accuracy() -> tuple[float, float]:
    """Returns the accuracy of the predictions on the test set, and that of its commonest label."""
    labels = (ROOT / EXAMPLES / "reviews/test_labels.txt").read_text().split()
    rows = (ROOT / OUTPUT / "reviews/test_results.tsv").read_text().splitlines()
    predicted = ["01"[float(row.split("\t")[1]) > 0.5] for row in rows]
    hits = sum(ours == label for ours, label in zip(predicted, labels, strict=True))
    return hits / len(labels), max(collections.Counter(labels).values()) / len(labels)


def training_curve() -> str:
    """Returns the masked LM accuracy of the training batches at about every fifth of the run."""
    lines = (ROOT / OUTPUT / "pretrained/metrics.jsonl").read_text().splitlines()
    reports = [json.loads(line) for line in lines]
    shown = [reports[round(i * (len(reports) - 1) / 5)] for i in range(6)]
    return ", ".join(f"step {r['step']}: {r['masked_lm_accuracy']:.3f}" for r in shown)


def print_table(seconds: dict[str, float]) -> None:
    """Prints what came out, what chance would give, and where the files are."""
    pretrained, reviews = read_results("pretrained"), read_results("reviews")
    accuracy, commonest = test_accuracy()
    rows = [
        ("result", "value", "baseline", "file"),
        ("vocabulary (WordPieces)", "2000", "", f"{OUTPUT}/vocab.txt"),
        (
            "masked LM accuracy, held out",
            f"{pretrained['masked_lm_accuracy']:.3f}",
            f"{unigram_accuracy():.3f} (unigram)",
            f"{OUTPUT}/pretrained/eval_results.txt",
        ),
        (
            "next sentence accuracy, held out",
            f"{pretrained['next_sentence_accuracy']:.3f}",
            "0.5 (chance)",
            f"{OUTPUT}/pretrained/model.ckpt-900",
        ),
        (
            "reviews, dev accuracy",
            f"{reviews['eval_accuracy']:.3f}",
            "0.5 (commonest label)",
            f"{OUTPUT}/reviews/eval_results.txt",
        ),
        (
            "reviews, test accuracy",
            f"{accuracy:.3f}",
            f"{commonest:.3f} (commonest label)",
            f"{OUTPUT}/reviews/test_results.tsv",
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print()
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    print(f"\nMasked LM accuracy while training: {training_curve()}")
    spent = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    print(f"Time: {spent}; {sum(seconds.values()):.0f} s in all.")


def main() -> None:
    """Runs the demo from the beginning."""
    shutil.rmtree(ROOT / OUTPUT, ignore_errors=True)
    (ROOT / OUTPUT).mkdir()
    seconds = {
        "vocabulary": run("Learn a vocabulary from the bundled corpus", VOCABULARY),
        "records": run("Make pre-training records", TRAINING_RECORDS)
        + run("Make records of the held-out text", HELD_OUT_RECORDS),
        "pre-training": run("Pre-train a small BERT", PRETRAINING),
        "fine-tuning": run("Fine-tune on reviews, evaluate and predict", CLASSIFIER),
    }
    print_table(seconds)


if __name__ == "__main__":
    main()
