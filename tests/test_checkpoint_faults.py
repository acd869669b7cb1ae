"""What becomes of checkpoints when a process is killed, a disk is full, or a byte is wrong."""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from test_run_state import NAME, data_file, indexed_steps, restored_step, save

from modeling.bundle import read_bundle, verify_bundle
from training.retention import read_best
from training.run_state import RunState

# Its writing takes longer than the call of `save`.
LARGE = 1 << 22


def run_python(code, *arguments):
    """Runs code; returns (status, stdout, stderr)."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def litter(folder):
    """Files that are no part of a checkpoint, nor beside one."""
    known = r"model\.ckpt-\d+\.(index|data-00000-of-00001)|checkpoint|best_checkpoint\.json|\.lock"
    return [name for name in os.listdir(folder) if not re.fullmatch(known, name)]


def test_what_is_assigned_after_save_is_not_in_the_checkpoint(tmp_path):
    variable, array = tf.Variable(np.full(11, 7, np.float32)), np.full(11, 7, np.float32)
    change = tf.function(lambda: variable.assign_add(tf.ones(11)))
    change()
    run = RunState(str(tmp_path))
    changed = threading.Event()
    run._writer._thread.submit(changed.wait)
    run.save(7, {"variable": variable, "array": array})
    change()
    array += 1
    changed.set()
    run.wait()
    saved = read_bundle(f"{tmp_path}/model.ckpt-7")
    assert (saved["variable"] == 8).all() and (saved["array"] == 7).all()


def test_save_returns_before_the_checkpoint_is_there_and_latest_after(tmp_path):
    run = RunState(str(tmp_path))
    run.save(7, {NAME: np.ones(LARGE, np.float32)})
    assert not indexed_steps(tmp_path)
    assert run.latest() == f"{tmp_path}/model.ckpt-7"
    assert verify_bundle(run.latest()) is None
    assert (tmp_path / "checkpoint").exists()


def test_a_second_save_waits_for_the_first_and_says_so(tmp_path, caplog):
    run = RunState(str(tmp_path))
    run.save(7, {NAME: np.ones(LARGE, np.float32)})
    with caplog.at_level("INFO", logger="absl"):
        run.save(11, {NAME: np.ones(3, np.float32)})
    assert 7 in indexed_steps(tmp_path)
    assert "Step 11 waits: the checkpoint before is still being written" in caplog.text


def ask_until_done(run):
    for _ in range(1000):
        run.raise_failure()
        time.sleep(0.01)


def leave(run):
    with run:
        pass


@pytest.mark.parametrize(
    "notice",
    [lambda run: run.save(11, {}), RunState.wait, RunState.latest, leave, ask_until_done],
    ids=["save", "wait", "latest", "leave", "ask"],
)
def test_a_checkpoint_that_cannot_be_written_is_an_error_of_the_next_call(tmp_path, notice, caplog):
    folder = tmp_path / "run"
    run = RunState(str(folder))
    run.claim()
    shutil.rmtree(folder)
    folder.write_text("in the way")
    run.save(7, {NAME: np.ones(3, np.float32)})
    with pytest.raises(OSError, match=r"run/model\.ckpt-7: cannot write the checkpoint"):
        notice(run)
    assert "cannot write the checkpoint" in caplog.text


def test_after_a_failed_write_the_run_still_stands_at_the_checkpoint_before(tmp_path):
    folder = tmp_path / "run"
    run = save(folder, 3)
    folder.rename(tmp_path / "away")
    folder.write_text("in the way")
    run.save(7, {NAME: np.ones(3, np.float32)})
    with pytest.raises(OSError, match=r"model\.ckpt-7"):
        run.wait()
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert run.latest() == f"{folder}/model.ckpt-3"


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise KeyError"])
def test_a_process_that_ends_without_waiting_finishes_its_checkpoint(tmp_path, end):
    code = f"""
        import sys
        import numpy as np
        from training.run_state import RunState
        RunState(sys.argv[1]).save(7, {{{NAME!r}: np.ones({LARGE}, np.float32)}})
        {end}
    """
    run_python(code, tmp_path)
    assert verify_bundle(f"{tmp_path}/model.ckpt-7") is None
    assert (tmp_path / "checkpoint").read_text().startswith('model_checkpoint_path: "model.ckpt-7"')


SAVE_WITH_A_FULL_DISK = f"""
    import resource, sys
    import numpy as np
    from training import app
    from training.run_state import RunState

    folder, limit, size = sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1))

    def main():
        with RunState(folder) as run:
            run.claim()
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
            run.save(7, {{{NAME!r}: np.ones(size, np.float32)}})
            print("training goes on")

    app.run(main)
