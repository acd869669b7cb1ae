"""run_pretraining.py: two phases in one command, and records that are damaged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import ROOT, VOCAB, command, flag_words, write_model, write_vocab

from pretraining import manifest
from pretraining.recipe import Recipe

# Several runs in one process: starting TensorFlow takes longer than they do.
DRIVER = """
import json, sys
from training import app
import run_pretraining
from absl import flags
FLAGS = flags.FLAGS
run_pretraining.define_flags()
for line in sys.stdin:
    for name in FLAGS:
        FLAGS[name].unparse()
    told = ""
    try:
        FLAGS(["run_pretraining.py", *json.loads(line)])
        run_pretraining.main()
    except (ValueError, OSError, flags.Error) as error:
        told = " ".join(str(error).split())
    print("told:", told, flush=True)
"""


@pytest.fixture(scope="module")
def run():
    """Runs run_pretraining.py with the flags; returns its error, "" for none."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )

    def run(flags):
        print(json.dumps(flag_words(**flags)), file=process.stdin, flush=True)
        return next(line[6:].strip() for line in process.stdout if line.startswith("told:"))

    yield run
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with a model's configuration, and records of lengths 13 and 23."""
    folder = tmp_path_factory.mktemp("inputs")
    write_model(folder)
    rng = np.random.default_rng(3)
    for length, predictions, count in ((13, 2, 31), (23, 3, 19)):
        with tf.io.TFRecordWriter(str(folder / f"{length}.tfrecord")) as writer:
            for _ in range(count):
                writer.write(record(rng, length, predictions))
    return folder


