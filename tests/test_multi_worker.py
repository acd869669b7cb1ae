"""Several workers over loopback, as a user starts them: the same results, one writer, and no hanging."""

import json
import re
import shutil
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import (
    WITHOUT_DROPOUT,
    change_config,
    classifier_flags,
    finish,
    names,
    pretraining_flags,
    results,
    run,
    start,
    succeed,
    tf_config,
)

from training.workers import workers_of_tf_config

PREEMPTED, WORKER_LOST = 42, 43


def wait_for(path, processes):
    while not path.exists():
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.01)


def tensors(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_checkpoint(ours, theirs):
    ours, theirs = tensors(ours), tensors(theirs)
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        # The key's bias has no gradient but rounding, see scale_of in test_invariance.
        scale = np.abs(theirs[name.replace("self/key/bias", "self/query/bias")]).max()
        np.testing.assert_allclose(ours[name], values, rtol=0, atol=1e-5 * scale, err_msg=name)


@pytest.fixture
def without_dropout(files, records):
    """The files of the scripts' tests; dropout, which depends on the number of replicas, is off."""
    change_config(files / "bert_config.json", **WITHOUT_DROPOUT)
    return files


def test_two_workers_write_what_one_process_writes(without_dropout, tmp_path):
    flags = pretraining_flags(without_dropout, do_eval="true", max_eval_steps=3)
    alone = {**flags, "output_dir": tmp_path / "alone"}
    together = {**flags, "output_dir": tmp_path / "together"}
    succeed("run_pretraining.py", **alone)
    (status, stderr), (other, _) = finish(start("run_pretraining.py", tmp_path, together, together))
    assert (status, other) == (0, 0), stderr
    assert_same_checkpoint(tmp_path / "together/model.ckpt-5", tmp_path / "alone/model.ckpt-5")
    expected = results(tmp_path / "alone")
    assert results(tmp_path / "together") == pytest.approx(expected, rel=1e-5)
    assert names(tmp_path / "together") == names(tmp_path / "alone")
    assert not names(tmp_path / "scratch1")


@pytest.mark.slow
def test_a_killed_worker_stops_the_other_and_a_restart_goes_on(without_dropout, tmp_path):
    flags = pretraining_flags(
        without_dropout, num_train_steps=200, save_checkpoints_steps=10, iterations_per_loop=5
    )
    workers = start("run_pretraining.py", tmp_path, flags, flags)
    wait_for(without_dropout / "run/model.ckpt-10.index", workers)
    workers[1].kill()
    killed = time.monotonic()
    (status, stderr), _ = finish(workers)
    assert time.monotonic() - killed < 60
    assert status == WORKER_LOST, stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("error: a worker was lost") and "start all workers again" in last
    assert "Traceback" not in stderr
    assert not (without_dropout / "run/model.ckpt-200.index").exists()

    (status, stderr), (other, _) = finish(start("run_pretraining.py", tmp_path, flags, flags))
    assert (status, other) == (0, 0), stderr
    assert "Continuing from" in stderr
    alone = {**flags, "output_dir": tmp_path / "alone"}
    succeed("run_pretraining.py", **alone)
    assert_same_checkpoint(tmp_path / "run/model.ckpt-200", tmp_path / "alone/model.ckpt-200")


def losses(directory):
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return {line["step"]: line["loss"] for line in map(json.loads, lines)}


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_workers_began(without_dropout, tmp_path):
    flags = pretraining_flags(without_dropout, save_checkpoints_steps=1, iterations_per_loop=1)
    succeed("run_pretraining.py", **{**flags, "output_dir": tmp_path / "alone"})
    for status, stderr in finish(start("run_pretraining.py", tmp_path, flags, flags)):
        assert status == 0, stderr
    for path in [tmp_path / "run/checkpoint", *(tmp_path / "run").glob("model.ckpt-[3-5].*")]:
        path.unlink()
    _, stderr = succeed("run_pretraining.py", **flags)
    assert "model.ckpt-2 at step 2" in stderr
    assert_same_checkpoint(tmp_path / "run/model.ckpt-5", tmp_path / "alone/model.ckpt-5")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), rel=1e-6)


@pytest.mark.slow
def test_workers_stop_and_save_when_one_of_them_is_asked_to(without_dropout, tmp_path):
    flags = pretraining_flags(without_dropout, num_train_steps=10**6, iterations_per_loop=5)
    workers = start("run_pretraining.py", tmp_path, flags, flags)
    wait_for(without_dropout / "run/metrics.jsonl", workers)
    workers[1].terminate()
    (status, chief), (other_status, other) = finish(workers)
    assert (status, other_status) == (PREEMPTED, PREEMPTED), chief + other
    assert "stopped by another worker; step" in chief and "stopped by SIGTERM; step" in other
    step = int(re.search(r"step (\d+) is saved", other)[1])
    assert (without_dropout / f"run/model.ckpt-{step}.index").exists()


