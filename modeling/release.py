"""A folder as the original's releases are: bert_model.ckpt.*, bert_config.json, vocab.txt."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from modeling.bundle import verify_bundle, write_bundle
from modeling.config import BertConfig


def check_new_folder(folder: str) -> None:
    """Raises ValueError unless the folder of `--output_dir` is empty or not there."""
    if not tf.io.gfile.exists(folder):
        return
    if not tf.io.gfile.isdir(folder) or tf.io.gfile.listdir(folder):
        raise ValueError(
            f"--output_dir={folder} exists and is not an empty folder; name another one"
        )


def write_release(
    folder: str, tensors: Mapping[str, np.ndarray], config: BertConfig, vocabulary: bytes
) -> None:
    """Writes the three files beside the folder and renames, so that a folder of that name is always a whole one.

    Args:
      folder: see `check_new_folder`.
      tensors: parameters in the original's names.
      config: goes into `bert_config.json`.
      vocabulary: content of `vocab.txt`, UTF-8.

    Raises:
      OSError: if it cannot be written, or does not read back.
    """
    folder = folder.rstrip("/")
    part = f"{folder}.part-{os.getpid()}"
    try:
        tf.io.gfile.makedirs(part)
        write_bundle(f"{part}/bert_model.ckpt", tensors)
        for name, content in (
            ("bert_config.json", config.to_json_string().encode()),
            ("vocab.txt", vocabulary),
        ):
            with tf.io.gfile.GFile(f"{part}/{name}", "wb") as file:
                file.write(content)
        wrong = verify_bundle(f"{part}/bert_model.ckpt")
        if wrong:
            raise OSError(f"what was written does not read back: {wrong}")
        _publish(part, folder)
    except tf.errors.OpError as error:
        raise OSError(f"--output_dir={folder}: {error.message}") from error
    finally:
        if tf.io.gfile.exists(part):
            tf.io.gfile.rmtree(part)


def _publish(part: str, folder: str) -> None:
    if "://" in folder:
        tf.io.gfile.rename(part, folder)
    else:
        os.rename(part, folder)  # takes the place of an empty folder, and of nothing else
