"""Adam with decoupled weight decay and its linear schedule (Devlin et al. 2019, A.2; the original's optimization.py).

It departs from Keras' AdamW on purpose: no bias correction, epsilon outside the root, decay of everything but LayerNorm
and bias, and a rate that is read before the step counter moves, so that the first update of a warm-up changes nothing.
"""

import re

import keras
import tensorflow as tf

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-6
WEIGHT_DECAY = 0.01
CLIP_NORM = 1.0
NOT_DECAYED = re.compile("LayerNorm|layer_norm|bias")


def learning_rate(
    step: tf.Tensor, peak: float, num_train_steps: int, num_warmup_steps: int
) -> tf.Tensor:
    """Returns the float32 rate of the update that follows `step` updates.

    Warm-up is linear from 0; decay is linear to 0 over all of training and starts at step 0, so the rate after warm-up
    is not `peak` but what the decay has left of it.
    """
    step = tf.cast(step, tf.float32)
    decayed = peak * (1.0 - tf.minimum(step / num_train_steps, 1.0))
    if not num_warmup_steps:
        return decayed
    return tf.where(step < num_warmup_steps, peak * step / num_warmup_steps, decayed)


def adam_update(w, m, v, gradient, rate, decay, corrections=(1.0, 1.0)):
    """Returns the new (w, m, v) of one variable; a pure function of float32 tensors of one shape.

    Args:
      w, m, v: the variable and its first and second moments.
      gradient: of the loss, already clipped.
      rate: learning rate.
      decay: weight decay, multiplied by the rate with the rest (decoupled).
      corrections: what m and v are divided by; (1, 1) is no bias correction.
    """
    m = BETA_1 * m + (1.0 - BETA_1) * gradient
    v = BETA_2 * v + (1.0 - BETA_2) * tf.square(gradient)
    update = (m / corrections[0]) / (tf.sqrt(v / corrections[1]) + EPSILON) + decay * w
    return w - rate * update, m, v


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
    """

    def __init__(
        self,
        variables: list[keras.Variable],
        peak: float,
        num_train_steps: int,
        num_warmup_steps: int,
        bias_correction: bool = False,
    ):
        self.variables = variables
        self.peak = peak
        self.num_train_steps = num_train_steps
        self.num_warmup_steps = num_warmup_steps
        self.bias_correction = bias_correction
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
        return slots

    def apply(self, gradients: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Updates the model by the gradients of the global batch, the same on every replica.

        Returns:
          float32 scalars: learning_rate of this update, gradient_norm before clipping (to 1.0, over all variables).
        """
        gradients, norm = tf.clip_by_global_norm(gradients, CLIP_NORM)
        rate = learning_rate(
            self.global_step, self.peak, self.num_train_steps, self.num_warmup_steps
        )
        for variable, m, v, gradient in zip(
            self.variables, self.first, self.second, gradients, strict=True
        ):
            decay = 0.0 if NOT_DECAYED.search(variable.path) else WEIGHT_DECAY
            weights = variable.value
            new = adam_update(weights, m, v, gradient, rate, decay, self._corrections())
            for target, value in zip((weights, m, v), new, strict=True):
                target.assign(value)
        self.global_step.assign_add(1)
        return {"learning_rate": rate, "gradient_norm": norm}

    def _corrections(self):
        if not self.bias_correction:
            return 1.0, 1.0
        t = tf.cast(self.global_step + 1, tf.float32)
        return 1.0 - BETA_1**t, 1.0 - BETA_2**t
