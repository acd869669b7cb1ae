"""HuggingFace folders become the original's files, or one line says why not."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from convert_checkpoint import convert
from modeling.checkpoint import read_bundle
from modeling.config import BertConfig

V, H, LAYERS, INNER, P, T = 13, 6, 2, 7, 11, 2
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForPreTraining"],
    "vocab_size": V,
    "hidden_size": H,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 3,
    "intermediate_size": INNER,
    "max_position_embeddings": P,
    "type_vocab_size": T,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}


def layer_shapes(i):
    return {
        f"bert.encoder.layer.{i}.{name}": shape
        for name, shape in {
            "attention.self.query.weight": (H, H),
            "attention.self.query.bias": (H,),
            "attention.self.key.weight": (H, H),
            "attention.self.key.bias": (H,),
            "attention.self.value.weight": (H, H),
            "attention.self.value.bias": (H,),
            "attention.output.dense.weight": (H, H),
            "attention.output.dense.bias": (H,),
            "attention.output.LayerNorm.weight": (H,),
            "attention.output.LayerNorm.bias": (H,),
            "intermediate.dense.weight": (INNER, H),
            "intermediate.dense.bias": (INNER,),
            "output.dense.weight": (H, INNER),
            "output.dense.bias": (H,),
            "output.LayerNorm.weight": (H,),
            "output.LayerNorm.bias": (H,),
        }.items()
    }


SHAPES = {
    "bert.embeddings.word_embeddings.weight": (V, H),
    "bert.embeddings.position_embeddings.weight": (P, H),
    "bert.embeddings.token_type_embeddings.weight": (T, H),
    "bert.embeddings.LayerNorm.weight": (H,),
    "bert.embeddings.LayerNorm.bias": (H,),
    **layer_shapes(0),
    **layer_shapes(1),
    "bert.pooler.dense.weight": (H, H),
    "bert.pooler.dense.bias": (H,),
}
HEADS = {
    "cls.predictions.bias": (V,),
    "cls.predictions.transform.dense.weight": (H, H),
    "cls.predictions.transform.dense.bias": (H,),
    "cls.predictions.transform.LayerNorm.weight": (H,),
    "cls.predictions.transform.LayerNorm.bias": (H,),
    "cls.seq_relationship.weight": (2, H),
    "cls.seq_relationship.bias": (2,),
}


def random_tensors(shapes):
    rng = np.random.default_rng(19)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def tensors():
    return random_tensors(SHAPES | HEADS)


@pytest.fixture
def folder(tmp_path):
    """Makes a HuggingFace folder of the given tensors, and settings that differ from CONFIG."""

    def make(tensors, **settings):
        path = tmp_path / "hf"
        path.mkdir(exist_ok=True)
        config = {name: value for name, value in (CONFIG | settings).items() if value is not ...}
        (path / "config.json").write_text(json.dumps(config))
        (path / "vocab.txt").write_text("".join(f"w{i}\n" for i in range(V)))
        (path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
        return path

    return make


@pytest.fixture
def converted(tmp_path):
    """Converts a folder; returns the tensors in the original's names."""

    def run(path):
        convert(str(path), f"{tmp_path}/out")
        return read_bundle(f"{tmp_path}/out/bert_model.ckpt")

    return run


def test_names_are_the_original_ones(folder, tensors, converted, shared):
    recorded = set(read_bundle(str(shared / "golden/tiny/bert_model.ckpt")))
    assert set(converted(folder(tensors))) == recorded


def test_kernels_are_transposed_and_tables_and_output_weights_are_not(folder, tensors, converted):
    result = converted(
        folder(tensors | random_tensors({"classifier.weight": (5, H), "classifier.bias": (5,)}))
    )
    for name, stored in {
        "bert/encoder/layer_1/intermediate/dense/kernel": "bert.encoder.layer.1.intermediate.dense.weight",
        "bert/encoder/layer_0/attention/self/key/kernel": "bert.encoder.layer.0.attention.self.key.weight",
        "cls/predictions/transform/dense/kernel": "cls.predictions.transform.dense.weight",
    }.items():
        np.testing.assert_array_equal(result[name], tensors[stored].T)
    for name, stored in {
        "bert/embeddings/position_embeddings": "bert.embeddings.position_embeddings.weight",
        "bert/encoder/layer_1/output/LayerNorm/gamma": "bert.encoder.layer.1.output.LayerNorm.weight",
        "bert/encoder/layer_1/output/LayerNorm/beta": "bert.encoder.layer.1.output.LayerNorm.bias",
        "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
        "cls/predictions/output_bias": "cls.predictions.bias",
    }.items():
        np.testing.assert_array_equal(result[name], tensors[stored])
    assert result["output_weights"].shape == (5, H) and result["output_bias"].shape == (5,)


