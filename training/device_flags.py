"""Flags that say where a script computes; names of the original, but for --dtype."""

import tensorflow as tf
from absl import flags

from training.strategy import create_strategy

FLAGS = flags.FLAGS

_TPU_FLAGS = ("use_tpu", "tpu_name", "tpu_zone", "gcp_project", "master", "num_tpu_cores")


def define_device_flags(dtypes: list[str], dtype_help: str) -> None:
    """Defines the flags of devices and precision; `dtypes` are the precisions to choose from, the default first."""
    flags.DEFINE_enum("dtype", dtypes[0], dtypes, dtype_help)
    flags.DEFINE_bool("use_tpu", False, "Use a TPU; otherwise all local GPUs, or the CPU.")
    flags.DEFINE_string("tpu_name", None, "Name of the Cloud TPU, or 'local' on a TPU VM.")
    flags.DEFINE_string("tpu_zone", None, "Zone of the named Cloud TPU.")
    flags.DEFINE_string("gcp_project", None, "Project of the named Cloud TPU.")
    flags.DEFINE_string("master", None, "Address of the TPU worker, instead of --tpu_name.")
    flags.DEFINE_integer(
        "num_tpu_cores",
        None,
        "TPU cores that the run expects; it stops if the TPU has another number.",
    )


def device_strategy() -> tf.distribute.Strategy:
    """Returns the strategy over the devices that the flags name; errors as of `create_strategy`."""
    return create_strategy(**{name: FLAGS[name].value for name in _TPU_FLAGS})
