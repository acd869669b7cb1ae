"""The phases of pre-training: most steps on short sequences, the last ones on long ones (Devlin et al. 2019, A.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from training.record_files import ScannedFile
from training.schedule import Schedule


class Phase(NamedTuple):
    """Training on records of one length.

    Attributes:
      files: the records.
      spec: their schema.
      batch_size: sequences in an update.
      gradient_accumulation_steps: micro-batches of a batch.
      schedule: the learning rate, of this phase or of the whole run; the power of the decay is the optimizer's.
      first_step: updates that the run makes before this phase.
      last_step: updates that the run has made at its end.
    """

    files: list[ScannedFile]
    spec: dict[str, tf.io.FixedLenFeature]
    batch_size: int
    gradient_accumulation_steps: int
    schedule: Schedule
    first_step: int
    last_step: int

    @property
    def max_seq_length(self) -> int:
        """Length of an input, S."""
        return self.spec["input_ids"].shape[0]

    @property
    def predictions(self) -> int:
        """Masked tokens that a record has room for, P."""
        return self.spec["masked_lm_ids"].shape[0]


def remaining(phases: Sequence[Phase], step: int) -> Sequence[Phase]:
    """Returns the phases that have updates to make after `step` of them; of a complete run the last one."""
    return [phase for phase in phases if step < phase.last_step] or phases[-1:]


def extra_steps(phases: Sequence[Phase], phase: Phase) -> float:
    """Returns by how many steps of this phase the later ones take longer than their number says; by their tokens."""
    tokens = phase.batch_size * phase.max_seq_length
    later = [other for other in phases if other.first_step >= phase.last_step]
    return sum(
        (other.last_step - other.first_step)
        * (other.batch_size * other.max_seq_length / tokens - 1.0)
        for other in later
    )
