"""Adam with decoupled weight decay and its linear schedule (Devlin et al. 2019, A.2; the original's optimization.py).

It departs from Keras' AdamW on purpose: no bias correction, epsilon outside the root, decay of everything but LayerNorm
and bias, and a rate that is read before the step counter moves, so that the first update of a warm-up changes nothing.
"""

import functools
import re
from collections.abc import Callable

import keras
import tensorflow as tf

from training.nonfinite import NonFiniteSkip
from training.schedule import Schedule
from training.strategy import is_tpu

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-6
WEIGHT_DECAY = 0.01
NOT_DECAYED = re.compile("LayerNorm|layer_norm|bias")
_EMBEDDINGS = re.compile("(^|/)embeddings/")
_BLOCK = re.compile("/layer_([0-9]+)/")


def adam_direction(w, m, v, gradient, decay, corrections):
    """Returns (update before the learning rate, new m, new v) of one variable; arguments as in `adam_update`."""
    m = BETA_1 * m + (1.0 - BETA_1) * gradient
    v = BETA_2 * v + (1.0 - BETA_2) * tf.square(gradient)
    return (m / corrections[0]) / (tf.sqrt(v / corrections[1]) + EPSILON) + decay * w, m, v


def adam_update(w, m, v, gradient, rate, decay, corrections=(1.0, 1.0)):
    """Returns the new (w, m, v) of one variable; a pure function of float32 tensors of one shape.

    Args:
      w, m, v: the variable and its first and second moments.
      gradient: of the loss, already clipped.
      rate: learning rate.
      decay: weight decay, multiplied by the rate with the rest (decoupled).
      corrections: what m and v are divided by; (1, 1) is no bias correction.
    """
    direction, m, v = adam_direction(w, m, v, gradient, decay, corrections)
    return w - rate * direction, m, v


def layerwise_factors(paths: list[str], decay: float) -> list[float]:
    """Returns what the learning rate of each variable is multiplied by (BEiT, Bao et al. 2022; ELECTRA's is near it).

    1 for the pooler and the heads, `decay` for the last encoder block, a further `decay` for each block below it, and
    one more for the embeddings. ELECTRA's factors are these with one power more everywhere but in the head.

    Args:
      paths: names of all trainable variables, as checkpoints have them.
      decay: 0 to 1; 1 leaves all rates as they are, 0 trains the pooler and the heads only.
    """
    blocks = [_BLOCK.search(path) for path in paths]
    num_blocks = 1 + max((int(block[1]) for block in blocks if block), default=-1)
    factors = []
    for path, block in zip(paths, blocks, strict=True):
        if block:
            factors.append(decay ** (num_blocks - int(block[1])))
        else:
            factors.append(decay ** (num_blocks + 1) if _EMBEDDINGS.search(path) else 1.0)
    return factors


@functools.cache
def clipped_update(update: Callable, compiled: bool) -> Callable:
    """Returns the function (w, m, v, gradient, scale, rate, corrections, **rule) that clips and updates.

    It is traced, and compiled with XLA, once for all variables of a shape and a rule: one loop over the numbers, where
    an executor makes a pass over memory for each operation.
    """

    @tf.function(jit_compile=compiled or None, autograph=False)
    def clipped(w, m, v, gradient, scale, rate, corrections, **rule):
        return update(w, m, v, scale * gradient, rate, corrections=corrections, **rule)

    return clipped


