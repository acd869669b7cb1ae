"""LAMB, for batches of thousands of sequences (You et al. 2020, "Training BERT in 76 minutes", algorithm 2).

Each variable is one layer of the paper. It moves by Adam's bias-corrected update with the weight decay added, scaled to
the variable's own norm (the trust ratio, phi the identity) and then by the learning rate.

Two variants:

| | `Lamb`, the paper's | `NvidiaLamb` |
|---|---|---|
| gradients | as they are | clipped to global norm 1 before the moments |
| trust ratio | not for LayerNorm and bias | for every variable |
| decay of the rate | linear | square root of what is left of training |

Both leave LayerNorm and bias without weight decay, and average gradients into the first moment with 1 - beta_1. The
paper's column has the exclusions of its authors' program; the other one is NVIDIA's BERT for TensorFlow 2
(DeepLearningExamples), whose update is that of apex' FusedLAMB with `use_nvlamb`.
"""

import re

import keras
import tensorflow as tf

from training.optimizer import NOT_DECAYED, AdamWeightDecay, adam_direction


def trust_ratio(w: tf.Tensor, direction: tf.Tensor) -> tf.Tensor:
    """Returns the float32 scalar norm(w) / norm(direction), or 1 where one of them is 0."""
    norm, length = tf.norm(w), tf.norm(direction)
    return tf.where((norm > 0.0) & (length > 0.0), norm / length, 1.0)


def lamb_update(w, m, v, gradient, rate, decay, corrections, adapted=True):
    """Returns the new (w, m, v) of one variable; a pure function of float32 tensors of one shape.

    Args:
      w, m, v, gradient, rate, decay, corrections: as in `adam_update`.
      adapted: scale by the trust ratio.
    """
    direction, m, v = adam_direction(w, m, v, gradient, decay, corrections)
    ratio = trust_ratio(w, direction) if adapted else 1.0
    return w - rate * ratio * direction, m, v


class Lamb(AdamWeightDecay):
    """The paper's LAMB; see `AdamWeightDecay` for what it shares: arguments, slots, use.

    The slots keep the names of Adam's, `adam_m` and `adam_v`, so that checkpoints have the original's names.
    """

    CLIP_NORM = 0.0
    NOT_ADAPTED = NOT_DECAYED
    update = staticmethod(lamb_update)

    def __init__(
        self,
        variables: list[keras.Variable],
        peak: float,
        num_train_steps: int,
        num_warmup_steps: int,
        **settings,
    ):
        super().__init__(
            variables, peak, num_train_steps, num_warmup_steps, bias_correction=True, **settings
        )

    def rule(self, path):
        return super().rule(path) | {"adapted": not self.NOT_ADAPTED.search(path)}


class NvidiaLamb(Lamb):
    """NVIDIA's LAMB: clipped gradients, the trust ratio for every variable, decay of power 0.5."""

    CLIP_NORM = 1.0
    DECAY_POWER = 0.5
    NOT_ADAPTED = re.compile("(?!)")  # matches nothing
