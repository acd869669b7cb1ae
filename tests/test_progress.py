"""What a run leaves about its training, and reading it again."""

import json

import pytest

from training.progress import ScalarWriter, read_scalars


def test_scalars_are_read_as_they_were_written(tmp_path):
    writer = ScalarWriter(str(tmp_path))
    writer.write(3, {"loss": 0.5, "accuracy": 0.25})
    writer.write(11, {"loss": 0.125})
    assert read_scalars(str(tmp_path)) == {
        "loss": [(3, 0.5), (11, 0.125)],
        "accuracy": [(3, 0.25)],
    }


def test_the_last_report_of_a_step_counts(tmp_path):
    lines = [{"step": step, "loss": step + 0.5 * again} for again in (0, 1) for step in (5, 7, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_scalars(str(tmp_path)) == {"loss": [(2, 2.5), (5, 5.5), (7, 7.5)]}


def test_what_a_kill_leaves_is_left_out(tmp_path):
    lines = ['{"step": 1, "loss": 2.0}', '{"step": 2, "lo{"step": 3, "loss": 1.0}', '{"st']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert read_scalars(str(tmp_path)) == {"loss": [(1, 2.0)]}


def test_without_reports_there_are_no_scalars(tmp_path):
    assert read_scalars(str(tmp_path / "never_made")) == {}


def test_reports_that_cannot_be_written_are_an_os_error(tmp_path):
    writer = ScalarWriter(str(tmp_path))
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OSError, match="metrics.jsonl: cannot be written"):
        writer.write(3, {"loss": 0.5})
