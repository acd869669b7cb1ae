"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

Small gradients are zero in float16, so the loss is multiplied by a scale before the backward pass and gradients are
divided by it after. Whether the scale was too large is seen in the gradient of the global batch, after the sum over
micro-batches and replicas, so that all replicas decide alike; Keras' LossScaleOptimizer looks at one of them.
"""

from collections.abc import Callable

import tensorflow as tf

# The largest power of two in float16. The gradient of cross-entropy by a logit is at most 1, so that at this scale the
# backward pass begins without overflow.
INITIAL_SCALE = 2.0**15
GROWTH_STEPS = 2000
# Names in checkpoints.
STATE_NAMES = ("loss_scale", "good_steps", "skipped_steps")


class DynamicLossScale:
    """The scale of the loss: halved when a gradient is not finite, doubled after 2000 steps without that.

    A step whose gradient is not finite is skipped: variables and slots stay as they are. It counts in `global_step`
    all the same, which says how many batches were drawn: data order, dropout and learning rate follow from it, so that
    resuming is exact and a run has the length it was given. Bias correction counts updates, without the skipped steps.

    Construct it inside the strategy's scope. Its variables have aggregation NONE, as the optimizer's.

    Args:
      initial_scale: power of two, so that scaling is exact.
      growth_steps: good steps in a row before the scale is doubled.

    Attributes:
      scale: float32 variable. What the loss of the next step is multiplied by.
      good_steps: int64 variable. Steps since the scale changed.
      skipped_steps: int64 variable. Steps skipped since training began.
    """

    def __init__(self, initial_scale: float = INITIAL_SCALE, growth_steps: int = GROWTH_STEPS):
        self.growth_steps = growth_steps
        self.scale = tf.Variable(initial_scale, dtype=tf.float32, trainable=False)
        self.good_steps, self.skipped_steps = (
            tf.Variable(0, dtype=tf.int64, trainable=False) for _ in range(2)
        )

    def checkpoint_variables(self) -> dict[str, tf.Variable]:
        """Returns the state by its name in checkpoints."""
        return dict(
            zip(STATE_NAMES, (self.scale, self.good_steps, self.skipped_steps), strict=True)
        )

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the float32 scalar whose gradient to compute."""
        return loss * self.scale

    def unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns float32 gradients of the loss from those of the scaled loss."""
        return [gradient / self.scale for gradient in gradients]

    def update_if_finite(
        self, gradient_norm: tf.Tensor, update: Callable[[], None]
    ) -> dict[str, tf.Tensor]:
        """Calls `update`, unless the gradient is not finite, and adapts the scale.

        Args:
          gradient_norm: float32 scalar of the global batch, the same on every replica.
          update: assigns to variables.

        Returns:
          float32 scalars: loss_scale, of this step; skipped_steps, of the training so far.
        """
        scale = tf.identity(self.scale)
        finite = tf.math.is_finite(gradient_norm)
        tf.cond(finite, update, lambda: None)
        good = tf.cast(finite, tf.int64)
        good_steps = (self.good_steps + 1) * good
        grown = tf.where(good_steps == self.growth_steps, 2.0, 1.0)
        self.scale.assign(scale * tf.where(finite, grown, 0.5))
        self.good_steps.assign(good_steps % self.growth_steps)
        self.skipped_steps.assign_add(1 - good)
        return {"loss_scale": scale, "skipped_steps": tf.cast(self.skipped_steps, tf.float32)}
