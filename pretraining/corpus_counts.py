"""What a conversion of a corpus read, kept and left out."""

import collections
import dataclasses
from typing import Any


@dataclasses.dataclass
class CorpusCounts:
    """Counts of one conversion.

    Attributes:
      files: read so far.
      read: documents found: pages, books, JSON lines, records. The sum of `kept` and `dropped`.
      kept: documents written.
      sentences: written.
      characters: written, without line feeds.
      dropped: documents that are not written, by reason.
      removed: what was taken out of documents or passed over beside them, by kind.
    """

    files: int = 0
    read: int = 0
    kept: int = 0
    sentences: int = 0
    characters: int = 0
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    removed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def __str__(self) -> str:
        kept = (
            f"kept {self.kept} of {self.read} documents from {self.files} file(s): "
            f"{self.sentences} sentences, {self.characters} characters"
        )
        return kept + "".join(
            f"; {name}: "
            + ", ".join(f"{number} {what}" for what, number in sorted(counter.items()))
            for name, counter in (("dropped", +self.dropped), ("removed", +self.removed))
            if counter
        )

    def keep(self, document: list[str]) -> None:
        """Counts a document, its sentences, that is read and written."""
        self.read += 1
        self._count(document, 1)

    def drop(self, reason: str) -> None:
        """Counts a document that is read and left out."""
        self.read += 1
        self.dropped[reason] += 1

    def take_back(self, document: list[str], reason: str) -> None:
        """Counts a document as dropped that was counted as kept."""
        self.dropped[reason] += 1
        self._count(document, -1)

    def _count(self, document: list[str], times: int) -> None:
        self.kept += times
        self.sentences += times * len(document)
        self.characters += times * sum(map(len, document))

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts for JSON; kinds without any are left out."""
        counters = {
            name: dict(sorted((+getattr(self, name)).items())) for name in ("dropped", "removed")
        }
        return {**vars(self), **counters}
