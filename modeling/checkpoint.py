"""Checkpoints of the original, loaded into a model: a comparison of two sets of names.

Names are those of google-research/bert, `modeling.py` (`bert/encoder/layer_0/...`). What was loaded, what was missing
and what was left over is reported; none of it is silent.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from modeling.bundle import (
    assign,
    bundle_shapes,
    open_bundle,
    read_bundle,
    read_state_file,
    read_tensor,
    verify_bundle,
    write_bundle,
)

__all__ = [
    "InitReport",
    "is_training_state",
    "load_init_checkpoint",
    "read_bundle",
    "read_names_and_shapes",
    "resolve_prefix",
    "verify_bundle",
    "write_bundle",
]

# What an optimizer, a loop or an objective keeps beside the parameters; never taken from an initial checkpoint.
_TRAINING_STATE = re.compile(
    r"(^|/)(global_step|(adam|lamb)_[mv]|Adam(_1)?|beta[12]_power|loss_scale|(good|skipped)_steps"
    r"|distillation_projection)$"
)


class InitReport(NamedTuple):
    """What `load_init_checkpoint` did, by name.

    Attributes:
      prefix: the checkpoint.
      loaded: variables that took their value from it.
      missing: variables it does not hold; they keep their initial values.
      unexpected: its tensors that the model has no variable for; not used.
      training_state: its optimizer slots and step counters; not used, because a new run starts its own.
    """

    prefix: str
    loaded: list[str]
    missing: list[str]
    unexpected: list[str]
    training_state: list[str]

    def summary(self) -> str:
        """Returns a block of lines for the log."""
        lines = [f"initial checkpoint {self.prefix}: {len(self.loaded)} variables loaded"]
        for names, meaning in (
            (self.missing, "not in it, keep their initial values"),
            (self.unexpected, "in it without a place in this model, not used"),
            (self.training_state, "of optimizer state and counters, not used"),
        ):
            if names:
                lines.append(f"  {len(names)} {meaning}: {_some(names)}")
        return "\n".join(lines)


def is_training_state(name: str) -> bool:
    """Whether a tensor of this name is an optimizer slot or a step counter, not a parameter."""
    return bool(_TRAINING_STATE.search(name))


def resolve_prefix(path: str, flag: str = "--init_checkpoint") -> str:
    """Returns the checkpoint that a user's path means.

    Args:
      path: a prefix, one of the checkpoint's files, or a folder with a `checkpoint` state file.
      flag: the flag the path came from, for messages.

    Raises:
      FileNotFoundError: if there is no checkpoint; the message says what lies there instead.
    """
    prefix = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path)
    if tf.io.gfile.isdir(path):
        prefix = _prefix_in_folder(path, flag)
    if tf.io.gfile.exists(prefix + ".index"):
        return prefix
    if path.endswith((".safetensors", ".bin", ".pt")):
        raise FileNotFoundError(
            f"{flag}={path}: not a TensorFlow checkpoint; convert its folder with convert_checkpoint.py"
        )
    raise FileNotFoundError(f"{flag}={path}: no such checkpoint ({prefix}.index does not exist)")


def _prefix_in_folder(folder: str, flag: str) -> str:
    state = read_state_file(folder)
    if state:
        return os.path.join(folder, state[0])
    if tf.io.gfile.exists(os.path.join(folder, "config.json")):
        raise FileNotFoundError(
            f"{flag}={folder}: looks like a HuggingFace folder; convert it first with "
            f"convert_checkpoint.py --hf_dir={folder} --output_dir=..."
        )
    found = sorted(name[:-6] for name in tf.io.gfile.listdir(folder) if name.endswith(".index"))
    advice = f"name one of its checkpoints: {_some(found)}" if found else "it holds no checkpoint"
    raise FileNotFoundError(f"{flag}={folder}: a folder without a `checkpoint` file; {advice}")


def read_names_and_shapes(path: str, flag: str = "--init_checkpoint") -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor of a checkpoint, by name.

    Args:
      path: see `resolve_prefix`.
      flag: the flag the path came from, for messages.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if its index is damaged.
    """
    return bundle_shapes(open_bundle(resolve_prefix(path, flag)))


