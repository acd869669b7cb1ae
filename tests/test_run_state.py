"""The output directory of a run: what it continues from after anything that can happen to it."""

import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from modeling.checkpoint import read_bundle, write_bundle
from training.run_state import RunState

NAME = "bert/pooler/dense/bias"


def state_of(step):
    """Variables whose values tell the step."""
    return {
        NAME: tf.Variable(np.full(3, step, np.float32)),
        NAME + "/adam_m": tf.Variable(np.full(3, step + 0.5, np.float32)),
        NAME + "/adam_v": tf.Variable(np.full(3, step + 0.25, np.float32)),
        "global_step": tf.Variable(0, dtype=tf.int64),
    }


def save(folder, *steps, keep=5):
    run = RunState(str(folder), keep=keep)
    for step in steps:
        run.save(step, state_of(step))
    run.wait()
    return run


def restored_step(folder):
    """Restores, checks that all values are of one step, and returns it."""
    variables = state_of(-1)
    step = RunState(str(folder)).restore(variables)
    np.testing.assert_array_equal(variables[NAME], np.full(3, step))
    np.testing.assert_array_equal(variables[NAME + "/adam_m"], np.full(3, step + 0.5))
    assert variables["global_step"].numpy() == step
    return step


def flip_byte(path):
    data = bytearray(path.read_bytes())
    data[5] ^= 16
    path.write_bytes(data)


def data_file(folder, step):
    return folder / f"model.ckpt-{step}.data-00000-of-00001"


def indexed_steps(folder):
    return sorted(
        int(m[1])
        for m in map(re.compile(r"model.ckpt-(\d+)\.index").fullmatch, os.listdir(folder))
        if m
    )


def test_an_absent_or_empty_directory_has_no_checkpoint(tmp_path):
    assert RunState(str(tmp_path)).latest() is None
    assert RunState(f"{tmp_path}/absent").latest() is None
    assert not os.listdir(tmp_path)


def test_a_saved_state_is_restored(tmp_path):
    save(tmp_path, 0, 7)
    assert restored_step(tmp_path) == 7


def test_tensorflow_finds_the_newest_checkpoint_and_the_directory_can_move(tmp_path):
    save(tmp_path / "one", 3, 7)
    (tmp_path / "one").rename(tmp_path / "two")
    assert tf.train.latest_checkpoint(tmp_path / "two") == f"{tmp_path}/two/model.ckpt-7"
    assert restored_step(tmp_path / "two") == 7


def test_only_the_last_checkpoints_are_kept_with_all_their_files(tmp_path):
    save(tmp_path, 2)
    (tmp_path / "model.ckpt-2.meta").write_text("graph")
    (tmp_path / "bert_model.ckpt.index").write_text("not of this run")
    save(tmp_path, 3, 5, 7, keep=2)
    assert indexed_steps(tmp_path) == [5, 7]
    assert not [
        name for name in os.listdir(tmp_path) if name.startswith(("model.ckpt-2", "model.ckpt-3"))
    ]
    assert (tmp_path / "bert_model.ckpt.index").exists()
    state = tf.train.get_checkpoint_state(tmp_path)
    assert [os.path.basename(p) for p in state.all_model_checkpoint_paths] == [
        "model.ckpt-5",
        "model.ckpt-7",
    ]


def test_the_state_file_has_relative_names(tmp_path):
    save(tmp_path, 3)
    assert (tmp_path / "checkpoint").read_text().splitlines()[
        0
    ] == 'model_checkpoint_path: "model.ckpt-3"'


def test_the_same_step_saved_twice_is_written_once(tmp_path):
    save(tmp_path, 3)
    before = data_file(tmp_path, 3).stat().st_mtime_ns
    again = RunState(str(tmp_path))
    again.save(3, state_of(99))
    again.wait()
    assert data_file(tmp_path, 3).stat().st_mtime_ns == before
    assert restored_step(tmp_path) == 3


