"""The files with the numbers of a run."""

import tensorflow as tf

from training.progress import read_scalars
from training.results import write_eval_results

RESULTS = {"eval_loss": tf.constant(0.75).numpy(), "eval_accuracy": tf.constant(0.125).numpy()}


def test_evaluations_print_what_they_write(tmp_path, capsys):
    write_eval_results(str(tmp_path), RESULTS, 13)
    text = (tmp_path / "eval_results.txt").read_text()
    assert text == "eval_accuracy = 0.125\neval_loss = 0.75\nglobal_step = 13\n"
    assert capsys.readouterr().out == text


def test_scalars_of_several_evaluations_are_kept(tmp_path):
    write_eval_results(str(tmp_path), RESULTS, 13)
    write_eval_results(str(tmp_path), {"eval_loss": 0.5}, 29)
    assert read_scalars(str(tmp_path / "eval"))["eval_loss"] == [(13, 0.75), (29, 0.5)]


def test_tensorboard_gets_the_scalars_of_an_evaluation(tmp_path):
    write_eval_results(str(tmp_path), RESULTS, 13, {"eval_f1": 0.625})
    (file,) = (tmp_path / "eval").glob("events.out.tfevents.*")
    scalars = {
        (event.step, value.tag): value.simple_value
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert scalars == {
        (13, "eval_loss"): 0.75,
        (13, "eval_accuracy"): 0.125,
        (13, "eval_f1"): 0.625,
    }
    assert "f1" not in (tmp_path / "eval_results.txt").read_text()
