"""BERT as HuggingFace stores it (`config.json`, `model.safetensors`), read into the names of the original.

There a dense kernel is stored [out, in] and transposed here; LayerNorm's gamma and beta are called weight and bias;
"gelu" is the exact form. Files are read with the safetensors package, which holds data only: no pickle, no torch.
"""

import json
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from safetensors import SafetensorError, safe_open

from modeling.config import BertConfig

# "gelu" of HuggingFace is the erf form; the names on the right are those of BertConfig.
_ACTIVATIONS = {
    "gelu": "gelu_erf",
    "gelu_python": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
    "linear": "linear",
}
# What must hold for the encoder to compute what this project's does; an absent field has this value there too.
_REQUIRED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "layer_norm_eps": 1e-12,
}
# Fields whose value there, when absent, is not the one BertConfig takes.
_DEFAULTS = {"vocab_size": 30522, "type_vocab_size": 2, "hidden_act": "gelu"}
# The output layer of the masked LM, stored a second time.
_TIED = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids)$")
_FLOATS = (tf.float32, tf.float16, tf.bfloat16, tf.float64)


class Target(NamedTuple):
    """Where a tensor goes.

    Attributes:
      name: the original's name.
      shape: its shape there; None for a size that the configuration does not fix.
      transpose: whether HuggingFace stores it the other way round.
    """

    name: str
    shape: tuple[int | None, ...]
    transpose: bool = False


class Converted(NamedTuple):
    """Tensors of a model in the original's names.

    Attributes:
      tensors: float32, by name.
      left_out: names of tensors there that BERT has no place for.
    """

    tensors: dict[str, np.ndarray]
    left_out: list[str]


def read_config(folder: str) -> BertConfig:
    """Reads `config.json` of a HuggingFace folder.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: naming the file and the field, if the model is not a BERT that this project computes.
    """
    path = os.path.join(folder, "config.json")
    values = _read_json(path)
    if values.get("model_type") != "bert":
        raise ValueError(
            f"{path}: model_type is {values.get('model_type')!r}; only 'bert' converts"
        )
    for field, needed in _REQUIRED.items():
        if values.get(field, needed) != needed:
            raise ValueError(f"{path}: {field} is {values[field]!r}; only {needed!r} converts")
    values = _DEFAULTS | values
    if values["hidden_act"] not in _ACTIVATIONS:
        raise ValueError(
            f"{path}: hidden_act is {values['hidden_act']!r}; known are {', '.join(_ACTIVATIONS)}"
        )
    values["hidden_act"] = _ACTIVATIONS[values["hidden_act"]]
    try:
        return BertConfig(
            **{k: v for k, v in values.items() if k in BertConfig.__dataclass_fields__}
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_tensors(folder: str, config: BertConfig) -> Converted:
    """Reads the weights of a HuggingFace folder, all of one file or in shards.

    Args:
      folder: holds `model.safetensors`, or `model.safetensors.index.json` and the shards it names.
      config: from `read_config`.

    Raises:
      FileNotFoundError: if there are none; the message says what to do about `pytorch_model.bin`.
      ValueError: naming the tensor, if one is missing, has another shape, or an untied output embedding differs from
        the input embedding.
    """
    targets = _targets(config)
    tensors, left_out, decoder = {}, [], {}
    for stored_name, tensor in _stored_tensors(folder):
        name = _canonical(stored_name)
        if name in targets:
            target = targets[name]
            tensors[target.name] = _fit(stored_name, tensor, target, folder)
        elif name.startswith("cls.predictions.decoder."):
            decoder[name] = tensor
        elif not _BUFFERS.search(name):
            left_out.append(stored_name)
    _merge_tied(tensors, decoder, targets, folder)
    _check_complete(tensors, left_out, targets, folder)
    return Converted(tensors, sorted(left_out))


def _targets(config: BertConfig) -> dict[str, Target]:
    """Returns the place of every tensor, by HuggingFace's name (without the prefix `bert.`)."""
    width, inner = config.hidden_size, config.intermediate_size
    targets = _embedding_targets(config)
    for i in range(config.num_hidden_layers):
        there, here = f"encoder.layer.{i}.", f"bert/encoder/layer_{i}/"
        for part in ("query", "key", "value"):
            targets |= _dense(
                f"{there}attention.self.{part}", f"{here}attention/self/{part}", width, width
            )
        targets |= _dense(
            f"{there}attention.output.dense", f"{here}attention/output/dense", width, width
        )
        targets |= _norm(
            f"{there}attention.output.LayerNorm", f"{here}attention/output/LayerNorm", width
        )
        targets |= _dense(f"{there}intermediate.dense", f"{here}intermediate/dense", width, inner)
        targets |= _dense(f"{there}output.dense", f"{here}output/dense", inner, width)
        targets |= _norm(f"{there}output.LayerNorm", f"{here}output/LayerNorm", width)
    return targets | _head_targets(config)


def _embedding_targets(config: BertConfig) -> dict[str, Target]:
    sizes = {
        "word": config.vocab_size,
        "token_type": config.type_vocab_size,
        "position": config.max_position_embeddings,
    }
    targets = {
        f"embeddings.{kind}_embeddings.weight": Target(
            f"bert/embeddings/{kind}_embeddings", (size, config.hidden_size)
        )
        for kind, size in sizes.items()
    }
    return targets | _norm("embeddings.LayerNorm", "bert/embeddings/LayerNorm", config.hidden_size)


def _head_targets(config: BertConfig) -> dict[str, Target]:
    """Output weights are [out, in] in the original too, so they are not transposed."""
    width = config.hidden_size
    transform = "predictions.transform"
    targets = _dense("pooler.dense", "bert/pooler/dense", width, width)
    targets |= _dense(f"cls.{transform}.dense", "cls/predictions/transform/dense", width, width)
    targets |= _norm(f"cls.{transform}.LayerNorm", "cls/predictions/transform/LayerNorm", width)
    targets["cls.predictions.bias"] = Target("cls/predictions/output_bias", (config.vocab_size,))
    for there, here, classes in (
        ("cls.seq_relationship", "cls/seq_relationship/", 2),
        ("classifier", "", None),
        ("qa_outputs", "cls/squad/", 2),
    ):
        targets[f"{there}.weight"] = Target(f"{here}output_weights", (classes, width))
        targets[f"{there}.bias"] = Target(f"{here}output_bias", (classes,))
    return targets


def _dense(there: str, here: str, inputs: int, outputs: int) -> dict[str, Target]:
    return {
        f"{there}.weight": Target(f"{here}/kernel", (inputs, outputs), transpose=True),
        f"{there}.bias": Target(f"{here}/bias", (outputs,)),
    }


def _norm(there: str, here: str, width: int) -> dict[str, Target]:
    return {
        f"{there}.weight": Target(f"{here}/gamma", (width,)),
        f"{there}.bias": Target(f"{here}/beta", (width,)),
    }


def _canonical(name: str) -> str:
    """Returns a tensor's name without `bert.`, and with LayerNorm's names of today for those of 2018."""
    name = name.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
        "LayerNorm.beta", "LayerNorm.bias"
    )


