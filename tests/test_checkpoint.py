"""TF1 bundles and the initial checkpoint: names, values, and every way in which they do not fit."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from modeling.bundle import to_numpy
from modeling.checkpoint import (
    load_init_checkpoint,
    read_bundle,
    read_names_and_shapes,
    resolve_prefix,
    verify_bundle,
    write_bundle,
)

ENCODER = "bert/encoder/layer_0/output/dense/kernel"
POOLER = "bert/pooler/dense/bias"


def variable(*shape, value=0.0):
    return tf.Variable(tf.fill(shape, value))


@pytest.fixture
def tensors():
    rng = np.random.default_rng(17)
    return {
        "bert/embeddings/word_embeddings": rng.normal(size=(11, 3)).astype(np.float32),
        ENCODER: rng.normal(size=(5, 3)).astype(np.float32),
        POOLER: rng.normal(size=3).astype(np.float32),
        ENCODER + "/adam_m": np.ones((5, 3), np.float32),
        "global_step": np.int64(2**40 + 7),
    }


@pytest.fixture
def prefix(tmp_path, tensors):
    write_bundle(f"{tmp_path}/bert_model.ckpt", tensors)
    return f"{tmp_path}/bert_model.ckpt"


def flip_byte(path, position=-9):
    data = bytearray(path.read_bytes())
    data[position] ^= 16
    path.write_bytes(data)


def test_a_written_bundle_reads_back_under_the_same_names(prefix, tensors):
    reader = tf.train.load_checkpoint(prefix)
    assert set(reader.get_variable_to_shape_map()) == set(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value)
    assert reader.get_variable_to_dtype_map()["global_step"] == tf.int64


def test_a_written_bundle_is_two_files(prefix, tmp_path):
    names = {"bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"}
    assert set(os.listdir(tmp_path)) == names


def test_the_saver_of_tensorflow_1_restores_a_written_bundle(prefix, tensors):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = {
            name: tf.compat.v1.get_variable(name, np.shape(value), np.asarray(value).dtype)
            for name, value in tensors.items()
        }
        tf.compat.v1.train.Saver(made).restore(session, prefix)
        for name, value in session.run(made).items():
            np.testing.assert_array_equal(value, tensors[name])


def test_the_saver_of_tensorflow_1_writes_what_is_read(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("bert/pooler/dense/bias", initializer=[2.0, 3.0, 5.0])
        session.run(tf.compat.v1.global_variables_initializer())
        written = tf.compat.v1.train.Saver().save(session, f"{tmp_path}/model.ckpt", 7)
    np.testing.assert_array_equal(read_bundle(written)["bert/pooler/dense/bias"], [2, 3, 5])
    assert resolve_prefix(str(tmp_path)) == written


def test_distributed_and_keras_variables_are_written_and_loaded_in_all_copies(tmp_path, strategy):
    value = np.array([2.0, 3.0, 5.0], np.float32)
    with strategy.scope():
        made = {"bert/a": tf.Variable(value), "bert/b": keras.Variable(value + 1)}
    write_bundle(f"{tmp_path}/x.ckpt", made)
    np.testing.assert_array_equal(read_bundle(f"{tmp_path}/x.ckpt")["bert/b"], value + 1)
    for one in made.values():
        one.assign(np.zeros(3))
    load_init_checkpoint(f"{tmp_path}/x.ckpt", made)
    np.testing.assert_array_equal(to_numpy(made["bert/b"]), value + 1)
    for copy in strategy.experimental_local_results(made["bert/a"]):
        np.testing.assert_array_equal(copy.numpy(), value)


@pytest.mark.parametrize(
    "form", ["bert_model.ckpt", "bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"]
)
def test_a_checkpoint_may_be_named_by_its_prefix_or_a_file(prefix, tmp_path, form):
    assert read_names_and_shapes(f"{tmp_path}/{form}")[ENCODER] == (5, 3)


def test_a_folder_means_what_its_state_file_names_even_after_a_move(prefix, tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/gone/bert_model.ckpt"\n')
    assert resolve_prefix(str(tmp_path)) == prefix


def test_a_missing_checkpoint_names_the_flag(tmp_path):
    with pytest.raises(FileNotFoundError, match="--init_checkpoint=.*nothing.ckpt.*no such"):
        read_names_and_shapes(f"{tmp_path}/nothing.ckpt")


def test_a_folder_without_a_state_file_gets_its_checkpoints_listed(prefix, tmp_path):
    with pytest.raises(FileNotFoundError, match="name one of its checkpoints: bert_model.ckpt"):
        resolve_prefix(str(tmp_path))


def test_a_huggingface_folder_or_file_gets_the_advice_to_convert(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(FileNotFoundError, match="convert_checkpoint.py"):
            resolve_prefix(str(path))


def test_the_recorded_checkpoints_have_the_names_of_the_original(shared):
    released = read_names_and_shapes(str(shared / "golden/tiny/bert_model.ckpt"))
    trained = read_names_and_shapes(str(shared / "golden/tiny/pretrained.ckpt-30"))
    assert len(released) == 5 + 16 * 2 + 2 + 7
    assert len(trained) == 3 * len(released) + 1
    assert released["cls/seq_relationship/output_weights"] == (2, 32)
    assert trained["bert/encoder/layer_1/output/LayerNorm/gamma/adam_v"] == (32,)
    assert verify_bundle(str(shared / "golden/tiny/pretrained.ckpt-30")) is None


def test_loading_reports_four_kinds_of_names(prefix, tensors):
    variables = {
        "bert/embeddings/word_embeddings": variable(11, 3),
        ENCODER: keras.Variable(np.zeros((5, 3), np.float32)),
        "output_bias": variable(2, value=7.0),
    }
    report = load_init_checkpoint(prefix, variables)
    assert report.loaded == ["bert/embeddings/word_embeddings", ENCODER]
    assert report.missing == ["output_bias"]
    assert report.unexpected == [POOLER]
    assert report.training_state == [ENCODER + "/adam_m", "global_step"]
    np.testing.assert_array_equal(to_numpy(variables[ENCODER]), tensors[ENCODER])
    np.testing.assert_array_equal(variables["output_bias"], [7, 7])
    for phrase in ("2 variables loaded", "output_bias", POOLER, "2 of optimizer state"):
        assert phrase in report.summary()


def test_a_checkpoint_without_a_pooler_loads_and_says_so(tmp_path, tensors):
    write_bundle(f"{tmp_path}/x.ckpt", {ENCODER: tensors[ENCODER]})
    report = load_init_checkpoint(
        f"{tmp_path}/x.ckpt", {ENCODER: variable(5, 3), POOLER: variable(3)}
    )
    assert report.missing == [POOLER]


def test_no_common_name_is_an_error(prefix):
    with pytest.raises(ValueError, match="no variable of the model.*bert_1/x, it holds bert/"):
        load_init_checkpoint(prefix, {"bert_1/x": variable(3)})


def test_an_object_based_checkpoint_is_named_as_such(tmp_path):
    written = tf.train.Checkpoint(x=variable(3)).save(f"{tmp_path}/ckpt")
    with pytest.raises(ValueError, match="object-based"):
        load_init_checkpoint(written, {ENCODER: variable(5, 3)})


def test_a_partial_encoder_is_an_error(prefix):
    deeper = ENCODER.replace("layer_0", "layer_1")
    with pytest.raises(ValueError, match=f"1 variables of the encoder.*{deeper}"):
        load_init_checkpoint(prefix, {ENCODER: variable(5, 3), deeper: variable(5, 3)})


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("bert/embeddings/word_embeddings", "vocab_size"),
        ("bert/embeddings/position_embeddings", "max_position_embeddings"),
        ("output_weights", "number of labels"),
        (ENCODER, "bert_config.json"),
    ],
)
def test_another_shape_is_an_error_that_names_both_and_the_cause(tmp_path, name, cause):
    other = "bert/pooler/dense/kernel"
    write_bundle(f"{tmp_path}/x.ckpt", {name: np.ones((7, 3), np.float32), other: np.ones(3)})
    variables = {other: variable(3), name: variable(13, 3)}
    with pytest.raises(ValueError, match=rf"--init.*{name} is \[7, 3\].*\[13, 3\].*{cause}"):
        load_init_checkpoint(f"{tmp_path}/x.ckpt", variables)
    np.testing.assert_array_equal(variables[other], np.zeros(3))  # nothing was loaded


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "absent", "index"])
def test_damage_is_found_and_named_without_a_change_to_the_model(prefix, tmp_path, damage):
    data = tmp_path / "bert_model.ckpt.data-00000-of-00001"
    if damage == "flipped":
        flip_byte(data, 5)
    elif damage == "short":
        data.write_bytes(data.read_bytes()[:40])
    elif damage == "empty":
        data.write_bytes(b"")
    elif damage == "absent":
        data.unlink()
    else:
        flip_byte(tmp_path / "bert_model.ckpt.index", 30)
    assert "bert_model.ckpt" in verify_bundle(prefix)
    variables = {"bert/embeddings/word_embeddings": variable(11, 3), ENCODER: variable(5, 3)}
    with pytest.raises(ValueError, match="bert_model.ckpt.*(damaged|cannot read)"):
        load_init_checkpoint(prefix, variables)
    for one in variables.values():
        assert not one.numpy().any()


def test_an_unwritable_place_is_an_os_error_and_leaves_nothing(tmp_path, tensors):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write the checkpoint"):
        write_bundle(f"{tmp_path}/file/x.ckpt", tensors)
    assert os.listdir(tmp_path) == ["file"]


def test_a_path_that_tensorflow_cannot_read_is_refused_before_writing(tmp_path, tensors):
    with pytest.raises(ValueError, match=r"has a \["):
        write_bundle(f"{tmp_path}/run[1]/x.ckpt", tensors)
    assert not os.listdir(tmp_path)
