"""One process per output directory: a lock that vanishes with the process, even when it is killed."""

import contextlib
import os
import socket
import weakref

from absl import logging

try:
    import fcntl
except ImportError:  # Windows has no flock: two processes in one directory are not noticed there.
    fcntl = None

# Locks of this process by real path, so that it never locks out itself.
_HELD = weakref.WeakValueDictionary()


class DirectoryLock:
    """Holds the `.lock` file of a directory until it is garbage or the process ends."""

    def __init__(self, folder: str, flag: str):
        with _told(folder, flag):
            self._descriptor = os.open(_file_of(folder), os.O_RDWR | os.O_CREAT, 0o644)
        _take(self._descriptor, fcntl.LOCK_EX, folder, flag)
        with _told(folder, flag):
            os.ftruncate(self._descriptor, 0)
            os.write(
                self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode()
            )

    def __del__(self):
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def _file_of(folder):
    return os.path.join(folder, ".lock")


@contextlib.contextmanager
def _told(folder, flag):
    try:
        yield
    except OSError as error:
        raise OSError(f"--{flag}={folder} cannot be written to: {error.strerror}") from error


def _take(descriptor, kind, folder, flag) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 999).decode(errors="replace").strip()
        raise OSError(
            f"--{flag}={folder} is in use by {holder or 'another process'}; wait for it, or "
            f"choose another --{flag}"
        ) from error
    except OSError as error:
        logging.warning("%s cannot be locked (%s): start no second run in it", folder, error)


def lock_directory(folder: str, flag: str = "output_dir") -> DirectoryLock | None:
    """Makes this process the only one that writes to a directory, for as long as the result is referenced.

    Args:
      folder: the directory.
      flag: where its name comes from, for messages.

    Returns:
      The lock; None for a remote directory (`gs://`), which has none.

    Raises:
      OSError: naming the other process, if one holds the lock.
    """
    if fcntl is None or "://" in folder:
        return None
    key = os.path.realpath(folder)
    lock = _HELD.get(key) or DirectoryLock(folder, flag)
    _HELD[key] = lock
    return lock


def check_unlocked(folder: str) -> None:
    """Raises OSError, naming the other process, if one holds the lock of --output_dir; writes nothing."""
    if fcntl and os.path.isfile(_file_of(folder)):
        with open(_file_of(folder)) as file:
            _take(file.fileno(), fcntl.LOCK_SH, folder, "output_dir")
