"""Tasks in several processes, each with TensorFlow on one thread and without accelerators."""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import tensorflow as tf

Task = TypeVar("Task")
Result = TypeVar("Result")


class TaskPool:
    """Does tasks in processes of their own, or in this one if one is enough.

    The processes end with this one, even when it is killed. They are forked, so that they share the memory of
    TensorFlow's libraries, unless its runtime has started here: a fork would lack its threads.
    """

    def __init__(self, num_workers: int):
        self._num_workers = num_workers
        self._executor = None
        if num_workers == 1:
            _restrict_tensorflow()
            return
        forks = sys.platform == "linux" and not _runtime_has_started()
        self._executor = concurrent.futures.ProcessPoolExecutor(
            num_workers,
            multiprocessing.get_context("fork" if forks else "spawn"),
            initializer=_start_worker,
        )
        # The processes start now, before this one opens files that they would inherit.
        self._executor.submit(os.getpid).result()

    def __enter__(self) -> "TaskPool":
        return self

    def __exit__(self, *_) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Yields the results in the order of the tasks, of which few are taken before they are needed.

        Raises:
          OSError: a process was killed.
        """
        if not self._executor:
            yield from map(function, tasks)
            return
        pending = collections.deque()
        try:
            for task in tasks:
                pending.append(self._executor.submit(function, task))
                if len(pending) > self._num_workers + 1:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise OSError(
                "a worker process was killed, most likely because the memory is used up: "
                "give fewer --num_workers or less --memory_mb"
            ) from None


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _restrict_tensorflow()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _restrict_tensorflow() -> None:
    with contextlib.suppress(RuntimeError):  # the runtime has started
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _runtime_has_started() -> bool:
    threads = tf.config.threading.get_inter_op_parallelism_threads()
    try:
        tf.config.threading.set_inter_op_parallelism_threads(threads + 1)
    except RuntimeError:
        return True
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return False