def record(rng, length, predictions):
    def integers(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    ids = rng.integers(5, len(VOCAB), length)
    weights = tf.train.FloatList(value=[1.0] * predictions)
    features = {
        "input_ids": integers(ids),
        "input_mask": integers([1] * length),
        "segment_ids": integers([int(i > length // 2) for i in range(length)]),
        "masked_lm_positions": integers(range(predictions)),
        "masked_lm_ids": integers(ids[:predictions]),
        "masked_lm_weights": tf.train.Feature(float_list=weights),
        "next_sentence_labels": integers([rng.integers(2)]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def two_phases(inputs, directory, **changes):
    flags = dict(
        input_file=inputs / "13.tfrecord",
        bert_config_file=inputs / "bert_config.json",
        output_dir=directory,
        max_seq_length=13,
        max_predictions_per_seq=2,
        train_batch_size=6,
        num_train_steps=5,
        num_warmup_steps=2,
        learning_rate=0.01,
        phase2_input_file=inputs / "23.tfrecord",
        phase2_max_seq_length=23,
        phase2_max_predictions_per_seq=3,
        phase2_train_batch_size=4,
        phase2_gradient_accumulation_steps=2,
        phase2_num_train_steps=3,
        phase2_learning_rate=0.007,
        phase2_warmup_proportion=0.4,
        iterations_per_loop=1,
        save_checkpoints_steps=1,
        keep_checkpoint_max=99,
        do_train="true",
    )
    return {**flags, **changes}


ONE_SCHEDULE = dict(
    num_train_steps=18,
    num_warmup_steps=None,
    warmup_proportion=0.35,
    phase2_num_train_steps=None,
    phase2_learning_rate=None,
    phase2_warmup_proportion=None,
    save_checkpoints_steps=99,
)


@pytest.fixture(scope="module")
def runs(run, inputs, tmp_path_factory):
    """Uninterrupted runs: with two schedules, and with one."""
    folder = tmp_path_factory.mktemp("runs")
    assert not run(two_phases(inputs, folder / "two", do_eval="true", max_eval_steps=3))
    assert not run(two_phases(inputs, folder / "one", **ONE_SCHEDULE))
    return folder


def reported(directory):
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line for line in lines}


def rate(updates, peak, num_steps, num_warmup_steps):
    """The learning rate after so many updates of a schedule."""
    if updates < num_warmup_steps:
        return peak * updates / num_warmup_steps
    return peak * (1.0 - updates / num_steps)


def assert_rates(directory, expected):
    """Compares the rates of all steps but the first, which is not reported."""
    lines = reported(directory)
    assert sorted(lines) == list(range(2, len(expected) + 1))
    rates = [lines[step]["learning_rate"] for step in sorted(lines)]
    np.testing.assert_allclose(rates, expected[1:], rtol=1e-6, atol=1e-12)


def test_each_phase_has_a_schedule_of_its_own(runs):
    first = [rate(t, 0.01, 5, 2) for t in range(5)]
    assert_rates(runs / "two", first + [rate(t, 0.007, 3, 1) for t in range(3)])


def test_without_a_second_rate_one_schedule_spans_both_phases(runs):
    assert_rates(runs / "one", [rate(t, 0.01, 20, 7) for t in range(20)])


@pytest.mark.slow
def test_warm_up_has_the_share_of_the_first_phase(run, inputs, tmp_path):
    assert not run(
        two_phases(inputs, tmp_path, phase2_warmup_proportion=None, phase2_num_train_steps=7)
    )
    first = [rate(t, 0.01, 5, 2) for t in range(5)]
    assert_rates(tmp_path, first + [rate(t, 0.007, 7, 2) for t in range(7)])


def test_the_model_is_evaluated_on_the_second_phase(runs):
    text = (runs / "two/eval_results.txt").read_text()
    assert "global_step = 8\n" in text


def variables(directory, step):
    reader = tf.train.load_checkpoint(str(directory / f"model.ckpt-{step}"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_checkpoint(one, other, step):
    expected, found = variables(one, step), variables(other, step)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def stopped_at(whole, directory, step):
    """Copies a run as it was when this step had been saved."""
    shutil.copytree(whole, directory)
    (directory / "checkpoint").unlink()
    for path in directory.glob("model.ckpt-*"):
        if int(path.name.split("-")[1].split(".")[0]) > step:
            path.unlink()


@pytest.mark.parametrize("step", [2, 5, 7])
def test_a_run_resumes_in_each_phase_and_at_their_border(run, inputs, runs, tmp_path, step):
    stopped_at(runs / "two", tmp_path / "run", step)
    assert not run(two_phases(inputs, tmp_path / "run"))
    assert_same_checkpoint(runs / "two", tmp_path / "run", 8)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(inputs, runs, tmp_path):
    flags = two_phases(inputs, tmp_path)
    words = command("run_pretraining.py", **flags)
    for step in (3, 5, 6):
        process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL)
        while not (tmp_path / f"model.ckpt-{step}.index").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode == 0
    assert_same_checkpoint(runs / "two", tmp_path, 8)


REFUSED = {
    "length": (dict(phase2_max_seq_length=19), "--phase2_max_seq_length=19"),
    "predictions": (
        dict(phase2_max_predictions_per_seq=None),
        "--phase2_max_predictions_per_seq=2",
    ),
    "positions": (dict(phase2_max_seq_length=31), "--phase2_max_seq_length=31"),
    "default length": (dict(phase2_max_seq_length=None), "--phase2_max_seq_length=512"),
    "batch": (dict(phase2_train_batch_size=5), "--phase2_train_batch_size=5"),
    "no file": (dict(phase2_input_file="nowhere*"), "--phase2_input_file"),
    "flag alone": (dict(phase2_input_file=None), "needs --phase2_input_file"),
    "warm-up alone": (dict(phase2_learning_rate=None), "needs --phase2_learning_rate"),
    "evaluation": (
        dict(do_eval="true", eval_input_file="{inputs}/13.tfrecord"),
        "--phase2_max_seq_length=23",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_the_second_phase_is_told_before_training(run, inputs, tmp_path, case):
    changes, expected = REFUSED[case]
    changes = {
        name: value.format(inputs=inputs) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    assert expected in run(two_phases(inputs, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def damaged(inputs, folder, *numbers, change=None):
    """Copies the records of length 13, and flips a bit in some of them, or changes their content."""
    path = folder / "damaged.tfrecord"
    records = list(tf.data.TFRecordDataset(str(inputs / "13.tfrecord")).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, content in enumerate(records):
            writer.write(content if change is None or number not in numbers else change)
    data = bytearray(path.read_bytes())
    start = 0
    for number, content in enumerate(records):
        if number in numbers and change is None:
            data[start + 17] ^= 8
        start += 16 + len(content)
    path.write_bytes(data)
    return path


def one_phase(inputs, directory, **changes):
    phase2 = {name: None for name in two_phases(inputs, directory) if name.startswith("phase2_")}
    return two_phases(inputs, directory, **{**phase2, **changes})


def test_checkpoints_come_by_minutes_or_by_steps(run, inputs, tmp_path):
    flags = dict(num_train_steps=3, save_checkpoints_minutes=1e-9)
    both = run(one_phase(inputs, tmp_path / "run", **flags))
    assert "save_checkpoints_minutes" in both and "both say when to save" in both
    assert not run(one_phase(inputs, tmp_path / "run", **flags, save_checkpoints_steps=None))
    saved = {int(path.stem.split("-")[1]) for path in (tmp_path / "run").glob("*.index")}
    assert saved == {0, 1, 2, 3}


def test_a_damaged_record_is_named_when_training_meets_it(run, inputs, tmp_path):
    path = damaged(inputs, tmp_path, 29)
    error = run(one_phase(inputs, tmp_path / "run", input_file=path))
    assert f"{path}: record 29 at byte " in error and "is damaged" in error


def test_a_damaged_record_is_named_when_evaluation_meets_it(run, inputs, runs, tmp_path):
    path = damaged(inputs, tmp_path, 29)
    evaluation = dict(do_train="false", do_eval="true", eval_input_file=path)
    error = run(
        one_phase(inputs, tmp_path / "run", init_checkpoint=runs / "two/model.ckpt-8", **evaluation)
    )
    assert f"{path}: record 29 at byte " in error and "is damaged" in error


def test_a_record_that_lacks_features_is_named_among_good_files(run, inputs, tmp_path):
    path = damaged(inputs, tmp_path, 17, change=b"")
    error = run(one_phase(inputs, tmp_path / "run", input_file=f"{inputs / '13.tfrecord'},{path}"))
    assert f"{path}: record 17 at byte " in error and "lacks 'input_ids'" in error


def test_with_skip_corrupt_records_the_others_are_used(run, inputs, tmp_path):
    flags = dict(num_train_steps=2, skip_corrupt_records="true")
    path = damaged(inputs, tmp_path, *range(3, 31))
    assert not run(one_phase(inputs, tmp_path / "run", input_file=path, **flags))
    assert (tmp_path / "run/model.ckpt-2.index").exists()


def test_files_without_a_good_record_are_an_error(run, inputs, tmp_path):
    path = damaged(inputs, tmp_path, *range(31))
    error = run(one_phase(inputs, tmp_path / "run", input_file=path, skip_corrupt_records="true"))
    assert f"no record can be read in {path}" in error
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def unmasked(tmp_path_factory):
    """Records without masks and without next sentence labels, and their vocabulary, as flags."""
    folder = tmp_path_factory.mktemp("unmasked")
    rng = np.random.default_rng(5)
    write_vocab(folder / "vocab.txt", VOCAB)
    with tf.io.TFRecordWriter(str(folder / "unmasked.tfrecord")) as writer:
        for _ in range(31):
            values = {
                "input_ids": [2, *rng.integers(5, len(VOCAB), 9), 3, 0, 0],
                "input_mask": [1] * 11 + [0] * 2,
                "segment_ids": [0] * 13,
                "next_sentence_labels": [-1],
            }
            example = tf.train.Example()
            for name, numbers in values.items():
                example.features.feature[name].int64_list.value.extend(numbers)
            writer.write(example.SerializeToString())
    return dict(input_file=folder / "unmasked.tfrecord", vocab_file=folder / "vocab.txt")


@pytest.fixture(scope="module")
def dynamic(run, inputs, unmasked, tmp_path_factory):
    """An uninterrupted run of two epochs on records without masks."""
    folder = tmp_path_factory.mktemp("dynamic") / "run"
    evaluation = dict(do_eval="true", max_eval_steps=3)
    assert not run(one_phase(inputs, folder, **unmasked, **evaluation, num_train_steps=9))
    return folder


def test_records_without_masks_are_masked_the_same_after_a_stop(
    run, inputs, unmasked, dynamic, tmp_path
):
    stopped_at(dynamic, tmp_path / "run", 4)
    assert not run(one_phase(inputs, tmp_path / "run", **unmasked, num_train_steps=9))
    assert_same_checkpoint(dynamic, tmp_path / "run", 9)


def test_records_without_labels_give_no_numbers_of_next_sentences(dynamic):
    lines = reported(dynamic).values()
    assert all("masked_lm_loss" in line and "next_sentence_loss" not in line for line in lines)
    results = (dynamic / "eval_results.txt").read_text()
    assert "masked_lm_accuracy = " in results and "next_sentence" not in results


def test_flags_of_masking_change_what_is_masked(run, inputs, unmasked, dynamic, tmp_path):
    assert not run(
        one_phase(inputs, tmp_path / "run", **unmasked, num_train_steps=9, masking="span")
    )
    # The first update has the learning rate 0, so that the weights are the same.
    pieces, spans = (reported(folder)[2] for folder in (dynamic, tmp_path / "run"))
    assert pieces["masked_lm_loss"] != spans["masked_lm_loss"]


MASKS_REFUSED = {
    "no vocabulary": (dict(vocab_file=None), "--input_file hold no masks: give the --vocab_file"),
    "large vocabulary": (dict(vocab_file="{folder}/large.txt"), f"{len(VOCAB) + 1} tokens, but"),
    "small vocabulary": (dict(vocab_file="{folder}/small.txt"), "outside 0 to 6"),
    "no mask token": (dict(vocab_file="{folder}/odd.txt"), "lacks [MASK]"),
    "masks already": (
        dict(input_file="{inputs}/13.tfrecord", masked_lm_prob=0.3),
        "--masked_lm_prob is for records without masks",
    ),
    "spans of words": (dict(max_span_words=3), "--max_span_words needs --masking=span"),
}


@pytest.mark.parametrize("case", MASKS_REFUSED)
def test_what_is_wrong_with_masking_is_told_before_training(run, inputs, unmasked, tmp_path, case):
    odd = [token.replace("[MASK]", "mask") for token in VOCAB]
    for name, tokens in (("large", [*VOCAB, "more"]), ("small", VOCAB[:7]), ("odd", odd)):
        write_vocab(tmp_path / f"{name}.txt", tokens)
    changes, expected = MASKS_REFUSED[case]
    places = dict(inputs=inputs, folder=tmp_path)
    changes = {
        name: value.format(**places) if isinstance(value, str) else value
        for name, value in changes.items()
    }
    assert expected in run(one_phase(inputs, tmp_path / "run", **{**unmasked, **changes}))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def with_manifests(inputs, unmasked, tmp_path):
    """Copies the records of both phases, each with a manifest, the second with other flags."""

    def copy(**changed):
        nothing = dict.fromkeys(
            "positions tokens unknown sequences rows label_0 label_1".split(), 0
        )
        recipe = Recipe(str(unmasked["vocab_file"]))
        for length, count in ((13, 31), (23, 19)):
            path = shutil.copy(inputs / f"{length}.tfrecord", tmp_path)
            made = dict(max_seq_length=length) | (changed if length == 23 else {})
            manifest.write(recipe._replace(**made), {}, [], {}, nothing, [(path, count)])
        write_vocab(tmp_path / "other.txt", reversed(VOCAB))
        return two_phases(tmp_path, tmp_path / "run", bert_config_file=inputs / "bert_config.json")

    return copy


MANIFEST_REFUSED = {
    "made anew": (
        dict(max_seq_length=17),
        {},
        "--max_seq_length=17, but here --phase2_max_seq_length=23",
    ),
    "other vocabulary": ({}, dict(vocab_file="{folder}/other.txt"), "other.txt is another"),
    "two kinds": (dict(do_lower_case=False), {}, "are of another --do_lower_case than"),
    "cased model": (
        {},
        dict(init_checkpoint="cased_L-2_H-15_A-3/bert_model.ckpt"),
        "a cased model",
    ),
}


@pytest.mark.parametrize("case", MANIFEST_REFUSED)
def test_what_the_manifest_tells_of_a_mismatch_stops_training(run, with_manifests, tmp_path, case):
    made, changes, expected = MANIFEST_REFUSED[case]
    changes = {name: value.format(folder=tmp_path) for name, value in changes.items()}
    assert expected in run({**with_manifests(**made), **changes})
    assert not (tmp_path / "run").exists()
