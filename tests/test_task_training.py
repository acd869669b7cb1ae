"""What all scripts of fine-tuning share: evaluations in training, the best checkpoint, frozen layers, several runs.

With run_classifier.py it is tested in test_evaluation_flags.py and test_sweeps.py.
"""

import json

import numpy as np
import pytest
import tensorflow as tf
import test_run_multiple_choice
import test_run_squad
import test_run_tagger
from test_evaluation_flags import evaluations
from tiny_runs import (
    VOCAB,
    change_config,
    finish,
    names,
    refusal,
    results,
    start,
    succeed,
    write_model,
)

from finetuning.squad_metrics import evaluate_v1, evaluate_v2
from finetuning.squad_metrics import metric_names as squad_metric_names
from finetuning.squad_objective import feature_scores
from finetuning.tagging_metrics import metric_names as tagging_metric_names
from finetuning.tagging_metrics import tagging_results


def tagger(folder):
    return test_run_tagger.flags_of(test_run_tagger.make_files(folder))


def multiple_choice(folder):
    return test_run_multiple_choice.flags_of(test_run_multiple_choice.make_files(folder))


def squad(folder):
    rng = np.random.default_rng(11)
    write_model(folder)
    for split, number in (("train", 7), ("dev", 3)):
        articles = [test_run_squad.article(rng, 5) for _ in range(number)]
        test_run_squad.write(folder / f"{split}-v1.json", articles)
    lengths = dict(max_seq_length=17, doc_stride=7, length_buckets="auto")
    return test_run_squad.flags_of(folder, train_file=folder / "train-*.json") | lengths


# Makes files and returns flags; the task's own metric, one that is none.
SCRIPTS = {
    "run_tagger.py": (tagger, "eval_f1", "eval_exact_match"),
    "run_multiple_choice.py": (multiple_choice, "eval_accuracy", "eval_f1"),
    "run_squad.py": (squad, "f1", "eval_f1"),
}
TRAINED = dict(do_train="true", do_eval="true", learning_rate=1e-2)


@pytest.fixture(params=SCRIPTS)
def case(request, tmp_path):
    """A script, flags of a training with an evaluation, the metric of the task, a metric of other tasks."""
    make, *metrics = SCRIPTS[request.param]
    return request.param, make(tmp_path) | TRAINED, *metrics


def test_the_best_of_the_evaluations_is_what_is_evaluated_at_the_end(case):
    script, flags, metric, _ = case
    flags |= dict(num_train_epochs=2.0, eval_steps=5, keep_checkpoint_max=1)
    succeed(script, **flags, keep_best_metric=metric, use_best_checkpoint="true")
    *during, last = evaluations(flags["output_dir"])
    assert [entry["step"] for entry in during[:-1]] == [*range(5, during[-1]["step"], 5)]
    best = max(during, key=lambda entry: entry[metric])
    assert last == pytest.approx(best, nan_ok=True)
    found = results(flags["output_dir"])
    assert (found["global_step"], found[metric]) == (best["step"], pytest.approx(best[metric]))


@pytest.mark.slow
def test_each_of_several_runs_is_what_it_is_alone(case):
    script, flags, metric, _ = case
    flags = {**flags, "train_batch_size": None}
    several = dict(num_seeds=2, seed=3, grid_train_batch_size=8)
    stdout, _ = succeed(script, **flags, **several)
    folder = flags["output_dir"]
    runs = [folder / f"batch8-seed{seed}" for seed in (3, 4)]
    assert sorted(folder.glob("*/")) == runs
    assert stdout.splitlines()[-2].split()[:3] == ["train_batch_size", "runs", metric]
    alone = {**flags, "train_batch_size": 8, "seed": 4, "output_dir": folder.parent / "alone"}
    succeed(script, **alone)
    assert results(alone["output_dir"]) == results(runs[1])
    median = json.loads((folder / "results.json").read_text())["settings"][0]["median"]
    assert median[metric] == pytest.approx(np.mean([results(run)[metric] for run in runs]))
    assert all((run / "results.json").exists() for run in runs)
    (path,) = folder.parent.glob("train*")
    path.write_text(path.read_text().replace("sleeps", "slowly"))  # of one length
    assert f"another content of {path}" in refusal(script, **flags, **several)


@pytest.mark.slow
def test_frozen_layers_end_as_they_began(case):
    script, flags, *_ = case
    change_config(flags["bert_config_file"], num_hidden_layers=2)
    succeed(script, **flags, freeze=1)
    folder = flags["output_dir"]
    last = tf.train.latest_checkpoint(folder)
    readers = [tf.train.load_checkpoint(str(path)) for path in (folder / "model.ckpt-0", last)]
    variables = [n for n in readers[0].get_variable_to_shape_map() if "adam" not in n]
    same = {n for n in variables if np.array_equal(*(r.get_tensor(n) for r in readers))}
    frozen = {n for n in variables if "/embeddings/" in n or "/layer_0/" in n}
    assert same - {n for n in variables if "/pooler/" in n} == frozen


@pytest.mark.slow
def test_a_dry_run_plans_every_setting_and_lists_the_runs(case):
    script, flags, *_ = case
    flags |= dict.fromkeys(("learning_rate", "num_train_epochs", "train_batch_size"))
    stdout, _ = succeed(script, **flags, grid="paper", num_seeds=2, dry_run="true")
    steps = [line for line in stdout.splitlines() if line.startswith("Steps")]
    listed = [line.split() for line in stdout.splitlines() if line.startswith("Run ")]
    assert len(steps) == 6
    assert listed[-1] == ["Run", "36", "lr2e-05-batch32-epochs4.0-seed12346"]
    assert not flags["output_dir"].exists()