def _stored_tensors(folder: str) -> Iterator[tuple[str, tf.Tensor]]:
    for path in _weight_files(folder):
        try:
            # numpy has no bfloat16, so the tensors are read as TensorFlow's.
            with safe_open(path, framework="tf") as file, tf.device("CPU:0"):
                for name in file.keys():
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError, AttributeError) as error:
            raise ValueError(f"{path}: not a readable safetensors file: {error}") from error


def _weight_files(folder: str) -> list[str]:
    single = os.path.join(folder, "model.safetensors")
    index = single + ".index.json"
    if os.path.exists(single):
        return [single]
    if os.path.exists(index):
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        for name in names:
            if os.path.basename(name) != name or not os.path.exists(os.path.join(folder, name)):
                raise FileNotFoundError(
                    f"{index}: names {name!r}, which is not a file of that folder"
                )
        return [os.path.join(folder, name) for name in names]
    if os.path.exists(os.path.join(folder, "pytorch_model.bin")):
        raise FileNotFoundError(
            f"{folder}: holds pytorch_model.bin, a pickle, which can run code and is not read; save it again "
            "where transformers is installed: model.save_pretrained(folder, safe_serialization=True)"
        )
    raise FileNotFoundError(f"{single}: no such file")


def _fit(stored_name: str, tensor: tf.Tensor, target: Target, folder: str) -> np.ndarray:
    if tensor.dtype not in _FLOATS:
        raise ValueError(
            f"{folder}: {stored_name} is {tensor.dtype.name}; quantized weights do not convert"
        )
    value = tf.cast(tensor, tf.float32).numpy()
    value = value.T if target.transpose else value
    fits = len(value.shape) == len(target.shape) and all(
        needed in (None, size) for size, needed in zip(value.shape, target.shape, strict=True)
    )
    if not fits:
        needed = list(target.shape)[:: -1 if target.transpose else 1]
        raise ValueError(
            f"{folder}: {stored_name} is {tensor.shape.as_list()}, but by config.json it must be {needed}"
        )
    return np.ascontiguousarray(value)


def _merge_tied(tensors: dict, decoder: dict, targets: dict, folder: str) -> None:
    """BERT has one table for input and output; a stored copy of it may only repeat it, or stand for it."""
    for name, tensor in decoder.items():
        if name not in _TIED:
            raise ValueError(f"{folder}: {name} has no place in a BERT")
        target = targets[_TIED[name]]
        copy = _fit(name, tensor, target, folder)
        if not np.array_equal(tensors.setdefault(target.name, copy), copy):
            raise ValueError(
                f"{folder}: {name} differs from {target.name}; BERT's output layer has no weights of its own"
            )


def _check_complete(tensors: dict, left_out: list[str], targets: dict, folder: str) -> None:
    needed = [t.name for t in targets.values() if re.match("bert/(?!pooler)", t.name)]
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise ValueError(f"{folder}: {len(missing)} tensors are missing, first {missing[0]}")
    extra = [name for name in left_out if re.match(r"(encoder|embeddings)\.", _canonical(name))]
    if extra:
        raise ValueError(
            f"{folder}: {extra[0]} (one of {len(extra)}) has no place in the BERT of config.json"
        )


def _read_json(path: str) -> dict:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a JSON object")
    return values
