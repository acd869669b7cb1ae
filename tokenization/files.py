"""Files of text, local ones without TensorFlow; a path like gs://bucket/name goes through `tf.io.gfile`."""

import glob
import os
from collections.abc import Iterator


def match_files(patterns: str, flag: str = "input_file") -> list[str]:
    """Returns the files that a comma-separated list of names and globs stands for: in its order, in a glob by name.

    Args:
      patterns: names and globs.
      flag: where they come from, for messages.

    Raises:
      FileNotFoundError: nothing matches one of the patterns.
      IsADirectoryError: a match is a folder.
    """
    files = []
    for pattern in patterns.split(","):
        matches = sorted(_gfile().glob(pattern) if _is_remote(pattern) else glob.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"--{flag}: no file matches {pattern!r}: check the path")
        files += matches
    for path in files:
        if _gfile().isdir(path) if _is_remote(path) else os.path.isdir(path):
            raise IsADirectoryError(f"--{flag}: {path} is a folder: name its files, as in {path}/*")
    return files


def read_lines(path: str) -> Iterator[str]:
    r"""Yields the lines of a UTF-8 file as the original's reader does: they end at "\n" only, every "\r" is dropped.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a line is not UTF-8; names the file and the offset of the first bad byte.
    """
    offset = 0
    with _open(path, "rb") as file:
        for data in file:
            line = _decode(data, path, offset)
            if line:  # a file may end in a lone "\r"
                yield line.removesuffix("\n")
            offset += len(data)


def _decode(data: bytes, path: str, offset: int) -> str:
    # The "\r" go before the bytes are decoded, in this order also in the original's reader.
    try:
        return data.replace(b"\r", b"").decode("utf-8")
    except UnicodeDecodeError as error:
        kept = [place for place, byte in enumerate(data) if byte != ord("\r")]
        bad = kept[error.start]
        raise ValueError(
            f"{path} is not UTF-8: byte {data[bad]:#04x} at byte offset {offset + bad} ({error.reason}): "
            "save it as UTF-8"
        ) from None


def prepare_output(path: str) -> None:
    """Makes the folder of a file that will be written later; fails now if the writing would.

    Raises:
      OSError: the folder cannot be written, or `path` is itself a folder; names it.
    """
    folder = os.path.dirname(path)
    if _is_remote(path):
        _gfile().makedirs(folder)
        return
    os.makedirs(folder or ".", exist_ok=True)
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder: give the name of a file")
    if not os.access(folder or ".", os.W_OK):
        raise PermissionError(f"no permission to write into {folder or os.getcwd()}")


def write_text(path: str, text: str) -> None:
    """Writes a file under a temporary name and renames it when it is whole."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with _open(temporary, "wb") as file:
        file.write(text.encode("utf-8"))
    if _is_remote(path):
        _gfile().rename(temporary, path, overwrite=True)
    else:
        os.replace(temporary, path)


def _open(path: str, mode: str):
    if not _is_remote(path):
        try:
            return open(path, mode)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} does not exist") from None
    if mode == "rb" and not _gfile().exists(path):
        raise FileNotFoundError(f"{path} does not exist")
    return _gfile().GFile(path, mode)


def _is_remote(path: str) -> bool:
    return "://" in str(path)


def _gfile():
    import tensorflow as tf

    return tf.io.gfile
