"""More words for a trained model: the tables that have a row for each WordPiece.

Shapes: V vocabulary, H hidden.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from modeling.bundle import bundle_shapes, open_bundle, read_tensor
from modeling.checkpoint import is_training_state, resolve_prefix

EMBEDDINGS = "bert/embeddings/word_embeddings"
OUTPUT_BIAS = "cls/predictions/output_bias"


def read_parameters(path: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the parameters of a checkpoint, and the names of its optimizer slots and step counters.

    The latter are not read: they belong to a run with another vocabulary, and a new run starts its own.

    Args:
      path: see `resolve_prefix`.

    Raises:
      FileNotFoundError, ValueError: if there is no checkpoint, or it is damaged.
    """
    prefix = resolve_prefix(path)
    reader = open_bundle(prefix)
    names = sorted(bundle_shapes(reader))
    state = [name for name in names if is_training_state(name)]
    return {n: read_tensor(reader, n, prefix) for n in names if n not in state}, state


def add_words(
    tensors: Mapping[str, np.ndarray],
    pieces_of_rows: Mapping[int, Sequence[int]],
    old_size: int,
    new_size: int,
) -> dict[str, np.ndarray]:
    """Returns the tensors with rows for new words; a new row is the mean of the rows of its pieces.

    The same holds for the bias of the masked LM's output, if the checkpoint has that head.

    Args:
      tensors: parameters in the original's names.
      pieces_of_rows: row of a new word -> rows, before, of the pieces that stood for it.
      old_size: V of the tensors.
      new_size: V of the result, `old_size` or more; larger than every row.

    Raises:
      ValueError: a table is missing or not of `old_size`.
    """
    if EMBEDDINGS not in tensors:
        raise ValueError(f"--init_checkpoint has no {EMBEDDINGS}: it is no BERT of the original")
    result = dict(tensors)
    for name in (EMBEDDINGS, OUTPUT_BIAS):
        if name not in tensors:  # a fine-tuned model has no output bias
            continue
        table = tensors[name]
        if len(table) != old_size:
            raise ValueError(
                f"--init_checkpoint: {name} has {len(table)} rows, but the vocab_size of --bert_config_file is "
                f"{old_size}: they belong to different models"
            )
        grown = np.zeros([new_size, *table.shape[1:]], table.dtype)  # [V, H] or [V]
        grown[:old_size] = table
        for row, pieces in pieces_of_rows.items():
            grown[row] = table[list(pieces)].mean(axis=0, dtype=np.float64)
        result[name] = grown
    return result
