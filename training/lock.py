"""One process per output directory: a lock that vanishes with the process, even when it is killed."""

import os
import socket

from absl import logging

try:
    import fcntl
except ImportError:  # Windows has no flock: two processes in one directory are not noticed there.
    fcntl = None

# Open files hold the locks until the process ends; by real path, so that a process never locks out itself.
_HELD = {}


def lock_directory(folder: str) -> None:
    """Makes this process the only one that writes to a local directory; remote ones (`gs://`) have no lock.

    Raises:
      OSError: naming the other process, if one holds the lock.
    """
    key = os.path.realpath(folder)
    if fcntl is None or "://" in folder or key in _HELD:
        return
    # Opened for appending: the holder's name must survive until the lock is ours.
    file = open(os.path.join(folder, ".lock"), "a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise OSError(
            f"--output_dir={folder} is in use by {holder}; wait for it or choose another --output_dir"
        ) from error
    except OSError as error:
        logging.warning("%s cannot be locked (%s): start no second run in it", folder, error)
    file.truncate(0)
    print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
    _HELD[key] = file
