"""Documents as flat arrays of token ids: what the builder keeps, cuts and shuffles.

Shapes: T tokens, N sentences, D documents.
"""

from typing import NamedTuple

import numpy as np


class TokenDocuments(NamedTuple):
    """Documents of sentences of token ids, end to end; no sentence and no document is empty.

    Attributes:
      tokens: uint16 or int32 [T]. Token ids, which need no more than 16 bits in most vocabularies.
      sentence_ends: int64 [N]. For each sentence the number of tokens up to its end; the last is T.
      document_ends: int64 [D]. For each document the number of sentences up to its end; the last is N.
    """

    tokens: np.ndarray
    sentence_ends: np.ndarray
    document_ends: np.ndarray

    @property
    def num_documents(self) -> int:
        return len(self.document_ends)
