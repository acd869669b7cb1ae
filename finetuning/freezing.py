"""Training of the upper layers alone: the embeddings, or they and the first encoder blocks, stay as they are."""

from modeling.encoder import BertModel

EMBEDDINGS = "embeddings"


def frozen_blocks(text: str | None, num_blocks: int) -> int | None:
    """Returns how many encoder blocks are frozen, with the embeddings below them; None: nothing is.

    Args:
      text: of the flag: "embeddings", a number of blocks, or None.
      num_blocks: that the model has.

    Raises:
      ValueError: the model has not so many, or the text is none of these.
    """
    if text is None:
        return None
    if text == EMBEDDINGS:
        return 0
    if text.isdecimal() and 1 <= int(text) <= num_blocks:
        return int(text)
    raise ValueError(
        f"--freeze={text}: give {EMBEDDINGS}, or a number of encoder blocks from 1 to {num_blocks}"
    )


def freeze(bert: BertModel, blocks: int | None) -> None:
    """Takes the embeddings and the first blocks out of training; see `frozen_blocks`.

    They get no update and no decay, no slots of the optimizer, and have no share in the gradient's norm. The backward
    pass ends above them, since nothing wants what it would compute. Dropout is as in any training.
    """
    if blocks is None:
        return
    for layer in (bert.embeddings, *bert.blocks[:blocks]):
        layer.trainable = False