class AdamWeightDecay:
    """The variables of the optimizer, and one update of the model.

    Construct it inside the strategy's scope. Its variables have aggregation NONE: every replica applies the same sums
    to its own copy.

    Args:
      variables: trainable variables of the model; their paths name the slots `<path>/adam_m` and `<path>/adam_v`.
      peak: learning rate that warm-up aims at.
      num_train_steps: updates until the rate is 0.
      num_warmup_steps: updates of linear warm-up.
      bias_correction: divide the moments by 1 - beta^t, as Kingma and Ba 2015 and PyTorch do; the original does not.
      decay_power: exponent of the rate's decay; None is this class' own, 1 (linear).
      weight_decay: of all variables but LayerNorm and bias.
      clip_norm: largest global norm of the gradients, 0 for no clipping; None is this class' own, 1.
      layerwise_lr_decay: factor of the rate from an encoder block to the one below it, see `layerwise_factors`.
      guard: what becomes of a step whose gradient is not finite, the loss scale of float16 included; None applies
        whatever comes.

    Attributes:
      schedule: the `Schedule` of the rate, read when a step is traced. To begin a second phase of training, set another
        one between two calls of `training.loop.train`.
    """

    CLIP_NORM = 1.0
    DECAY_POWER = 1.0
    update = staticmethod(adam_update)

    def __init__(
        self,
        variables: list[keras.Variable],
        peak: float,
        num_train_steps: int,
        num_warmup_steps: int,
        bias_correction: bool = False,
        decay_power: float | None = None,
        weight_decay: float = WEIGHT_DECAY,
        clip_norm: float | None = None,
        layerwise_lr_decay: float = 1.0,
        guard: NonFiniteSkip | None = None,
    ):
        self.variables = variables
        power = self.DECAY_POWER if decay_power is None else decay_power
        self.schedule = Schedule(peak, num_train_steps, num_warmup_steps, power)
        self.bias_correction = bias_correction
        self.weight_decay = weight_decay
        self.clip_norm = self.CLIP_NORM if clip_norm is None else clip_norm
        self.rate_factors = layerwise_factors([v.path for v in variables], layerwise_lr_decay)
        self.guard = guard
        # A TPU compiles the whole step by itself.
        self._compiled = not is_tpu(tf.distribute.get_strategy())
        self.global_step = tf.Variable(0, dtype=tf.int64, trainable=False, name="global_step")
        self.first, self.second = (
            [tf.Variable(tf.zeros(v.shape), trainable=False) for v in variables] for _ in range(2)
        )

    def checkpoint_variables(self) -> dict[str, tf.Variable]:
        """Returns what resuming needs beside the model, by its name in the original's checkpoints."""
        slots = {"global_step": self.global_step}
        for variable, m, v in zip(self.variables, self.first, self.second, strict=True):
            slots[f"{variable.path}/adam_m"] = m
            slots[f"{variable.path}/adam_v"] = v
        return slots | (self.guard.checkpoint_variables() if self.guard else {})

    def apply(self, gradients: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Updates the model by the gradients of the global batch, the same on every replica.

        Returns:
          float32 scalars: learning_rate of this update, without layer-wise factors; gradient_norm before clipping, over
          all variables; what the guard reports.
        """
        norm = tf.linalg.global_norm(gradients)
        rate = self.schedule.rate(self.global_step)
        report = {"learning_rate": rate, "gradient_norm": norm}
        if self.guard:
            report |= self.guard.update_if_finite(norm, lambda: self._assign(gradients, norm, rate))
        else:
            self._assign(gradients, norm, rate)
        self.global_step.assign_add(1)
        return report

    def _assign(self, gradients, norm, rate):
        update = clipped_update(self.update, self._compiled)
        scale, corrections = self._clip_scale(norm), self._corrections()
        for variable, factor, m, v, gradient in zip(
            self.variables, self.rate_factors, self.first, self.second, gradients, strict=True
        ):
            old = [tf.convert_to_tensor(target) for target in (variable.value, m, v)]
            scalars = (scale, factor * rate, corrections)
            new = update(*old, gradient, *scalars, **self.rule(variable.path))
            for target, value in zip((variable.value, m, v), new, strict=True):
                target.assign(value)

    def rule(self, path: str) -> dict[str, float]:
        """Returns the arguments of `update` that depend on which variable it is, by name."""
        return {"decay": 0.0 if NOT_DECAYED.search(path) else self.weight_decay}

    def _clip_scale(self, norm):
        """Returns what gradients of that global norm are multiplied by, as in tf.clip_by_global_norm."""
        if not self.clip_norm:
            return 1.0
        return self.clip_norm * tf.minimum(1.0 / norm, 1.0 / self.clip_norm)

    def _corrections(self):
        if not self.bias_correction:
            return 1.0, 1.0
        skipped = self.guard.skipped_steps if self.guard else 0
        t = tf.cast(self.global_step + 1 - skipped, tf.float32)
        return 1.0 - BETA_1**t, 1.0 - BETA_2**t
