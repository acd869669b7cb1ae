"""Results on the disk from which a killed run goes on: each is a folder that appears when it is whole."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from pretraining.token_documents import TokenDocuments


@contextlib.contextmanager
def appearing(folder: str) -> Iterator[str]:
    """Gives a temporary folder, which gets its name when the body is done; parents are made."""
    temporary = f"{folder}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    try:
        yield temporary
        # A process of the run before may have made it in the meantime.
        if not os.path.exists(folder):
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: str) -> None:
    """Removes what killed processes left under a folder without a final name."""
    for parent, names, _ in os.walk(folder):
        for name in [name for name in names if name.endswith(".tmp")]:
            shutil.rmtree(os.path.join(parent, name))
            names.remove(name)


def write_json(path: str, value: Any) -> None:
    """Writes a file that is there only when it is whole."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w") as file:
        json.dump(value, file)
    os.replace(temporary, path)


def read_json(path: str) -> Any:
    """Returns what `write_json` wrote, None if there is no such file."""
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def save_arrays(folder: str, **arrays: np.ndarray) -> None:
    """Writes arrays under their names; raises OSError that names the file."""
    for name, array in arrays.items():
        path = os.path.join(folder, f"{name}.npy")
        try:
            np.save(path, array)
        except OSError as error:  # of a full disk NumPy says only how many numbers it wrote
            raise OSError(f"{path} cannot be written: {error}") from error


def load_array(folder: str, name: str) -> np.ndarray:
    """Returns an array of `save_arrays`, not empty, of which only the parts that are used are read."""
    return np.load(os.path.join(folder, f"{name}.npy"), mmap_mode="r")


def save_documents(folder: str, documents: TokenDocuments) -> None:
    """Writes documents for `load_documents`."""
    save_arrays(folder, **documents._asdict())


def load_documents(folder: str) -> TokenDocuments:
    """Returns documents, at least one, of which only the parts that are used are read."""
    return TokenDocuments(*(load_array(folder, name) for name in TokenDocuments._fields))
