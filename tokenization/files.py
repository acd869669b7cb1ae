"""Files of text, local ones without TensorFlow; a path like gs://bucket/name goes through `tf.io.gfile`."""

import glob
import os


def match_files(patterns: str) -> list[str]:
    """Returns the files that a comma-separated list of names and globs stands for, in that order.

    Raises:
      FileNotFoundError: nothing matches one of the patterns.
    """
    files = []
    for pattern in patterns.split(","):
        matches = sorted(_gfile().glob(pattern) if _is_remote(pattern) else glob.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"no file matches {pattern!r}: check the path")
        files += matches
    return files


def read_bytes(path: str) -> bytes:
    """Returns what is in a file.

    Raises:
      FileNotFoundError: there is none, in one line that names it.
    """
    if _is_remote(path):
        if not _gfile().exists(path):
            raise FileNotFoundError(f"{path} does not exist")
        with _gfile().GFile(path, "rb") as file:
            return file.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None


def decode(data: bytes, path: str, dropped: bytes = b"") -> str:
    """Reads the bytes of a file as UTF-8.

    Args:
      data: all bytes of the file.
      path: its name, for the message.
      dropped: bytes that are deleted before anything else.

    Raises:
      ValueError: not UTF-8; names the file and the offset of the first bad byte.
    """
    try:
        return data.translate(None, dropped).decode("utf-8")
    except UnicodeDecodeError as error:
        kept = (i for i, byte in enumerate(data) if byte not in dropped)
        offset = next(i for n, i in enumerate(kept) if n == error.start)
        raise ValueError(
            f"{path} is not UTF-8: bad byte {data[offset]:#04x} at byte offset {offset}"
        ) from None


def write_text(path: str, text: str) -> None:
    """Writes a file under a temporary name and renames it when it is whole."""
    temporary = f"{path}.{os.getpid()}.tmp"
    if _is_remote(path):
        with _gfile().GFile(temporary, "wb") as file:
            file.write(text.encode("utf-8"))
        _gfile().rename(temporary, path, overwrite=True)
        return
    with open(temporary, "wb") as file:
        file.write(text.encode("utf-8"))
    os.replace(temporary, path)


def _is_remote(path: str) -> bool:
    return "://" in str(path)


def _gfile():
    import tensorflow as tf

    return tf.io.gfile