def test_a_step_left_behind_by_going_back_is_written_anew(tmp_path):
    save(tmp_path, 3, 7)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-3"\n')
    run = RunState(str(tmp_path))
    assert run.restore(state_of(-1)) == 3
    run.save(7, state_of(8))
    run.wait()
    np.testing.assert_array_equal(read_bundle(f"{tmp_path}/model.ckpt-7")[NAME], [8, 8, 8])


def test_going_back_never_deletes_what_is_saved_since(tmp_path):
    save(tmp_path, 3, 11, 13)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-3"\n')
    save(tmp_path, 5, 7, keep=2)
    assert indexed_steps(tmp_path) == [5, 7, 11, 13]
    assert restored_step(tmp_path) == 7


@pytest.mark.parametrize("damage", ["flipped", "short", "absent"])
def test_a_damaged_newest_checkpoint_is_passed_over_with_the_reason(tmp_path, damage, caplog):
    save(tmp_path, 3, 5, 7)
    if damage == "flipped":
        flip_byte(data_file(tmp_path, 7))
    elif damage == "short":
        data_file(tmp_path, 7).write_bytes(data_file(tmp_path, 7).read_bytes()[:4])
    else:
        data_file(tmp_path, 7).unlink()
    assert restored_step(tmp_path) == 5
    assert "model.ckpt-7 is passed over: " in caplog.text


def test_training_on_from_before_a_damaged_checkpoint_replaces_it(tmp_path):
    save(tmp_path, 3, 7)
    flip_byte(data_file(tmp_path, 7))
    run = RunState(str(tmp_path))
    assert run.restore(state_of(-1)) == 3
    run.save(7, state_of(7))
    run.wait()
    assert restored_step(tmp_path) == 7


def test_checkpoints_of_which_none_is_whole_are_never_taken_for_a_new_run(tmp_path):
    save(tmp_path, 3, 7)
    flip_byte(data_file(tmp_path, 3))
    flip_byte(data_file(tmp_path, 7))
    with pytest.raises(ValueError, match="--output_dir=.*2 checkpoints and none is whole"):
        RunState(str(tmp_path)).latest()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe\x00", b'model_checkpoint_path: "'])
def test_an_unreadable_state_file_does_not_matter(tmp_path, content):
    save(tmp_path, 3, 7)
    (tmp_path / "checkpoint").write_bytes(content)
    assert restored_step(tmp_path) == 7


@pytest.mark.parametrize("folder", ["/home/someone/run", "../elsewhere", "."])
def test_a_state_file_of_the_original_is_read_by_the_last_part_of_its_paths(tmp_path, folder):
    save(tmp_path, 3, 7)
    (tmp_path / "checkpoint").write_text(
        f'model_checkpoint_path: "{folder}/model.ckpt-3"\nall_model_checkpoint_paths: "{folder}/model.ckpt-7"\n'
    )
    assert restored_step(tmp_path) == 3


def test_a_hostile_state_file_neither_reads_nor_deletes_outside_the_directory(tmp_path, caplog):
    run = tmp_path / "run"
    save(run, 3)
    for name in ("victim", "model.ckpt-2"):
        write_bundle(f"{tmp_path}/{name}", {NAME: np.ones(3)})
    victims = {name for name in os.listdir(tmp_path)}
    (run / "checkpoint").write_text(
        'model_checkpoint_path: "../victim"\nall_model_checkpoint_paths: "../victim"\n'
        'all_model_checkpoint_paths: "../model.ckpt-2"\n'
    )
    assert restored_step(run) == 3
    assert "names 'victim', which is no model.ckpt-<step>" in caplog.text
    save(run, 5, 7, 11, keep=1)
    assert set(os.listdir(tmp_path)) == victims
    assert indexed_steps(run) == [11]


def test_another_architecture_is_refused_with_both_shapes(tmp_path):
    save(tmp_path, 3)
    variables = {NAME: tf.Variable(np.zeros(5, np.float32))}
    with pytest.raises(
        ValueError,
        match=rf"another architecture: {NAME} is \[3\] there and \[5\] here.*--output_dir",
    ):
        RunState(str(tmp_path)).restore(variables)


