"""TF1 bundles: the two files in which the original keeps its tensors, each found by its name.

A bundle is a prefix (`bert_model.ckpt`, `model.ckpt-1000`) with `<prefix>.index` and
`<prefix>.data-00000-of-00001`; a `checkpoint` file beside them names the newest.
"""

import os
import re
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from absl import logging

_READ_ERRORS = (tf.errors.OpError, IndexError, RuntimeError, ValueError)


def read_bundle(prefix: str) -> dict[str, np.ndarray]:
    """Returns every tensor of a checkpoint, by name.

    Raises:
      ValueError: naming the file, if the checkpoint is missing or damaged.
    """
    return dict(_tensors(prefix))


def verify_bundle(prefix: str) -> str | None:
    """Reads every tensor (checksums are compared only then); returns what is wrong, or None."""
    try:
        for _ in _tensors(prefix):
            pass
    except ValueError as error:
        return str(error)
    return None


def write_bundle(prefix: str, tensors: Mapping[str, object]) -> None:
    """Writes a checkpoint; it appears whole or not at all, and is on the disk when this returns.

    TensorFlow writes both files under temporary names and renames them, the index last; it never syncs, so a power
    cut could keep the index and lose the data. Local files are therefore synced here.

    Args:
      prefix: the checkpoint to write.
      tensors: variables (of tf or Keras, distributed ones too) or arrays, by name.

    Raises:
      ValueError: see `check_path`.
      OSError: if it cannot be written (disk full, no permission); what was written of it is removed.
    """
    check_path(prefix)
    names = sorted(tensors)
    with tf.device("CPU:0"):
        values = [to_numpy(tensors[name]) for name in names]
        try:
            tf.raw_ops.SaveV2(
                prefix=prefix,
                tensor_names=names,
                shape_and_slices=[""] * len(names),
                tensors=values,
            )
        except (tf.errors.OpError, IndexError) as error:
            _remove_unfinished(prefix)
            raise _not_written(prefix, error) from error
    try:
        for written in tf.io.gfile.glob(prefix + ".*"):
            sync(written)
        sync(os.path.dirname(prefix) or ".")
    except OSError as error:
        # Some disks are found to be full, or to be broken, only here.
        tf.io.gfile.remove(prefix + ".index")
        _remove_unfinished(prefix)
        raise _not_written(prefix, error) from error


def _not_written(prefix: str, error: Exception) -> OSError:
    return OSError(f"{prefix}: cannot write the checkpoint: {_one_line(error)}")


def _remove_unfinished(prefix: str) -> None:
    left = tf.io.gfile.glob(prefix + ".*.tempstate*")
    if not tf.io.gfile.exists(prefix + ".index"):
        left += tf.io.gfile.glob(prefix + ".data-*-of-*")
    for path in dict.fromkeys(left):
        tf.io.gfile.remove(path)


def read_state_file(folder: str) -> list[str]:
    """Returns the prefixes that the `checkpoint` file of a folder names, the latest first, without their folders.

    Paths in it may be absolute or lead elsewhere (the folder was moved, or the file is hostile), so only the last
    part of each counts. An unreadable state file is reported and names nothing.
    """
    state = _read_state(folder)
    if state is None:
        return []
    older = reversed(state.all_model_checkpoint_paths)
    names = [os.path.basename(name) for name in (state.model_checkpoint_path, *older)]
    return list(dict.fromkeys(names))


def read_state_times(folder: str) -> dict[str, float]:
    """Returns when the checkpoints that the `checkpoint` file names were written, in seconds since the epoch.

    Those without a time are left out: `tf.train.Saver` writes none.
    """
    state = _read_state(folder)
    if state is None:
        return {}
    names = map(os.path.basename, state.all_model_checkpoint_paths)
    return dict(zip(names, state.all_model_checkpoint_timestamps, strict=False))


def _read_state(folder: str):
    path = os.path.join(folder, "checkpoint")
    if not tf.io.gfile.exists(path):
        return None
    try:
        state = tf.train.get_checkpoint_state(folder)
    except _READ_ERRORS as error:
        logging.warning("%s is not readable: %s", path, _one_line(error))
        return None
    if state is None:
        logging.warning("%s is not readable: not a checkpoint state file", path)
    return state


def to_numpy(variable) -> np.ndarray:
    """Returns the value of a variable, tensor or array; of a distributed variable, its first copy."""
    value = getattr(variable, "value", variable)
    value = value() if callable(value) else value
    return np.asarray(getattr(value, "values", (value,))[0])


def assign(variable, value: np.ndarray) -> None:
    """Sets a variable, all copies of a distributed one, to a value of the same shape."""
    variable.assign(value.astype(tf.as_dtype(variable.dtype).as_numpy_dtype))


def sync(path: str) -> None:
    """Forces a local file or folder to the disk; remote stores (`gs://`) do so when a file is closed."""
    if "://" in path:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: str, text: str) -> None:
    """Writes a small file; at any moment the old one is on the disk or the new one, whole.

    Raises:
      OSError: if it cannot be written; the old one stays then.
    """
    part = f"{path}.tmp-{os.getpid()}"
    try:
        with tf.io.gfile.GFile(part, "w") as file:
            file.write(text)
        sync(part)
        tf.io.gfile.rename(part, path, overwrite=True)
        sync(os.path.dirname(path) or ".")
    except (tf.errors.OpError, OSError) as error:
        if tf.io.gfile.exists(part):
            tf.io.gfile.remove(part)
        raise OSError(f"{path}: cannot be written: {_one_line(error)}") from error


def check_path(path: str) -> None:
    """Raises ValueError for a path under which TensorFlow writes checkpoints that it then cannot read."""
    if re.search(r"[\[\\]", path):
        raise ValueError(f"{path}: TensorFlow reads no checkpoint whose path has a [ or \\ in it")


def open_bundle(prefix: str):
    """Returns a reader of a bundle.

    Raises:
      ValueError: naming the file, if it is missing or its index is damaged.
    """
    check_path(prefix)
    try:
        return tf.train.load_checkpoint(prefix)
    except _READ_ERRORS as error:
        raise ValueError(f"{prefix}: cannot read the checkpoint: {_one_line(error)}") from error


def bundle_shapes(reader) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every tensor of an open bundle, by name."""
    return {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}


def read_tensor(reader, name: str, prefix: str) -> np.ndarray:
    """Returns one tensor of an open bundle; ValueError if its checksum is wrong or data is missing."""
    try:
        return reader.get_tensor(name)
    except _READ_ERRORS as error:
        raise ValueError(
            f"{prefix}: the checkpoint is damaged at {name}: {_one_line(error)}"
        ) from error


def _tensors(prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    reader = open_bundle(prefix)
    for name in sorted(bundle_shapes(reader)):
        yield name, read_tensor(reader, name, prefix)


def _one_line(error: Exception) -> str:
    """Returns an error's message without line breaks and without TensorFlow's names of nodes."""
    text = re.sub(r"\{\{.*?\}\}|\[Op:\w+\]", "", str(getattr(error, "message", None) or error))
    return " ".join(text.split())