"""


@pytest.mark.parametrize(
    ("limit", "size", "file"),
    [(1 << 23, LARGE, "model.ckpt-7"), (99, 11, "model.ckpt-7"), (199, 11, "checkpoint")],
    ids=["data", "index", "checkpoint file"],
)
def test_a_full_disk_leaves_the_earlier_checkpoints(tmp_path, limit, size, file):
    before = [0, 1, 2, 3, 5]  # as many as stay: a sixth is written first, then one deleted
    save(tmp_path, *before)
    named = (tmp_path / "checkpoint").read_text()
    status, stdout, stderr = run_python(SAVE_WITH_A_FULL_DISK, tmp_path, limit, size)
    assert (status, stdout) == (1, "training goes on\n")
    assert stderr.splitlines()[-1].startswith(f"error: {tmp_path}/{file}: ")
    assert "Traceback" not in stderr
    assert (tmp_path / "checkpoint").read_text() == named
    assert indexed_steps(tmp_path) == before + [7] * (file == "checkpoint")
    assert data_file(tmp_path, 7).exists() == (file == "checkpoint")
    assert not litter(tmp_path)
    assert restored_step(tmp_path) == 5


def test_a_disk_too_full_for_the_lock_is_named(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match=f"--output_dir={tmp_path} cannot be written to: File"):
            RunState(str(tmp_path)).claim()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_turns_out_full_when_syncing_leaves_the_earlier_checkpoints(
    tmp_path, monkeypatch
):
    """As some network disks do; there is none here, so that the call is made to fail."""
    save(tmp_path, 0, 3)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        OSError, match=r"model\.ckpt-7: cannot write the checkpoint: .*No space left"
    ):
        save(tmp_path, 7)
    assert indexed_steps(tmp_path) == [0, 3] and not data_file(tmp_path, 7).exists()
    assert restored_step(tmp_path) == 3


def spoiled(path, how):
    """Writes the file of `path` with each byte flipped, or cut at each length; yields after each."""
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytes([whole[place] ^ 1 << place % 8])
        rest = flipped + whole[place + 1 :] if how == "flipped" else b""
        path.write_bytes(whole[:place] + rest)
        yield place


@pytest.mark.parametrize("how", ["flipped", "cut"])
@pytest.mark.parametrize("kind", ["index", "data-00000-of-00001"])
def test_one_wrong_byte_anywhere_is_seen_or_makes_no_difference(tmp_path, kind, how, caplog):
    save(tmp_path, 3, 7)
    path = tmp_path / f"model.ckpt-7.{kind}"
    steps = []
    for place in spoiled(path, how):
        caplog.clear()
        steps.append(restored_step(tmp_path))
        said = f"model.ckpt-7 is passed over: {tmp_path}/model.ckpt-7: " in caplog.text
        assert said == (steps[-1] == 3), place
    # Of an index, TensorFlow reads neither padding nor the empty block that lists other blocks.
    harmless = steps.count(7)
    assert harmless <= len(steps) / 3 if (how, kind) == ("flipped", "index") else not harmless


@pytest.mark.parametrize("how", ["flipped", "cut"])
def test_a_wrong_checkpoint_file_still_leads_to_a_whole_checkpoint(tmp_path, how):
    save(tmp_path, 3, 7)
    steps = [restored_step(tmp_path) for _ in spoiled(tmp_path / "checkpoint", how)]
    assert steps.count(7) > 0.9 * len(steps)


# One process imports TensorFlow and forks: each child looks at what the last one left behind, says at which step it
# goes on and then each step that it has begun to write, until it is killed. A kill counts if the write was under way.
SAVE_UNTIL_KILLED = """
    import os, random, signal, sys, time
    import numpy as np
    from modeling.bundle import read_state_file, verify_bundle
    from training.retention import read_best
    from training.run_state import RunState

    folder, wanted = sys.argv[1], int(sys.argv[2])
    random.seed(17)

    def whole(step):
        assert verify_bundle(f"{folder}/model.ckpt-{step}") is None, f"{step} is not whole"

    def score(step):
        return abs(step % 13 - 5.0)

    def look_back(run):
        import tensorflow as tf
        for name in read_state_file(folder)[:1]:
            whole(name.rpartition("-")[2])
        run.claim()
        strange = [name for name in os.listdir(folder) if "temp" in name or "tmp" in name]
        assert not strange, strange
        best = read_best(folder)
        if best:
            whole(best.step)
            assert best.value == score(best.step), best
        variables = {name: tf.Variable(tf.zeros(1 << 18)) for name in ("a", "a/adam_m")}
        step = run.restore(variables) if run.latest() else 0
        assert all((v.numpy() == step).all() for v in variables.values())
        return step

    def save_on(say):
        run = RunState(folder, keep=2, best_metric="loss")
        step = look_back(run)
        say(step)
        while True:
            step += 1
            value = np.full(1 << 18, step, np.float32)
            run.save(step, {"a": value, "a/adam_m": value}, {"loss": score(step)})
            say(step)

    kills = hits = written = acknowledged = 0
    while hits < wanted:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            save_on(lambda step: os.write(writer, b"%d\\n" % step))
        os.close(writer)
        lines = os.fdopen(reader)
        start = int(lines.readline())
        assert start >= acknowledged, f"went on at {start} when {acknowledged} was written"
        for _ in range(random.randint(1, 3)):
            before = time.monotonic()
            begun = int(lines.readline())
        # The last line came when the write before was done, so that this is about the time of one.
        time.sleep(random.uniform(0.0, 1.0) * (time.monotonic() - before))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        begun = [begun, *map(int, lines)][-1]
        acknowledged = begun - 1
        kills, written = kills + 1, written + acknowledged - start
        hits += read_state_file(folder)[:1] != [f"model.ckpt-{begun}"]
    print(kills, hits, written, acknowledged)
"""


@pytest.mark.parametrize("kills", [7, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_moments_of_a_write_never_lose_the_run(tmp_path, kills):
    status, stdout, stderr = run_python(SAVE_UNTIL_KILLED, tmp_path, kills)
    assert status == 0, stderr
    print(f"kills, during a write, other writes, last step: {stdout}")
    run = RunState(str(tmp_path), keep=2, best_metric="loss")
    latest = int(run.latest().rpartition("-")[2])
    assert latest >= int(stdout.split()[-1])
    run.save(latest + 2, {"a": np.zeros(3), "a/adam_m": np.zeros(3)})
    run.wait()
    kept = {read_best(str(tmp_path)).step, *indexed_steps(tmp_path)[-2:]}
    assert not litter(tmp_path) and indexed_steps(tmp_path) == sorted(kept)
    assert len(list(tmp_path.glob("model.ckpt-*.data-*"))) == len(kept)
