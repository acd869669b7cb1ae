"""What the tasks of a build have in common."""

import collections
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pretraining.recipe import Recipe
from training.progress import reporting


class Job(NamedTuple):
    """What every task of a run has in common."""

    recipe: Recipe
    on_bad_utf8: str
    memory_mb: int
    work_dir: str

    def folder(self, *names: object) -> str:
        """Returns the path of a file or folder in the work folder."""
        return os.path.join(self.work_dir, *map(str, names))

    def has(self, *names: object) -> bool:
        """Returns whether a result is there."""
        return os.path.exists(self.folder(*names))


def total(counts: Iterable[Mapping[str, int]]) -> collections.Counter[str]:
    """Returns the sum of counts, by name."""
    found = collections.Counter()
    for some in counts:
        found.update(some)
    return found


def finish(results: Iterable, line: str) -> None:
    """Waits for all results; logs `line % number of results` every ten seconds."""
    collections.deque(reported(results, line), maxlen=0)


def reported(results: Iterable, line: str) -> Iterator:
    """Yields the results; logs `line % number of results` every ten seconds."""
    progress = _Progress(line)
    return reporting(progress.counted(results), progress)


class _Progress:
    def __init__(self, line: str):
        self._line = line
        self._done = 0

    def __str__(self) -> str:
        return self._line % self._done

    def counted(self, results: Iterable) -> Iterator:
        for self._done, result in enumerate(results, 1):
            yield result
