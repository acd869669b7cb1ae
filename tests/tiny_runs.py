"""Runs of the scripts on tiny files: what the tests of several scripts write, run and read."""

import csv
import functools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORDS = "the a red blue boat house runs sleeps fast slowly and or not ever".split()
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "."]
WITHOUT_DROPOUT = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def flag_words(**flags):
    return [f"--{name}={value}" for name, value in flags.items() if value is not None]


def command(script, *positional, **flags):
    """Returns the words that run a script; flags that are None are left out."""
    return [sys.executable, str(ROOT / script), *flag_words(**flags), *positional]


@functools.cache
def _server():
    words = [sys.executable, str(ROOT / "tests/script_server.py")]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return subprocess.Popen(words, **pipes, text=True, cwd=ROOT)


def run(script, *positional, **flags):
    """Runs a script; returns (status, stdout, stderr)."""
    words = command(script, *positional, **flags)[1:]
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/stdout", f"{folder}/stderr"]
        order = [words, dict(os.environ), os.devnull, *files]
        print(json.dumps(order), file=_server().stdin, flush=True)
        status = int(_server().stdout.readline())
        return status, *(pathlib.Path(file).read_text() for file in files)


def succeed(script, *positional, **flags):
    """Runs a script that must end well; returns (stdout, stderr)."""
    status, stdout, stderr = run(script, *positional, **flags)
    assert status == 0, stderr
    return stdout, stderr


def refusal(script, *positional, **flags):
    """Runs a script that must end with one line of error and print nothing; returns the line."""
    status, stdout, stderr = run(script, *positional, **flags)
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert (status, stdout) == (1, "") and "Traceback" not in stderr, stderr
    assert errors == stderr.splitlines()[-1:]
    return errors[0]


def start(script, tmp_path, *flags_of_workers):
    """Starts a worker for each dict of flags; each has a folder of its own for temporary files."""
    addresses = free_addresses(len(flags_of_workers))
    processes = []
    for index, flags in enumerate(flags_of_workers):
        scratch = tmp_path / f"scratch{index}"
        scratch.mkdir(exist_ok=True)
        settings = {"TF_CONFIG": tf_config(addresses, index), "TMPDIR": str(scratch)}
        process = subprocess.Popen(
            command(script, **flags),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | settings,
        )
        processes.append(process)
    return processes


def finish(processes):
    """Returns (status, stderr) of every worker."""
    ended = [process.communicate(timeout=300) for process in processes]
    return [(p.returncode, stderr) for p, (_, stderr) in zip(processes, ended, strict=True)]


def tf_config(addresses, index):
    cluster = {"worker": addresses}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


def free_addresses(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for each in sockets:
        each.close()
    return addresses


def names(folder):
    """Returns what is in a folder, the random part of event files left out."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(str(p).split(".out.tfevents")[0] for p in found)


def results(directory):
    """Reads eval_results.txt; its keys must be sorted."""
    lines = (directory / "eval_results.txt").read_text().splitlines()
    pairs = [line.split(" = ") for line in lines]
    assert pairs == sorted(pairs)
    return {key: float(value) for key, value in pairs}


def sentence(rng):
    return " ".join(rng.choice(WORDS, 5)) + " ."


def write_vocab(path, tokens):
    path.write_text("".join(f"{token}\n" for token in tokens))


def write_model(folder, vocab=VOCAB, **changes):
    """Writes a vocabulary, and the configuration of a model of one layer whose sizes differ; returns the folder."""
    config = dict(
        vocab_size=len(vocab),
        hidden_size=15,
        num_hidden_layers=1,
        num_attention_heads=3,
        intermediate_size=17,
        max_position_embeddings=29,
        type_vocab_size=2,
    )
    (folder / "bert_config.json").write_text(json.dumps(config | changes))
    write_vocab(folder / "vocab.txt", vocab)
    return folder


def change_config(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def write_files(folder):
    """Writes a model, a text and the files of MRPC, all tiny; returns the folder."""
    rng = np.random.default_rng(3)
    write_model(folder)
    documents = ["\n".join(sentence(rng) for _ in range(7)) for _ in range(11)]
    (folder / "text.txt").write_text("\n\n".join(documents) + "\n")
    for name, rows in (("train", 37), ("dev", 11), ("test", 13)):
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        lines += [f"{row % 2}\t1\t2\t{sentence(rng)}\t{sentence(rng)}" for row in range(rows)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def write_csv(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def write_words(path, rng, lengths):
    """Writes an example of each length, in tokens with [CLS] and [SEP]."""
    rows = [[" ".join(rng.choice(WORDS, n - 2)), "ny"[n % 2]] for n in lengths]
    write_csv(path, ["text", "label"], rows)


def model_flags(files):
    return dict(
        vocab_file=files / "vocab.txt",
        bert_config_file=files / "bert_config.json",
        output_dir=files / "run",
    )


def classifier_flags(files, **changes):
    flags = dict(
        task_name="MRPC",
        data_dir=files,
        max_seq_length=23,
        train_batch_size=8,
        num_train_epochs=1.0,
        do_train="true",
    )
    return model_flags(files) | flags | changes


def custom_flags(files, **changes):
    """Returns flags to train on train.csv."""
    own = dict(task_name="custom", data_dir=None, train_file=files / "train.csv")
    return classifier_flags(files) | own | changes


def record_flags(files, **changes):
    flags = dict(
        input_file=files / "text.txt",
        output_file=files / "records.tfrecord",
        vocab_file=files / "vocab.txt",
        max_seq_length=23,
        max_predictions_per_seq=3,
    )
    return flags | changes


def pretraining_flags(files, **changes):
    flags = dict(
        input_file=files / "records.tfrecord",
        bert_config_file=files / "bert_config.json",
        output_dir=files / "run",
        max_seq_length=23,
        max_predictions_per_seq=3,
        train_batch_size=8,
        num_train_steps=5,
        num_warmup_steps=2,
        do_train="true",
    )
    return flags | changes
