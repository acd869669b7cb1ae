"""Which documents of a corpus say the same as an earlier one.

MinHash (Broder 1997) with one permutation (Li et al. 2012; empty bins are filled by rotation: Shrivastava and Li 2014),
then locality-sensitive hashing in bands. A document is the set of its runs of 16 letters and digits, which needs no
words and so works for every language. Sketches lie in a temporary file, 520 bytes a document.
"""

import hashlib
import re
import tempfile
from collections.abc import Iterator

import numpy as np

BINS = 128
BAND_BINS = 4  # 32 bands of 4: of pairs as similar as 0.6 more than 98 % meet in one, of 0.8 all
RUN = 16
CHARACTERS_AT_ONCE = 1 << 20
PAIRS_AT_ONCE = 1 << 16

_NO_LETTERS = re.compile(r"[\W_]+")
_EMPTY = np.uint32(0xFFFFFFFF)
_BASE = 0x9E3779B97F4A7C15
_ROW = np.dtype([("text", "<u8"), ("sketch", "<u4", BINS)])


def sketch(text: str) -> np.ndarray:
    """Returns the sketch of a text: two of them agree in about the share of runs that the texts have in common.

    Returns:
      uint32 [BINS]. The least hash of the runs that fall into each bin.
    """
    letters = _NO_LETTERS.sub("", text.lower())
    codes = np.frombuffer(letters.encode("utf-32-le"), np.uint32)
    codes = np.pad(codes, (0, max(0, RUN - len(codes))))
    bins = np.full(BINS, _EMPTY)
    for start in range(0, len(codes) - RUN + 1, CHARACTERS_AT_ONCE):
        hashes = _hash_runs(codes[start : start + CHARACTERS_AT_ONCE + RUN - 1])
        # An empty bin, which takes the value of the next that is filled, is told by its value: no hash may be it.
        least = np.minimum(
            (hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32), _EMPTY - np.uint32(1)
        )
        np.minimum.at(bins, (hashes >> np.uint64(57)).astype(np.intp), least)
    filled = np.flatnonzero(bins != _EMPTY)
    return bins[filled[np.searchsorted(filled, np.arange(BINS)) % len(filled)]]


def _hash_runs(codes: np.ndarray) -> np.ndarray:
    """Returns a hash of every run of `RUN` code points: uint64 [len(codes) - RUN + 1]."""
    hashes, width = codes.astype(np.uint64), 1
    while width < RUN:
        factor = np.uint64(pow(_BASE, width, 1 << 64))
        hashes = hashes[:-width] * factor + hashes[width:]
        width *= 2
    # A polynomial leaves its low bits poorly mixed; this is the finalizer of splitmix64.
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(31))


class DuplicateFinder:
    """Keeps a sketch of every document, and then finds those that an earlier one makes superfluous.

    Finding takes about 80 bytes of memory a document, and 32 more for each pair of similar ones.

    Args:
      similarity: share of runs in common, of all runs of two documents, from which on they count as the same; it is
        estimated, with a standard error of 0.04. None for documents that are equal to the letter only.
      folder: where the temporary file lies; None for the system's.
    """

    def __init__(self, similarity: float | None, folder: str | None = None):
        self._similarity = similarity
        self._file = tempfile.TemporaryFile(dir=folder)
        self._number = 0

    def __enter__(self) -> "DuplicateFinder":
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def add(self, text: str) -> None:
        """Adds the next document."""
        row = np.zeros((), _ROW)
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        row["text"] = np.frombuffer(digest, "<u8")[0]
        if self._similarity is not None:
            row["sketch"] = sketch(text)
        self._file.write(row.tobytes())
        self._number += 1

    def find(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns which documents are duplicates, in the order in which they were added.

        Returns:
          bool [N]. The document is equal to an earlier one.
          bool [N]. It is not, but similar to an earlier one that is kept.
        """
        equal, similar = np.zeros((2, self._number), bool)
        if not self._number:
            return equal, similar
        self._file.flush()
        rows = np.memmap(self._file, _ROW, "r")
        first = np.unique(rows["text"], return_index=True)[1]
        equal[:] = True
        equal[first] = False
        if self._similarity is not None:
            pairs = np.empty((0, 2), np.int64)
            for found in self._similar_pairs(rows["sketch"]):
                pairs = np.unique(np.concatenate([pairs, found]), axis=0)
            for later, earlier in zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True):
                if not (equal[later] or equal[earlier] or similar[earlier]):
                    similar[later] = True
        return equal, similar

    def _similar_pairs(self, sketches: np.ndarray) -> Iterator[np.ndarray]:
        """Yields pairs (later, earlier) that are similar: int64 [P, 2]; each document meets the first of its bucket.

        Two that are alike share buckets that have nobody before them: what they have in common with nobody else.
        """
        for start in range(0, BINS, BAND_BINS):
            keys = _mix(sketches[:, start : start + BAND_BINS])
            order = np.argsort(keys, kind="stable")
            ordered = keys[order]
            begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
            firsts = np.repeat(order[begins], np.diff(np.r_[begins, len(order)]))
            meets = np.flatnonzero(firsts != order)
            for chosen in np.array_split(meets, len(meets) // PAIRS_AT_ONCE + 1):
                pairs = np.stack([order[chosen], firsts[chosen]], axis=1)
                agree = (sketches[pairs[:, 0]] == sketches[pairs[:, 1]]).mean(axis=1)
                yield pairs[agree >= self._similarity]


def _mix(parts: np.ndarray) -> np.ndarray:
    """Returns one key for the bins of a band: uint32 [N, BAND_BINS] -> uint64 [N]."""
    keys = np.zeros(len(parts), np.uint64)
    for column in range(parts.shape[1]):
        keys = (keys ^ parts[:, column]) * np.uint64(_BASE)
        keys ^= keys >> np.uint64(32)
    return keys
