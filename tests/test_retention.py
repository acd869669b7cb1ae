"""Which checkpoints stay: the newest, the last of every period of hours, and the best."""

import json
import math
import os

import pytest

from training.retention import Best, is_better, kept_steps, read_best
from training.run_state import RunState

HOUR = 3600.0


def hourly(folder, *saves, keep=1, hours=None, metric="loss"):
    """Saves (step, score) one after the other."""
    run = RunState(str(folder), keep, hours, metric)
    for step, score in saves:
        run.save(step, {"x": [step]}, None if score is None else {metric: score, "other": -score})
    run.wait()
    return run


def steps_on_disk(folder):
    files = [name.split(".") for name in os.listdir(folder) if name.startswith("model.ckpt-")]
    kinds = {kind: {int(p[1][5:]) for p in files if p[2].startswith(kind)} for kind in ("i", "d")}
    assert kinds["i"] == kinds["d"]
    return sorted(kinds["i"])


@pytest.mark.parametrize(
    ("keep", "hours", "best", "expected"),
    [
        (2, None, None, [7, 11]),
        (2, None, 3, [3, 7, 11]),
        (2, None, 11, [7, 11]),
        (2, None, 13, [7, 11]),  # gone
        (1, 1, None, [2, 5, 11]),
        (1, 2, None, [5, 11]),
        (1, 0.5, None, [0, 2, 3, 5, 11]),
        (99, None, None, [0, 2, 3, 5, 7, 11]),
    ],
)
def test_what_stays_is_newest_one_a_period_and_best(keep, hours, best, expected):
    written = {0: 0.1, 2: 0.9, 3: 1.1, 5: 1.7, 7: 3.1, 11: 3.2}
    times = {step: HOUR * (470_000 + time) for step, time in written.items()}
    assert kept_steps(times, keep, hours, best) == expected


@pytest.mark.parametrize(
    ("metric", "better", "worse"),
    [("loss", 1.0, 2.0), ("masked_lm_loss", 1.0, 2.0), ("f1", 2.0, 1.0), ("accuracy", 0.7, 0.3)],
)
def test_a_loss_is_better_when_lower_and_all_else_when_higher(metric, better, worse):
    assert is_better(metric, better, worse) and not is_better(metric, worse, better)
    assert not is_better(metric, better, better)
    assert not is_better(metric, math.nan, better)


def test_the_best_checkpoint_stays_and_is_recorded(tmp_path):
    hourly(tmp_path, (2, 0.7), (3, 0.3), (5, 0.5), (7, 0.9))
    assert steps_on_disk(tmp_path) == [3, 7]
    assert json.loads((tmp_path / "best_checkpoint.json").read_text()) == {
        "step": 3,
        "metric": "loss",
        "value": 0.3,
    }


def test_the_best_of_an_earlier_process_is_outdone_only_by_a_better_one(tmp_path):
    hourly(tmp_path, (2, 0.3), (3, 0.5))
    hourly(tmp_path, (5, 0.4), (7, 0.4))
    assert steps_on_disk(tmp_path) == [2, 7]
    hourly(tmp_path, (11, 0.2), (13, 0.8))
    assert steps_on_disk(tmp_path) == [11, 13]


def test_a_recorded_best_stays_when_the_flag_is_left_out(tmp_path):
    hourly(tmp_path, (2, 0.3), (3, 0.5))
    hourly(tmp_path, (5, None), metric=None)
    assert steps_on_disk(tmp_path) == [2, 5]


@pytest.mark.parametrize("why", ["other metric", "gone", "written anew"])
def test_a_record_that_cannot_be_compared_with_gives_way(tmp_path, why):
    hourly(tmp_path, (2, 0.3), (3, 0.5))
    if why == "other metric":
        hourly(tmp_path, (5, 0.1), metric="f1")
    elif why == "gone":
        (tmp_path / "model.ckpt-2.index").unlink()
        hourly(tmp_path, (5, 0.7))
    else:
        (tmp_path / "model.ckpt-3.index").unlink()
        (tmp_path / "checkpoint").write_text("")
        hourly(tmp_path, (2, 0.9), (5, 0.8))
    assert read_best(str(tmp_path)).step == 5


def test_a_checkpoint_without_a_finite_score_is_never_the_best(tmp_path):
    hourly(tmp_path, (2, None), (3, math.nan), (5, math.inf))
    assert read_best(str(tmp_path)) is None
    hourly(tmp_path, (7, 5.0), (11, -math.inf))
    assert read_best(str(tmp_path)) == Best(7, "loss", 5.0)


@pytest.mark.parametrize(
    "text", ["", "[3]", '{"step": 2}', '{"step": "x", "metric": 1, "value": 1}']
)
def test_a_damaged_record_is_refused_before_anything_is_deleted(tmp_path, text):
    hourly(tmp_path, (2, 0.3), (3, 0.5))
    (tmp_path / "best_checkpoint.json").write_text(text)
    with pytest.raises(ValueError, match="best_checkpoint.json is damaged"):
        RunState(str(tmp_path)).claim()
    assert steps_on_disk(tmp_path) == [2, 3]


def test_an_unknown_metric_is_refused_with_the_names_of_those_there_are(tmp_path):
    run = RunState(str(tmp_path), best_metric="accuracy")
    with pytest.raises(
        ValueError, match="--keep_best_metric=accuracy: .* loss, masked_lm_accuracy"
    ):
        run.check_scores({"masked_lm_accuracy": 0.5, "loss": 2.0})


def age(folder, hours):
    """Makes all checkpoints so much older, in the record of the run itself."""
    lines = []
    for line in (folder / "checkpoint").read_text().splitlines():
        name, value = line.split(": ")
        if name.endswith("timestamps"):
            value = float(value) - hours * HOUR
        lines.append(f"{name}: {value}\n")
    (folder / "checkpoint").write_text("".join(lines))


def test_one_checkpoint_of_each_period_stays_over_restarts_and_copies(tmp_path):
    for step in (2, 5, 11):
        hourly(tmp_path, (step, None), (step + 1, None), hours=2)
        # As after `cp -r`: the times of the files say nothing.
        for file in tmp_path.iterdir():
            os.utime(file)
        age(tmp_path, 2)
    assert steps_on_disk(tmp_path) == [3, 6, 12]


def test_the_age_of_a_checkpoint_without_a_recorded_time_is_that_of_its_file(tmp_path):
    hourly(tmp_path, (2, None))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-2"\n')
    os.utime(tmp_path / "model.ckpt-2.index", (1e9, 1e9))
    hourly(tmp_path, (3, None), hours=2)
    assert steps_on_disk(tmp_path) == [2, 3]
