"""A dry run: every problem is found, several are told together, nothing is written, and its figures are right."""

import json
import os
import shutil

import pytest
from tiny_runs import (
    change_config,
    classifier_flags,
    pretraining_flags,
    run,
    succeed,
)

from modeling.config import BertConfig
from modeling.flops import Flops
from training.dry_run import Training, memory_lines, work_lines
from training.memory_plan import Workload
from training.preflight import (
    MISSING,
    Preflight,
    check_disk,
    device_memory,
    most_checkpoints,
    precision_note,
)
from training.run_state import RunState

BERT_BASE = BertConfig(vocab_size=30522, type_vocab_size=2)


def fail(message, error=ValueError):
    raise error(message)


def test_problems_are_collected_in_order_and_told_at_once():
    check = Preflight()
    assert check(fail, "one") is MISSING
    assert check(max, 3, 5) == 5
    assert check(fail, "two", error=OSError) is MISSING
    with pytest.raises(ValueError, match="2 problems found by --dry_run:\n  one\n  two$"):
        check.finish()


def test_what_rests_on_a_failed_check_is_left_out():
    check, called = Preflight(), []
    missing = check(fail, "one")
    assert check(called.append, missing) is MISSING
    assert check(dict, a=missing) is MISSING
    assert (called, check.problems) == ([], ["one"])


def test_a_defect_of_ours_is_no_problem_of_the_user():
    with pytest.raises(ZeroDivisionError):
        Preflight()(divmod, 1, 0)


def test_without_problems_nothing_is_raised():
    check = Preflight()
    assert check(int, "3") == 3
    check.finish()
    assert check.problems == []


