"""A long text as windows that overlap, of which each piece counts in one (`_check_is_max_context` of the original's
run_squad.py)."""

from typing import NamedTuple

import numpy as np


class Windows(NamedTuple):
    """The windows of a document: `room` pieces each, the last one what is left, `step` from one to the next."""

    num_pieces: int
    room: int
    step: int  # 1 to room

    @property
    def count(self) -> int:
        """Their number: the last one is the first that reaches the end; none for a document without pieces."""
        if not self.num_pieces:
            return 0
        return 1 + -(min(0, self.room - self.num_pieces) // self.step)

    def bounds(self, index: int) -> tuple[int, int]:
        """Returns the first piece of a window, and the one after its last."""
        start = index * self.step
        return start, min(start + self.room, self.num_pieces)

    def overlapping(self, index: int) -> range:
        """Returns the windows that share a piece with this one, itself among them."""
        start, end = self.bounds(index)
        first = max(0, (start - self.room) // self.step + 1)
        return range(first, min((end - 1) // self.step + 1, self.count))

    def max_context(self, index: int) -> np.ndarray:
        """Returns bool [end - start]: True where no other window shows more context on both sides of the piece.

        The score is the shorter of both sides and 0.01 times the length of the window, in float64 as in the original
        because rounding may decide; of equal scores the first window's counts.
        """
        start, end = self.bounds(index)
        others = self.overlapping(index)
        starts = np.arange(others.start, others.stop)[:, None] * self.step
        ends = np.minimum(starts + self.room, self.num_pieces)
        pieces = np.arange(start, end)
        shorter_side = np.minimum(pieces - starts, ends - 1 - pieces)  # negative outside the window
        scores = np.where(shorter_side >= 0, shorter_side + 0.01 * (ends - starts), -np.inf)
        return others.start + scores.argmax(0) == index