def test_names_of_2018_and_names_without_prefix_give_the_same(folder, tensors, converted):
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in tensors.items()
    }
    bare = {name.removeprefix("bert."): value for name, value in old.items()}
    bare["embeddings.position_ids"] = np.arange(P)[None]
    result = converted(folder(bare))
    assert len(result) == len(tensors)
    np.testing.assert_array_equal(
        result["bert/embeddings/LayerNorm/beta"], tensors["bert.embeddings.LayerNorm.bias"]
    )


def test_the_three_files_and_the_summary(folder, tensors, tmp_path):
    summary = convert(str(folder(tensors)), f"{tmp_path}/out")
    names = {
        "bert_config.json",
        "vocab.txt",
        "bert_model.ckpt.index",
        "bert_model.ckpt.data-00000-of-00001",
    }
    assert set(os.listdir(tmp_path / "out")) == names
    assert (tmp_path / "out/vocab.txt").read_bytes() == (tmp_path / "hf/vocab.txt").read_bytes()
    assert "13 entries, cased" in summary and "--do_lower_case=false" in summary
    assert f"{sum(value.size for value in tensors.values()):,}" in summary


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("gelu", "gelu_erf"),
        ("gelu_new", "gelu"),
        ("gelu_pytorch_tanh", "gelu"),
        ("relu", "relu"),
        (..., "gelu_erf"),
    ],
)
def test_the_exact_gelu_keeps_its_meaning(folder, tensors, converted, tmp_path, there, here):
    converted(folder(tensors, hidden_act=there))
    config = BertConfig.from_json_file(f"{tmp_path}/out/bert_config.json")
    assert config.hidden_act == here
    assert (config.num_hidden_layers, config.intermediate_size) == (LAYERS, INNER)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(folder, tensors, converted, dtype, tmp_path):
    halves = {name: value.astype(dtype) for name, value in tensors.items()}
    if dtype is np.float16:
        path = folder(halves)
    else:  # numpy's writer does not know the type
        path = folder(tensors)
        import tensorflow as tf
        from safetensors.tensorflow import save_file as save_tensorflow

        save_tensorflow(
            {name: tf.constant(value) for name, value in halves.items()}, path / "model.safetensors"
        )
    result = converted(path)["bert/pooler/dense/kernel"]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, halves["bert.pooler.dense.weight"].astype(np.float32).T)


