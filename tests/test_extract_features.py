"""extract_features.py as a user runs it."""

import json
import os
import random
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from test_extraction import CONFIG, VOCAB, WORDS, alone, checkpoint_tensors, tokenizer
from tiny_runs import ROOT, refusal, run, succeed, write_vocab

from finetuning.extraction import POOLINGS, encode_lines, load_encoder
from modeling.bundle import write_bundle


@pytest.fixture(scope="module")
def model_files(tmp_path_factory):
    """A model, its vocabulary and a text of blank, long and paired lines."""
    folder = tmp_path_factory.mktemp("model")
    config = CONFIG.to_json_string()
    (folder / "bert_config.json").write_text(config)
    write_vocab(folder / "vocab.txt", VOCAB)
    write_bundle(str(folder / "bert_model.ckpt"), checkpoint_tensors())
    rng = random.Random(3)
    lines = [" ".join(rng.choices(WORDS, k=rng.randint(1, 31))) for _ in range(41)]
    lines[5], lines[7] = "", "a b ||| house"
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    return folder


def flags_of(folder, output, **changes):
    return (
        dict(
            input_file=folder / "text.txt",
            output_file=output,
            vocab_file=folder / "vocab.txt",
            bert_config_file=folder / "bert_config.json",
            init_checkpoint=folder / "bert_model.ckpt",
            layers="-1,-2",
            max_seq_length=23,
            batch_size=8,
        )
        | changes
    )


def expected_lines(folder, max_seq_length=23):
    """Yields (tokens, vectors of layers -1 and -2) of the text, each line computed alone."""
    model = load_encoder(CONFIG, str(folder / "bert_model.ckpt"), tf.distribute.get_strategy())
    words = tokenizer()
    texts = (folder / "text.txt").read_text().split("\n")[:-1]
    for line in encode_lines(texts, words, max_seq_length):
        yield words.convert_ids_to_tokens(line.input_ids), alone(model, line)[:, [2, 1]]


def test_the_script_writes_what_the_model_computes(model_files, tmp_path):
    _, stderr = succeed("extract_features.py", **flags_of(model_files, tmp_path / "out"))
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    expected = list(expected_lines(model_files))
    cut = sum(len(tokens) == 23 for tokens, _ in expected)  # none has exactly 21 words
    assert [line["linex_index"] for line in lines] == list(range(41))
    for line, (tokens, values) in zip(lines, expected, strict=True):
        assert [feature["token"] for feature in line["features"]] == tokens
        written = [[layer["values"] for layer in f["layers"]] for f in line["features"]]
        np.testing.assert_allclose(written, values, rtol=0, atol=2e-5)
    assert f"41 lines in {tmp_path / 'out'}; {cut} of them cut to --max_seq_length=23" in stderr
    assert [*tmp_path.iterdir()] == [tmp_path / "out"]


def test_arrays_and_pooling_hold_the_same_vectors(model_files, tmp_path):
    flags = flags_of(model_files, tmp_path / "out", output_format="npz")
    expected = list(expected_lines(model_files))
    succeed("extract_features.py", **flags)
    with np.load(tmp_path / "out") as arrays:
        assert arrays["tokens"].tolist() == [token for tokens, _ in expected for token in tokens]
        whole = np.concatenate([values for _, values in expected])
        np.testing.assert_allclose(arrays["layer_-1"], whole[:, 0], rtol=0, atol=2e-5)
        np.testing.assert_allclose(arrays["layer_-2"], whole[:, 1], rtol=0, atol=2e-5)
    succeed("extract_features.py", **{**flags, "pooling": "mean", "do_lower": "true"})
    with np.load(tmp_path / "out") as arrays:
        means = np.stack([values.mean(0) for _, values in expected])
        np.testing.assert_allclose(arrays["layer_-2"], means[:, 1], rtol=0, atol=2e-5)


def test_bfloat16_is_close(model_files, tmp_path):
    flags = flags_of(model_files, tmp_path / "out", output_format="npz", dtype="bfloat16")
    succeed("extract_features.py", **flags)
    whole = np.concatenate([values for _, values in expected_lines(model_files)])
    with np.load(tmp_path / "out") as arrays:
        error = np.abs(arrays["layer_-1"] - whole[:, 0]).max()
    assert 1e-4 < error < 0.1 * np.abs(whole).max()


def test_a_pipe_can_be_read(model_files, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    text = (model_files / "text.txt").read_text()
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=(text,), daemon=True)
    writer.start()
    flags = flags_of(model_files, tmp_path / "out", input_file=tmp_path / "pipe", pooling="cls")
    succeed("extract_features.py", **flags)
    writer.join()
    assert len((tmp_path / "out").read_text().splitlines()) == 41


