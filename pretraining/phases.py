"""The phases of pre-training: most steps on short sequences, the last ones on long ones (Devlin et al. 2019, A.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from modeling.config import BertConfig
from modeling.flops import Flops, pretraining_flops
from pretraining.masking import Masker
from training.batches import Augmentation
from training.record_files import ScannedFile
from training.schedule import Schedule


class Records(NamedTuple):
    """Records of one length.

    Attributes:
      files: where they are.
      spec: their schema.
      masker: hides tokens when they are read; None if they hold masks.
      next_sentence: whether they have next sentence labels.
    """

    files: list[ScannedFile]
    spec: dict[str, tf.io.FixedLenFeature]
    masker: Masker | None
    next_sentence: bool

    @property
    def max_seq_length(self) -> int:
        """Length of an input, S."""
        return self.spec["input_ids"].shape[0]

    @property
    def predictions(self) -> int:
        """Masked tokens that a record has room for, P."""
        if self.masker:
            return self.masker.max_predictions_per_seq
        return self.spec["masked_lm_ids"].shape[0]

    @property
    def unit(self) -> str:
        """What a record holds: a sequence, or a row of several."""
        return "row" if "sequence_starts" in self.spec else "sequence"

    @property
    def slots(self) -> int:
        """Sequences that a record has room for, K."""
        return self.spec["next_sentence_labels"].shape[0]

    def flops(self, config: BertConfig) -> Flops:
        """Returns the operations of the model for one record."""
        return pretraining_flops(config, self.max_seq_length, self.predictions, self.slots)

    @property
    def augmentation(self) -> Augmentation | None:
        """What is drawn when they are read."""
        return self.masker.augmentation(self.max_seq_length) if self.masker else None


class Phase(NamedTuple):
    """Training on records of one length.

    Attributes:
      records: what it reads.
      batch_size: records in an update.
      gradient_accumulation_steps: micro-batches of a batch.
      schedule: the learning rate, of this phase or of the whole run; the power of the decay is the optimizer's.
      first_step: updates that the run makes before this phase.
      last_step: updates that the run has made at its end.
    """

    records: Records
    batch_size: int
    gradient_accumulation_steps: int
    schedule: Schedule
    first_step: int
    last_step: int

    @property
    def tokens(self) -> int:
        """Tokens of an update, with padding."""
        return self.batch_size * self.records.max_seq_length


def remaining(phases: Sequence[Phase], step: int) -> Sequence[Phase]:
    """Returns the phases that have updates to make after `step` of them; of a complete run the last one."""
    return [phase for phase in phases if step < phase.last_step] or phases[-1:]


def extra_steps(phases: Sequence[Phase], phase: Phase) -> float:
    """Returns by how many steps of this phase the later ones take longer than their number says; by their tokens."""
    later = [other for other in phases if other.first_step >= phase.last_step]
    return sum(
        (other.last_step - other.first_step) * (other.tokens / phase.tokens - 1.0)
        for other in later
    )