def test_a_dry_run_of_squad_plans_by_windows_and_their_lengths(tmp_path):
    flags = squad(tmp_path) | dict(do_train="true", length_buckets="13,16", dry_run="true")
    stdout, _ = succeed("run_squad.py", **flags)
    told = dict(line.split(maxsplit=1) for line in stdout.splitlines())
    # 35 questions, each of three windows: see `test_lengths_of_windows_are_chosen`.
    assert told["Steps"].startswith(f"{35 // 4} of 4 sequences")
    assert told["Sequences"] == "32 = 0.30 epochs of 105"
    mean = (70 * 17 + 35 * 13) / 105
    assert told["Tokens"] == f"{32 * mean:.0f}, {mean:.1f} in a sequence, padding included"


@pytest.mark.slow
def test_a_dry_run_leaves_out_what_is_not_trained(case):
    script, flags, *_ = case
    flags |= dict(num_train_epochs=99991.0, dry_run="true")
    trained, work = [], []
    for frozen in (None, 1):
        stdout, _ = succeed(script, **flags, freeze=frozen)
        lines = {line.split()[0]: line.split() for line in stdout.splitlines()}
        trained.append(int(lines["Parameters"][4].replace(",", "")))
        work.append(float(lines["Work"][5]))
    tables, norm = (len(VOCAB) + 29 + 2) * 15, 2 * 15
    block = 4 * (15 + 1) * 15 + (15 + 1) * 17 + (17 + 1) * 15 + 2 * norm
    assert trained[0] - trained[1] == tables + norm + block
    # Of the passes forward, and back for inputs and for weights, the first is left; the head has all.
    assert 1 / 3 < work[1] / work[0] < 1 / 2


@pytest.mark.slow
def test_flags_that_do_not_go_together_are_one_line(case):
    script, flags, metric, other = case
    for changes, expected in (
        (dict(do_eval="false", num_seeds=2), "--num_seeds needs --do_train and --do_eval"),
        (dict(do_eval="false", eval_steps=3), "--eval_steps needs --do_train and --do_eval"),
        (dict(keep_best_metric=metric), f"--keep_best_metric={metric} needs --eval_steps"),
        (dict(keep_best_metric=other, eval_steps=3), f"give --keep_best_metric one of {metric}, "),
        (dict(freeze=3), "--freeze=3: give embeddings, or a number"),
        (dict(grid="paper"), "--learning_rate is an axis of the grid"),
    ):
        assert expected in refusal(script, **{**flags, **changes})
        assert not (flags["output_dir"] / "model.ckpt-0.index").exists()


@pytest.mark.slow
def test_a_training_that_gave_up_is_not_gone_on_with(case):
    script, flags, metric, _ = case
    flags |= dict(learning_rate=0.0, num_train_epochs=3.0, eval_steps=2, keep_best_metric=metric)
    _, first = succeed(script, **flags, early_stopping_patience=2)
    assert f"Step 6: {metric} was no better in 2 evaluations" in first
    before = results(flags["output_dir"])
    _, again = succeed(script, **flags, early_stopping_patience=2)
    assert "Training is complete: 6 of" in again
    assert results(flags["output_dir"]) == before


@pytest.mark.slow
def test_two_workers_evaluate_as_one_process_does(tmp_path):
    flags = tagger(tmp_path) | TRAINED
    best = dict(eval_steps=3, keep_best_metric="eval_loss", use_best_checkpoint="true")
    (status, stderr), (other, _) = finish(start("run_tagger.py", tmp_path, *[flags | best] * 2))
    assert (status, other) == (0, 0), stderr
    found = results(flags["output_dir"])
    start_from = flags["output_dir"] / f"model.ckpt-{found.pop('global_step'):.0f}"
    alone = dict(do_train="false", init_checkpoint=start_from, output_dir=tmp_path / "alone")
    succeed("run_tagger.py", **flags | alone)
    for name, value in found.items():
        assert results(tmp_path / "alone")[name] == pytest.approx(value, rel=1e-5)
    assert not names(tmp_path / "scratch1")


@pytest.mark.slow
def test_lengths_of_windows_are_chosen(tmp_path):
    flags = squad(tmp_path) | dict(do_train="true")
    succeed("run_squad.py", **flags)
    manifest = json.loads((flags["output_dir"] / "train.tf_record.json").read_text())
    # With 6 positions for the question, [CLS] and [SEP]: pieces 0 to 11, 7 to 18, 14 to 19 of each context.
    assert [(file[0], file[3]) for file in manifest["files"]] == [(16, 35), (17, 70)]
    _, stderr = succeed("run_squad.py", **flags)
    assert "train.tf_record is there for the same data" in stderr


@pytest.mark.parametrize("scheme", ["plain", "iob2"])
def test_a_metric_of_tags_may_choose_a_checkpoint(scheme):
    tags = [["B-x", "O", "I-x"], ["O"]]
    found = tagging_results(tags, tags, np.ones(4, np.float32), scheme)
    assert {*tagging_metric_names(scheme)} == found.keys()


def test_f1_and_exact_match_may_choose_a_checkpoint():
    golds = {"q": ["boat"]}
    assert {*squad_metric_names(False)} < evaluate_v1(golds, {"q": "boat"}).keys()
    assert {*squad_metric_names(True)} < evaluate_v2(golds, {"q": "boat"}, {"q": 0.5}, 0.0).keys()


def test_evaluations_of_answers_score_with_the_same_function():
    # What `training.loop.predict` traced for it is used again.
    assert feature_scores(True) is feature_scores(True) is not feature_scores(False)