def load_init_checkpoint(
    path: str, variables: Mapping[str, object], flag: str = "--init_checkpoint"
) -> InitReport:
    """Gives a model's variables the values of a checkpoint, as `init_checkpoint` of the original does.

    Args:
      path: see `resolve_prefix`.
      variables: the model's parameters (tf or Keras variables), by checkpoint name.
      flag: the flag the path came from, for messages.

    Returns:
      What was loaded and what was not.

    Raises:
      FileNotFoundError: if there is no checkpoint.
      ValueError: if nothing matches, a shape differs, a part of the encoder is missing, or the file is damaged.
        No variable has changed then.
    """
    prefix = resolve_prefix(path, flag)
    reader = open_bundle(prefix)
    shapes = bundle_shapes(reader)
    report = _compare(prefix, shapes, variables)
    _check_names(report, shapes, flag)
    _check_shapes(report.loaded, shapes, variables, f"{flag}={path}")
    values = {name: read_tensor(reader, name, prefix) for name in report.loaded}
    for name, value in values.items():
        assign(variables[name], value)
    return report


def _compare(prefix: str, shapes: Mapping, variables: Mapping) -> InitReport:
    unexpected = sorted(set(shapes) - set(variables))
    return InitReport(
        prefix=prefix,
        loaded=[name for name in variables if name in shapes],
        missing=[name for name in variables if name not in shapes],
        unexpected=[name for name in unexpected if not is_training_state(name)],
        training_state=[name for name in unexpected if is_training_state(name)],
    )


def _check_names(report: InitReport, shapes: Mapping, flag: str) -> None:
    if not report.loaded:
        tracked = any(name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") for name in shapes)
        kind = "it is an object-based checkpoint of TensorFlow 2" if tracked else "it holds"
        raise ValueError(
            f"{flag}={report.prefix}: no variable of the model is in the checkpoint; "
            f"the model has {_some(report.missing)}, {kind} {_some(sorted(shapes))}"
        )
    encoder = [n for n in report.missing if n.startswith("bert/") and "/pooler/" not in n]
    if encoder and any(name.startswith("bert/") for name in report.loaded):
        raise ValueError(
            f"{flag}={report.prefix}: {len(encoder)} variables of the encoder are not in the checkpoint "
            f"({_some(encoder)}); use the bert_config.json it was trained with"
        )


def _check_shapes(names: list[str], shapes: Mapping, variables: Mapping, source: str) -> None:
    different = [name for name in names if shapes[name] != tuple(variables[name].shape)]
    if not different:
        return
    name = different[0]
    others = f" ({len(different) - 1} more differ)" if different[1:] else ""
    raise ValueError(
        f"{source}: {name} is {list(shapes[name])} in the checkpoint and "
        f"{list(variables[name].shape)} in the model{others}; {_likely_cause(name)}"
    )


def _likely_cause(name: str) -> str:
    if name in ("bert/embeddings/word_embeddings", "cls/predictions/output_bias"):
        return "vocab_size is of another vocabulary: use the checkpoint's bert_config.json and vocab.txt"
    if name == "bert/embeddings/position_embeddings":
        return "max_position_embeddings differs: use the checkpoint's bert_config.json"
    if name == "bert/embeddings/token_type_embeddings":
        return "type_vocab_size differs: use the checkpoint's bert_config.json"
    if name in ("output_weights", "output_bias"):
        return (
            "it was fine-tuned with another number of labels: start from the pre-trained checkpoint"
        )
    return "use the bert_config.json the checkpoint was trained with"


def _some(names: list[str], count: int = 3) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > count else ""
    return ", ".join(names[:count]) + more