def test_the_disk_needs_room_for_all_checkpoints(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_disk(str(tmp_path / "new/run"), free // 8, 5)
    with pytest.raises(OSError, match="7 checkpoints"):
        check_disk(str(tmp_path / "new/run"), free // 5, 7)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("runs", "saves", "expected"),
    [
        ([5], 1000, 2),
        ([11], 5, 4),
        ([15], 5, 4),
        ([20], 5, 5),
        ([30], 5, 7),
        ([10**6], 5, 8),
        ([11, 15, 5], 5, 10),
        ([10**6, 11, 10**6], 5, 19),
    ],
)
def test_runs_need_room_for_the_checkpoints_that_they_make(runs, saves, expected):
    assert most_checkpoints(runs, saves, keep=7) == expected


def test_the_output_directory_must_not_be_a_file(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(OSError, match="is a file"):
        check_disk(str(tmp_path / "run/more"), 0, 1)


def test_the_output_directory_must_not_be_a_link_to_nothing(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="link to nothing"):
        check_disk(str(tmp_path / "run"), 0, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_output_directory_must_be_writable(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="permission"):
        check_disk(str(tmp_path / "run"), 0, 1)


def test_the_memory_of_the_cpu_is_that_of_the_machine():
    with open("/proc/meminfo") as file:
        total = next(line for line in file if line.startswith("MemTotal"))
    assert device_memory("CPU") == int(total.split()[1]) * 1024


def test_precisions_that_a_device_emulates_are_noted():
    assert "float16" in precision_note("CPU", "float16")
    assert precision_note("CPU", "bfloat16") is None
    assert precision_note("TPU", "bfloat16") is None


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fields(stdout):
    """Returns the lines of a dry run by their first word."""
    return dict(line.split(maxsplit=1) for line in stdout.splitlines())


def test_a_dry_run_writes_nothing_and_counts_right(files):
    change_config(files / "bert_config.json", num_hidden_layers=2)
    before = contents(files)
    stdout, _ = succeed(
        "run_classifier.py",
        **classifier_flags(files, num_train_epochs=3.0, dry_run="true", device_memory_gb=1),
    )
    assert contents(files) == before and not (files / "run").exists()
    told = fields(stdout)
    config = json.loads((files / "bert_config.json").read_text())
    vocab, hidden, inner = (
        config[name] for name in ("vocab_size", "hidden_size", "intermediate_size")
    )
    block = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    embeddings = (vocab + 2 + 29) * hidden + 2 * hidden
    parameters = embeddings + 2 * block + hidden * hidden + hidden + 2 * hidden + 2
    assert told["Parameters"] == f"{parameters:,}, of which {parameters:,} trained"
    steps = 37 * 3 // 8
    assert told["Steps"] == f"{steps} of 8 sequences, {steps // 10} of warm-up"
    assert told["Tokens"].startswith(f"{steps * 8 * 23:,},")
    assert told["Device"].startswith("1.0 GiB")


def test_several_problems_of_a_classifier_are_listed_together(files):
    (files / "dev.tsv").write_text("one column\n")
    (files / "vocab.txt").open("a").write("one\ntwo\n")
    status, stdout, stderr = run(
        "run_classifier.py",
        **classifier_flags(
            files,
            dry_run="true",
            do_eval="true",
            max_seq_length=31,
            train_batch_size=7,
            gradient_accumulation_steps=2,
            init_checkpoint="nowhere/bert_model.ckpt",
            output_dir=files / "vocab.txt",
        ),
    )
    problems = stderr.split("error: ")[1].splitlines()
    assert (status, stdout) == (1, "") and problems[0] == "6 problems found by --dry_run:"
    for problem, word in zip(
        problems[1:],
        (
            "--train_batch_size=7",
            "--max_seq_length=31",
            "dev.tsv",
            "vocab_size",
            "nowhere",
            "a file",
        ),
        strict=True,
    ):
        assert word in problem
    assert "Traceback" not in stderr


@pytest.mark.usefixtures("records")
def test_records_and_the_checkpoint_of_the_run_are_compared_with_the_flags(files):
    succeed("run_pretraining.py", **pretraining_flags(files, num_train_steps=1))
    change_config(files / "bert_config.json", intermediate_size=19)
    before = contents(files)
    status, _, stderr = run(
        "run_pretraining.py",
        **pretraining_flags(files, dry_run="true", max_predictions_per_seq=5),
    )
    assert status == 1
    assert "max_predictions_per_seq" in stderr and "intermediate" in stderr
    assert contents(files) == before


def test_a_directory_in_use_is_a_problem_for_training(files):
    flags = classifier_flags(files, dry_run="true")
    state = RunState(str(files / "run"))
    state.claim()
    before = contents(files)
    stderr = run("run_classifier.py", **flags)[2]
    assert "1 problem found" in stderr
    assert f"{state.output_dir} is in use by process {os.getpid()} on" in stderr
    assert contents(files) == before


def planned(**changes):
    """Returns the lines about memory for BERT-base, 96 sequences of 512 on 2 devices."""
    work = Workload(BERT_BASE, 110_000_000, 110_000_000, 512, 2, "bfloat16", compiled=True)
    training = Training(512, 0, 2, Flops(0, 1, 0), 96, 1, 10, 1)
    settings = dict(replicas=2, rematerialize=False, limit=16 * 2**30) | changes
    return fields("\n".join(memory_lines(work, training, **settings)))


def test_of_packed_records_rows_are_told():
    training = Training(512, 960, 2, Flops(0, 1, 0), 96, 1, 10, 1, unit="row")
    told = fields("\n".join(work_lines(training, rematerialize=False)))
    assert told["Steps"] == "10 of 96 rows, 1 of warm-up"
    assert told["Rows"] == "960 = 1.00 epochs of 960"
    assert told["Tokens"] == "491,520, 512 in a row, padding included"


def test_the_plan_is_for_the_part_of_one_device():
    one, two = (planned(replicas=replicas)["Memory"] for replicas in (1, 2))
    assert float(one.split()[0]) > 1.5 * float(two.split()[0])


def test_the_flags_to_choose_are_told():
    assert "does not fit" in planned()["Device"]
    assert planned()["Choose"].startswith("--gradient_accumulation_steps=2 --rematerialize=false")
    assert "fits" in planned(limit=2**40)["Device"]


def test_where_nothing_fits_it_is_said():
    assert "a smaller model" in planned(limit=2**30)["Choose"]


def test_without_a_known_memory_nothing_is_recommended():
    assert "--device_memory_gb" in planned(limit=None)["Device"]
    assert "Choose" not in planned(limit=None)