def test_a_deeper_or_shallower_model_is_another_architecture(tmp_path):
    save(tmp_path, 3)
    other = tf.Variable(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="output_bias is not there"):
        RunState(str(tmp_path)).restore(state_of(0) | {"output_bias": other})
    with pytest.raises(ValueError, match=f"{NAME}.* is there and not here"):
        RunState(str(tmp_path)).restore({"output_bias": other})


def test_evaluation_restores_parameters_alone(tmp_path):
    save(tmp_path, 3)
    variables = {NAME: tf.Variable(np.zeros(3, np.float32))}
    assert RunState(str(tmp_path)).restore(variables) == 3
    np.testing.assert_array_equal(variables[NAME], [3, 3, 3])


def test_a_checkpoint_without_slots_restores_and_says_so(tmp_path, caplog):
    write_bundle(f"{tmp_path}/model.ckpt-13", {NAME: np.full(3, 13, np.float32)})
    variables = state_of(0)
    assert RunState(str(tmp_path)).restore(variables) == 13
    assert variables["global_step"].numpy() == 13
    np.testing.assert_array_equal(variables[NAME + "/adam_m"], [0.5, 0.5, 0.5])
    assert "no optimizer state" in caplog.text


def test_some_slots_missing_is_an_error(tmp_path):
    tensors = {NAME: np.ones(3, np.float32), NAME + "/adam_m": np.ones(3, np.float32)}
    write_bundle(f"{tmp_path}/model.ckpt-13", tensors)
    with pytest.raises(ValueError, match="adam_v is not there"):
        RunState(str(tmp_path)).restore(state_of(0))


def test_the_recorded_run_of_the_original_continues_at_its_step(tmp_path, shared):
    for suffix in (".index", ".data-00000-of-00001"):
        recorded = shared / f"golden/tiny/pretrained.ckpt-30{suffix}"
        (tmp_path / f"model.ckpt-30{suffix}").write_bytes(recorded.read_bytes())
    tensors = read_bundle(f"{tmp_path}/model.ckpt-30")
    variables = {name: tf.Variable(tf.zeros_like(value)) for name, value in tensors.items()}
    assert RunState(str(tmp_path)).restore(variables) == 30
    for name, value in tensors.items():
        np.testing.assert_array_equal(variables[name], value)


def test_litter_of_killed_saves_goes_and_nothing_else(tmp_path):
    litter = [
        "model.ckpt-5.index.tempstate123",
        "model.ckpt-5.data-00000-of-00001.tempstate9",
        "checkpoint.tmp-77",
    ]
    others = ["notes.tempstate1", "checkpoint.txt", "model.ckpt-old.index", "eval_results.txt"]
    for name in litter + others:
        (tmp_path / name).write_text("x")
    RunState(str(tmp_path)).claim()
    assert sorted(os.listdir(tmp_path)) == sorted([".lock", *others])


def test_a_directory_in_use_by_another_process_is_refused(tmp_path):
    code = f"""
        import fcntl, time
        file = open({str(tmp_path / ".lock")!r}, "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        print("process 17 on elsewhere", file=file, flush=True)
        print("held", flush=True)
        time.sleep(60)
    """
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(OSError, match="is in use by process 17 on elsewhere"):
        RunState(str(tmp_path)).claim()
    holder.kill()
    holder.wait()
    RunState(str(tmp_path)).claim()


def test_an_output_dir_that_is_a_file_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    for use in (RunState.claim, RunState.make_own_dir):
        with pytest.raises(OSError, match="--output_dir=.*is not a directory"):
            use(RunState(f"{tmp_path}/file"))


def test_an_empty_name_of_a_directory_is_refused():
    with pytest.raises(ValueError, match="--output_dir is empty"):
        RunState("")


def test_an_output_dir_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match=f"--output_dir={tmp_path} cannot be written to: Is a dir"):
        RunState(str(tmp_path)).claim()
