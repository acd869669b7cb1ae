"""Several trainings in one call: with several seeds, over a grid."""

import json
import math
import shutil
import statistics

import pytest
from tiny_runs import (
    classifier_flags,
    finish,
    names,
    refusal,
    results,
    run,
    start,
    succeed,
)

from finetuning.sweeps import (
    PRESETS,
    PlannedRun,
    best_group,
    finished_runs,
    group_runs,
    plan_runs,
    run_all,
    summary,
    write_sweep,
)
from training.results import Run

GRID = {"learning_rate": [3e-5, 2e-5], "train_batch_size": [16]}
VALUES = [0.5, 0.75, 0.625, 0.25, 1.0, 0.375]


def made(values=VALUES, name="eval_accuracy"):
    """Returns a plan of two settings and three seeds, and its results."""
    plan = plan_runs(GRID, [7, 8, 9])
    found = [{name: value, "eval_loss": 1 - value, "global_step": 5} for value in values]
    return plan, {run.folder: r for run, r in zip(plan, found, strict=True)}


def test_every_seed_meets_every_setting_in_a_folder_of_its_own():
    plan, _ = made()
    assert [run.folder for run in plan] == [
        f"lr{rate}-batch16-seed{seed}" for rate in ("3e-05", "2e-05") for seed in (7, 8, 9)
    ]
    assert plan[3] == PlannedRun({"learning_rate": 2e-5, "train_batch_size": 16}, 7)
    assert [run.folder for run in plan_runs({}, [3, 4])] == ["seed3", "seed4"]


def test_the_presets_are_those_that_the_authors_published():
    counts = {name: [len(axis) for axis in axes] for name, axes in PRESETS.items()}
    assert counts == {"paper": [3, 2, 3], "small_models": [4, 5, 1]}


def test_settings_are_compared_by_their_median():
    groups = group_runs(*made())
    for group, values in zip(groups, (VALUES[:3], VALUES[3:]), strict=True):
        assert group.num_runs == 3
        name = "eval_accuracy"
        found = [scalars[name] for scalars in group[2:]]
        assert found == [
            sorted(values)[1],
            min(values),
            max(values),
            pytest.approx(math.sqrt(sum((v - statistics.mean(values)) ** 2 for v in values) / 2)),
        ]
        assert "global_step" not in group.median
    # The second setting has the best run, the first the better median.
    assert best_group(groups, "eval_accuracy").setting["learning_rate"] == 3e-5


def test_a_setting_without_a_number_is_never_the_best():
    values = [math.nan, 0.5, 0.75, -0.25, -0.5, -0.375]
    groups = group_runs(*made(values, "eval_pearson"))
    assert math.isnan(groups[0].median["eval_pearson"])
    assert best_group(groups, "eval_pearson").setting["learning_rate"] == 2e-5


def test_the_table_is_aligned_and_names_the_best():
    lines = summary(group_runs(*made()), "eval_accuracy").splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[1].split() == [
        "3e-05",
        "16",
        "3",
        "0.6250",
        "0.5000",
        "0.7500",
        "0.1250",
        "0.3750",
    ]
    assert lines[-1] == "best: --learning_rate=3e-05 --train_batch_size=16 (eval_accuracy 0.6250)"


def test_what_is_finished_is_not_made_again(tmp_path):
    plan, expected = made([*VALUES[:-1], math.nan])
    made_now = []
    called = Run(["python", "script.py"], {"seed": 7, "data_dir": "here"}, frozenset())

    def make(run):
        if run.seed == 9 and len(made_now) == 2:
            raise KeyboardInterrupt
        made_now.append(run.folder)
        return expected[run.folder]

    def finish(done):
        write_sweep(str(tmp_path), "mrpc", "eval_accuracy", plan, done, called, {})

    with pytest.raises(KeyboardInterrupt):
        run_all(plan, finished_runs(str(tmp_path), called.flags, {}), make, finish)
    finished = finished_runs(str(tmp_path), {**called.flags, "seed": 8}, {})
    assert list(finished) == [run.folder for run in plan[:2]]
    made_now.append("the loop goes on")
    done = run_all(plan, finished, make, finish)
    assert made_now[3:] == [run.folder for run in plan[2:]]
    again = finished_runs(str(tmp_path), called.flags, {})
    assert repr(again) == repr(expected)  # NaN is no NaN
    assert list(done) == list(expected)


def test_runs_of_other_flags_and_of_one_training_are_not_mixed_in(tmp_path):
    plan, done = made()
    called = Run(["python", "script.py"], {"data_dir": "here"}, frozenset())
    write_sweep(str(tmp_path), "mrpc", "eval_accuracy", plan, done, called, {})
    with pytest.raises(ValueError, match="runs with --data_dir=here, here it is there: choose"):
        finished_runs(str(tmp_path), {"data_dir": "there"}, {})
    (tmp_path / "results.json").write_text('{"task": "mrpc", "metrics": {}}')
    with pytest.raises(ValueError, match="holds no results of several runs"):
        finished_runs(str(tmp_path), called.flags, {})


@pytest.mark.parametrize("now", [{"a": "1", "b": "3"}, {"a": "1"}, {"a": "1", "b": "2", "c": "5"}])
def test_runs_of_other_files_are_not_mixed_in(tmp_path, now):
    plan, done = made()
    called, before = Run(["python", "script.py"], {}, frozenset()), {"a": "1", "b": "2"}
    write_sweep(str(tmp_path), "mrpc", "eval_accuracy", plan, done, called, before)
    assert finished_runs(str(tmp_path), {}, before)
    changed = "c" if "c" in now else "b"
    with pytest.raises(ValueError, match=f"holds runs with another content of {changed}: choose"):
        finished_runs(str(tmp_path), {}, now)


