"""Prediction by a command that does not train: what it takes from a training, and when it must not begin."""

import pytest
from tiny_runs import custom_flags, refusal, succeed, write_csv, write_model

from modeling.bundle import read_bundle, write_bundle


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a model that was trained to give any number of labels, and texts."""
    folder = write_model(tmp_path_factory.mktemp("files"))
    rows = [["the boat", "a,b"], ["a house", "b"], ["red", ""]]
    write_csv(folder / "train.csv", ["text", "label"], rows)
    flags = custom_flags(folder, label_kind="multi", train_batch_size=3)
    succeed("run_classifier.py", **flags)
    return folder


def predicting(files, **changes):
    flags = dict(train_file=None, test_file=files / "train.csv", do_train="false")
    return custom_flags(files, **flags, do_predict="true", **changes)


def test_the_kind_of_labels_is_that_of_the_training(files):
    succeed("run_classifier.py", **predicting(files), predict_format="full")
    rows = (files / "run/test_predictions.csv").read_text().splitlines()
    assert rows[0].endswith("probability_a,probability_b") and len(rows) == 1 + 3


def test_a_checkpoint_without_the_head_is_refused(files, tmp_path):
    tensors = read_bundle(str(files / "run/model.ckpt-1"))
    encoder = {name: value for name, value in tensors.items() if name.startswith("bert/")}
    write_bundle(str(tmp_path / "encoder.ckpt"), encoder)
    flags = predicting(files, init_checkpoint=tmp_path / "encoder.ckpt", labels="a,b")
    flags |= dict(output_dir=tmp_path / "out", label_kind="multi")
    assert "encoder.ckpt lacks output_weights, output_bias" in refusal("run_classifier.py", **flags)


def test_a_column_cannot_be_text_and_label(files):
    flags = custom_flags(files, text_columns="text,label")
    expected = "--text_columns=text,label and --label_column=label name a column twice"
    assert expected in refusal("run_classifier.py", **flags)
