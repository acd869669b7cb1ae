"""Models that answer together."""

import json
import logging

import numpy as np
import pytest
from tiny_runs import custom_flags, refusal, results, succeed, write_words

from finetuning.ensemble import log_member, mean_of_members
from finetuning.tasks import SINGLE
from modeling.checkpoint import write_bundle


def batches(*outputs, labels):
    found = np.array(outputs, np.float32)
    real = np.array([1, 0], np.int32)
    return [{"outputs": found, "label_ids": np.array(labels, np.int32), "is_real_example": real}]


def test_the_mean_is_of_probabilities_and_is_judged_anew():
    sure = batches([0.125, 0.875], [0.5, 0.5], labels=[0, 0])
    others = [batches([0.625, 0.375], [0.5, 0.5], labels=[0, 0]) for _ in range(2)]
    (mean,) = mean_of_members([sure, *others], SINGLE)
    np.testing.assert_allclose(mean["outputs"][0], [1.375 / 3, 1.625 / 3])
    # Two of three are right, and the mean is not.
    assert (mean["predictions"][0], mean["correct"][0]) == (1, 0.0)
    np.testing.assert_allclose(mean["loss"][0], -np.log(1.375 / 3), rtol=1e-6)
    assert mean["is_real_example"].tolist() == [1, 0]


def test_one_model_is_left_as_it_is():
    alone = batches([0.125, 0.875], [0.5, 0.5], labels=[0, 0])
    assert mean_of_members([alone], SINGLE) == alone


@pytest.mark.parametrize(
    ("member", "best", "is_warned"),
    [("", 3, True), ("", 5, False), ("", None, False), ("model.ckpt-5", 3, False)],
)
def test_the_last_of_a_run_is_told_from_its_best(member, best, is_warned, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="absl")
    write_bundle(str(tmp_path / "model.ckpt-5"), {"output_bias": np.zeros(2, np.float32)})
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-5"\n')
    if best:
        record = {"step": best, "metric": "eval_f1", "value": 0.5}
        (tmp_path / "best_checkpoint.json").write_text(json.dumps(record))
    log_member(str(tmp_path / member))
    assert f"Member of the ensemble: {tmp_path}/model.ckpt-5" in caplog.text
    assert ("whose best by eval_f1 is that of step 3" in caplog.text) == is_warned


@pytest.mark.slow
def test_runs_with_several_seeds_are_an_ensemble(files):
    rng = np.random.default_rng(23)
    write_words(files / "train.csv", rng, [7, 8] * 8)
    write_words(files / "test.csv", rng, [5, 13, 9, 11, 3])
    flags = custom_flags(files, dev_file=files / "train.csv", test_file=files / "test.csv")
    flags |= dict(do_eval="true", do_predict="true", learning_rate=3e-2, num_train_epochs=3)
    succeed("run_classifier.py", **flags, num_seeds=2)
    members = [files / f"run/seed{seed}" for seed in (12345, 12346)]
    ensemble = {**flags, "do_train": "false", "train_file": None, "output_dir": files / "both"}
    ensemble["ensemble_checkpoints"] = ",".join(map(str, members))
    succeed("run_classifier.py", **ensemble)
    found = [np.loadtxt(folder / "test_results.tsv") for folder in members]
    assert np.abs(found[0] - found[1]).max() > 1e-3
    np.testing.assert_allclose(
        np.loadtxt(files / "both/test_results.tsv"), np.mean(found, 0), rtol=1e-5
    )
    losses = [results(folder)["eval_loss"] for folder in (*members, files / "both")]
    assert losses[2] < np.mean(losses[:2])  # by Jensen's inequality

    (members[1] / "label_map.json").write_text('{"label_kind": "single", "labels": ["y", "n"]}')
    line = refusal("run_classifier.py", **ensemble)
    assert "has 2 labels, y, n of kind single, the task has 2, n, y" in line
    line = refusal("run_classifier.py", **{**ensemble, "output_dir": members[0]})
    assert "holds the checkpoints of a run" in line