@pytest.mark.slow
def test_each_run_is_what_it_is_alone(files):
    flags = classifier_flags(files, do_eval="true", do_predict="true", train_batch_size=None)
    several = {**flags, "num_seeds": 2, "seed": 3, "grid_train_batch_size": 8}
    succeed("run_classifier.py", **several)
    folders = ["batch8-seed3", "batch8-seed4"]
    assert sorted(path.name for path in (files / "run").glob("*/")) == folders
    alone = {**flags, "output_dir": files / "alone", "seed": 4, "train_batch_size": 8}
    succeed("run_classifier.py", **alone)
    for name in ("eval_results.txt", "test_results.tsv"):
        assert (files / "run/batch8-seed4" / name).read_bytes() == (
            files / "alone" / name
        ).read_bytes()
    found = json.loads((files / "run/results.json").read_text())
    losses = [results(files / "run" / folder)["eval_loss"] for folder in folders]
    assert found["settings"][0]["median"]["eval_loss"] == pytest.approx(statistics.mean(losses))


@pytest.mark.slow
def test_the_same_command_makes_nothing_again(files):
    flags = classifier_flags(files, do_eval="true", train_batch_size=None)
    several = {**flags, "num_seeds": 2, "grid_train_batch_size": 8}
    stdout, _ = succeed("run_classifier.py", **several)
    before = (files / "run/results.json").read_text()
    again, stderr = succeed("run_classifier.py", **several)
    assert stderr.count("finished before") == 2 and "step" not in stderr
    assert stdout.endswith(again) and again.startswith("train_batch_size  runs  eval_accuracy")
    assert (files / "run/results.json").read_text() == before
    (files / "dev.tsv").open("a").write("1\t1\t2\tthe boat\ta house\n")
    assert f"another content of {files / 'dev.tsv'}" in refusal("run_classifier.py", **several)


@pytest.mark.slow
def test_two_workers_make_each_run_and_the_chief_writes(files):
    flags = classifier_flags(files, do_eval="true", num_seeds=2)
    # Not the folder of the chief, as it should be, so that what this one writes would show.
    apart = {**flags, "output_dir": files / "apart"}
    (status, stderr), (other, _) = finish(start("run_classifier.py", files, flags, apart))
    assert (status, other) == (0, 0), stderr
    assert not apart["output_dir"].exists() and not names(files / "scratch1")
    listed = json.loads((files / "run/results.json").read_text())["runs"]
    assert [run["folder"] for run in listed] == ["seed12345", "seed12346"]
    for each in listed:
        assert each["results"].items() >= results(files / "run" / each["folder"]).items()
    assert len({run["results"]["eval_loss"] for run in listed}) == 2


BAD_FLAGS = {
    "no evaluation": (dict(do_eval="false"), "a grid needs --do_train and --do_eval"),
    "twice": (dict(train_batch_size=8), "--train_batch_size is an axis of the grid"),
    "no number": (dict(grid_learning_rate="1e-3,x"), "--grid_learning_rate=1e-3,x: give numbers"),
    "the same": (
        dict(grid_num_train_epochs="2,2.0"),
        "--grid_num_train_epochs=2,2.0: give numbers",
    ),
    "no step": (dict(grid_train_batch_size="8,4096"), "--train_batch_size=4096 makes no step"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_grids_are_one_line_before_any_work(files, case):
    flags = classifier_flags(files, do_eval="true", num_train_epochs=None, train_batch_size=None)
    changes, expected = BAD_FLAGS[case]
    assert expected in refusal("run_classifier.py", **{**flags, "grid": "paper", **changes})
    assert not (files / "run").exists()


def test_a_directory_that_cannot_be_made_is_one_line(files):
    flags = classifier_flags(files, do_eval="true", num_seeds=2, output_dir=files / "vocab.txt/run")
    assert f"--output_dir={flags['output_dir']}: " in refusal("run_classifier.py", **flags)


def test_a_dry_run_wants_room_for_all_runs(files):
    keep = shutil.disk_usage(files).free // 10**6  # of some 30 kB: one run has room
    flags = dict(num_train_epochs=1e9, save_checkpoints_steps=1, keep_checkpoint_max=keep)
    flags = classifier_flags(files, do_eval="true", dry_run="true", num_seeds=97, **flags)
    status, _, stderr = run("run_classifier.py", **flags)
    assert status == 1 and "1 problem found" in stderr
    assert f"but {97 * keep + 1} checkpoints of" in stderr


@pytest.mark.slow
def test_a_dry_run_plans_every_setting_and_lists_the_runs(files):
    flags = classifier_flags(files, do_eval="true", num_train_epochs=None, train_batch_size=None)
    stdout, _ = succeed("run_classifier.py", **flags, grid="paper", num_seeds=2, dry_run="true")
    steps = [line.split()[1:6] for line in stdout.splitlines() if line.startswith("Steps")]
    assert steps == [
        [str(int(37 / batch * epochs)), "of", str(batch), "sequences,", "0"]
        for batch in (16, 32)
        for epochs in (2, 3, 4)
    ]
    listed = [line.split() for line in stdout.splitlines() if line.startswith("Run ")]
    assert listed[-1] == ["Run", "36", "lr2e-05-batch32-epochs4.0-seed12346"]