def test_shards_are_read_together(folder, tensors, converted):
    path = folder(tensors)
    whole = converted(path)
    (path / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {
        "model-00001-of-00002.safetensors": names[:17],
        "model-00002-of-00002.safetensors": names[17:],
    }
    for shard, members in shards.items():
        save_file({name: tensors[name] for name in members}, path / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    for name, value in whole.items():
        np.testing.assert_array_equal(read_again(path)[name], value)
    save_file(tensors, path.parent / "model.safetensors")
    index.write_text(json.dumps({"weight_map": {"x": "../model.safetensors"}}))
    with pytest.raises(FileNotFoundError, match="not a file of that folder"):
        read_again(path)


def read_again(path):
    output = path.parent / f"again-{len(os.listdir(path.parent))}"
    convert(str(path), str(output))
    return read_bundle(f"{output}/bert_model.ckpt")


def test_a_vocabulary_inside_tokenizer_json_is_written_in_the_order_of_ids(
    folder, tensors, tmp_path
):
    path = folder(tensors)
    (path / "vocab.txt").unlink()
    vocab = {f"w{i}": i for i in reversed(range(V))}
    content = {"model": {"type": "WordPiece", "vocab": vocab}, "normalizer": {"lowercase": True}}
    (path / "tokenizer.json").write_text(json.dumps(content))
    (path / "tokenizer_config.json").unlink()
    assert "13 entries, uncased" in convert(str(path), f"{tmp_path}/out")
    assert (tmp_path / "out/vocab.txt").read_text().split() == [f"w{i}" for i in range(V)]


def test_a_tied_copy_of_the_output_layer_is_dropped_and_another_one_refused(
    folder, tensors, converted
):
    tied = {
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"],
    }
    assert len(converted(folder(tensors | tied))) == len(tensors)
    tied["cls.predictions.decoder.weight"] = tied["cls.predictions.decoder.weight"] + 1
    with pytest.raises(ValueError, match="decoder.weight differs"):
        read_again(folder(tensors | tied))


def test_what_has_no_place_is_listed(folder, tensors, tmp_path):
    extra = {"adapter.weight": np.ones(3, np.float32)}
    summary = convert(str(folder(tensors | extra)), f"{tmp_path}/out")
    assert "1 left out" in summary and "adapter.weight" in summary


def test_a_model_without_a_pooler_converts_and_says_so(folder, tensors, tmp_path):
    kept = {name: value for name, value in tensors.items() if "pooler" not in name}
    summary = convert(str(folder(kept)), f"{tmp_path}/out")
    assert "no pooler" in summary


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "roberta"),
        ("model_type", ...),
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("layer_norm_eps", 1e-5),
        ("hidden_act", "silu"),
        ("hidden_size", 7),
        ("hidden_size", "wide"),
    ],
)
def test_what_is_not_this_bert_is_refused_by_field(
    folder, tensors, converted, field, value, tmp_path
):
    with pytest.raises(ValueError, match=f"config.json: {field}"):
        converted(folder(tensors, **{field: value}))
    assert os.listdir(tmp_path) == ["hf"]


def without(tensors, part):
    return {name: value for name, value in tensors.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: without(t, "layer.1.output.dense.bias"),
            "1 tensors are missing, first bert/encoder/layer_1",
        ),
        (lambda t: t | random_tensors(layer_shapes(2)), "has no place in the BERT of config.json"),
        (lambda t: t | {"bert.pooler.dense.bias": np.ones(5, np.float32)}, r"\[5\], but .* \[6\]"),
        (
            lambda t: (
                t | {"bert.encoder.layer.0.output.dense.weight": np.ones((INNER, H), np.float32)}
            ),
            r"output.dense.weight is \[7, 6\], but .* \[6, 7\]",
        ),
        (lambda t: t | {"bert.pooler.dense.bias": np.ones(H, np.int8)}, "int8"),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder, tensors, converted, change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        converted(folder(change(tensors)))
    assert os.listdir(tmp_path) == ["hf"]


def test_more_words_than_embeddings_are_refused(folder, tensors, converted):
    path = folder(tensors)
    with (path / "vocab.txt").open("a") as file:
        file.write("one too many\n")
    with pytest.raises(ValueError, match="14 entries, more than vocab_size 13"):
        converted(path)


def test_a_pickle_is_refused_with_advice(folder, tensors, converted):
    path = folder(tensors)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="safe_serialization"):
        converted(path)


def test_a_damaged_weight_file_is_named(folder, tensors, converted):
    path = folder(tensors)
    (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-1])
    with pytest.raises(ValueError, match="model.safetensors: not a readable safetensors file"):
        converted(path)


def test_an_existing_output_is_never_touched_and_an_empty_one_is_filled(
    folder, tensors, converted, tmp_path
):
    (tmp_path / "out").mkdir()
    path = folder(tensors)
    converted(path)
    before = {
        name: (tmp_path / "out" / name).stat().st_mtime_ns for name in os.listdir(tmp_path / "out")
    }
    with pytest.raises(ValueError, match="--output_dir=.*not an empty folder"):
        converted(path)
    assert before == {
        name: (tmp_path / "out" / name).stat().st_mtime_ns for name in os.listdir(tmp_path / "out")
    }
    assert sorted(os.listdir(tmp_path)) == ["hf", "out"]