def test_output_equals_the_recorded_one(shared, tmp_path):
    (tmp_path / "in").write_text(
        "Who was Jim Henson ? ||| Jim Henson was a puppeteer\n"
        "The quick brown fox jumps over the lazy dog .\n"
    )
    succeed(
        "extract_features.py",
        input_file=tmp_path / "in",
        output_file=tmp_path / "out",
        vocab_file=shared / "data/vocab/uncased_vocab.txt",
        bert_config_file=shared / "golden/tiny/bert_config.json",
        init_checkpoint=shared / "golden/tiny/bert_model.ckpt",
        layers="-1,-2",
        max_seq_length=64,
    )

    def read(path):
        """Returns the text with every value replaced by #, and the values."""
        number = re.compile(r"-?\d+(?:\.\d+(?:e-\d+)?|e-\d+)")
        text = path.read_text()
        return number.sub("#", text), [float(value) for value in number.findall(text)]

    text, values = read(tmp_path / "out")
    recorded_text, recorded = read(shared / "golden/features/extract_features.jsonl")
    assert text == recorded_text and len(recorded) == 26 * 2 * 32
    np.testing.assert_allclose(values, recorded, rtol=0, atol=2e-5)


BAD_INPUT = {
    "missing input": (dict(input_file="nowhere.txt"), "nowhere.txt does not exist"),
    "folder as input": (dict(input_file="."), "Is a directory"),
    "layer out of range": (dict(layers="-1,3"), "--layers=-1,3: there is no layer 3"),
    "long sequences": (dict(max_seq_length=31), "max_position_embeddings"),
    "missing checkpoint": (dict(init_checkpoint="nowhere/bert_model.ckpt"), "nowhere"),
    "cased model": (
        dict(init_checkpoint="cased_L-12_H-768_A-12/bert_model.ckpt"),
        "--do_lower_case",
    ),
    "TPU flags": (dict(tpu_name="v5"), "--tpu_name=v5 needs --use_tpu=true"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_before_any_work(case, model_files, tmp_path):
    changes, expected = BAD_INPUT[case]
    fails(flags_of(model_files, tmp_path / "new/out", **changes), expected)
    assert not [*tmp_path.iterdir()]


def fails(flags, expected):
    assert expected in refusal("extract_features.py", **flags)


def test_an_empty_file_or_pipe_is_refused(model_files, tmp_path):
    (tmp_path / "in").write_text("")
    for path in (tmp_path / "in", os.devnull):
        flags = flags_of(model_files, tmp_path / "out", input_file=path)
        fails(flags, f"--input_file={path} is empty")
    assert [*tmp_path.iterdir()] == [tmp_path / "in"]


def test_a_bad_byte_at_the_end_is_found_before_any_work(model_files, tmp_path):
    data = (model_files / "text.txt").read_bytes()
    (tmp_path / "in").write_bytes(data + b"a \xff\n")
    fails(
        flags_of(model_files, tmp_path / "new/out", input_file=tmp_path / "in"),
        f"{tmp_path / 'in'} is not UTF-8: byte 0xff at byte offset {len(data) + 2}",
    )
    assert [*tmp_path.iterdir()] == [tmp_path / "in"]


def test_a_vocabulary_larger_than_the_model_is_refused(model_files, tmp_path):
    write_vocab(tmp_path / "vocab.txt", [*VOCAB, "one"])
    fails(flags_of(model_files, tmp_path / "out", vocab_file=tmp_path / "vocab.txt"), "vocab_size")


def test_the_input_is_not_overwritten(model_files, tmp_path):
    (tmp_path / "in").write_text("a\n")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    fails(
        flags_of(model_files, tmp_path / "link", input_file=tmp_path / "in"),
        "is also --input_file: name another",
    )
    assert (tmp_path / "in").read_text() == "a\n"


def test_an_output_without_a_place_is_refused(model_files, tmp_path):
    (tmp_path / "file").write_text("")
    fails(flags_of(model_files, tmp_path / "file/out"), f"{tmp_path / 'file'}")
    fails(flags_of(model_files, tmp_path), "is a folder: give the name of a file")


def test_required_flags_are_those_of_the_original(tmp_path):
    status, _, stderr = run("extract_features.py")
    assert status == 1
    for flag in ("input_file", "vocab_file", "bert_config_file", "init_checkpoint", "output_file"):
        assert f"--{flag}" in stderr


def test_flags_have_the_defaults_of_the_original():
    code = (
        "import extract_features as e, json; e.define_flags(); f = e.FLAGS; f(['x']);"
        "print(json.dumps({name: f[name].value for name in "
        "('layers', 'max_seq_length', 'do_lower_case', 'batch_size', 'use_tpu', 'master', "
        "'use_one_hot_embeddings', 'output_format', 'pooling')}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(done.stdout) == {
        "layers": "-1,-2,-3,-4",
        "max_seq_length": 128,
        "do_lower_case": True,
        "batch_size": 32,
        "use_tpu": False,
        "master": None,
        "use_one_hot_embeddings": False,
        "output_format": "jsonl",
        "pooling": "none",
    }
    assert set(POOLINGS) == {"none", "cls", "mean", "max"}