@pytest.mark.slow
@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_worker_stops_the_other(without_dropout, tmp_path, silent):
    flags = pretraining_flags(without_dropout, num_train_steps=10**6, iterations_per_loop=5)
    workers = start("run_pretraining.py", tmp_path, flags, flags)
    wait_for(without_dropout / "run/metrics.jsonl", workers)
    workers[silent].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    ((status, stderr),) = finish([workers[1 - silent]])
    assert time.monotonic() - stopped < 60
    assert status == WORKER_LOST and "Traceback" not in stderr, stderr
    workers[silent].send_signal(signal.SIGCONT)
    ((status, stderr),) = finish([workers[silent]])
    assert status == WORKER_LOST and "Traceback" not in stderr, stderr


@pytest.mark.slow
def test_workers_with_different_flags_stop_at_once_and_name_the_flag(without_dropout, tmp_path):
    flags = pretraining_flags(without_dropout)
    other = {**flags, "learning_rate": 3e-5}
    for status, stderr in finish(start("run_pretraining.py", tmp_path, flags, other)):
        assert status == 1
        assert "--learning_rate of worker 1" in stderr.splitlines()[-1]
    assert not (without_dropout / "run").exists()


@pytest.mark.slow
def test_workers_without_a_shared_directory_are_refused(without_dropout, tmp_path):
    flags = pretraining_flags(without_dropout)
    succeed("run_pretraining.py", **flags)
    other = {**flags, "output_dir": tmp_path / "elsewhere"}
    for status, stderr in finish(start("run_pretraining.py", tmp_path, flags, other)):
        assert status == 1
        assert "the step to go on from of worker 1" in stderr.splitlines()[-1]


@pytest.mark.slow
def test_two_workers_classify_as_one_process_does_with_their_checkpoint(without_dropout, tmp_path):
    """The classifier's own dropout is always on, so that training differs with the number of replicas."""
    flags = classifier_flags(without_dropout, do_eval="true", do_predict="true")
    together, alone = tmp_path / "together", tmp_path / "alone"
    flags["output_dir"] = together
    (status, stderr), (other, _) = finish(start("run_classifier.py", tmp_path, flags, flags))
    assert (status, other) == (0, 0), stderr
    shutil.copytree(together, alone)
    for name in ("eval_results.txt", "test_results.tsv", "eval.tf_record", "predict.tf_record"):
        (alone / name).unlink()
    shutil.rmtree(alone / "eval")
    flags = {**flags, "output_dir": alone, "do_train": "false"}
    succeed("run_classifier.py", **flags)
    assert results(together) == pytest.approx(results(alone), rel=1e-6)
    ours, theirs = (np.loadtxt(folder / "test_results.tsv") for folder in (together, alone))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert names(together) == names(alone)
    assert not names(tmp_path / "scratch1")


BAD_TF_CONFIG = {
    "{": "not JSON",
    "[]": '"cluster" and "task"',
    '{"cluster": {"worker": ["a:1"]}}': '"cluster" and "task"',
    '{"cluster": {}, "task": {}}': "holds nothing",
    '{"cluster": {"ps": ["a:1"], "worker": ["b:1"]}, "task": {}}': "'ps'",
    '{"cluster": {"worker": "a:1"}, "task": {}}': "list of addresses",
    '{"cluster": {"worker": ["a:1", "b"]}, "task": {}}': "'b' is not the host:port",
    '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {}}': "'a:1' is not the host:port of one",
    '{"cluster": {"chief": ["a:1", "b:1"]}, "task": {}}': "one chief",
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}': "'index': 1",
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}': "'type': 'chief'",
}


@pytest.mark.parametrize("text", BAD_TF_CONFIG)
def test_a_wrong_tf_config_is_explained(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG") as raised:
        workers_of_tf_config()
    assert BAD_TF_CONFIG[text] in str(raised.value)


def test_extraction_is_refused_on_several_hosts(monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1"], 0))
    names = ("input_file", "vocab_file", "bert_config_file", "init_checkpoint", "output_file")
    status, _, stderr = run("extract_features.py", **{name: tmp_path / name for name in names})
    assert status == 1 and "TF_CONFIG" in stderr.splitlines()[-1]


def test_the_chief_is_one_of_the_workers(monkeypatch):
    task = {"type": "worker", "index": 1}
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert workers_of_tf_config() == 3


def test_without_tf_config_there_is_one_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert workers_of_tf_config() == 1
