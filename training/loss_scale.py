"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, "Mixed Precision Training", section 3.2).

Small gradients are zero in float16, so the loss is multiplied by a scale before the backward pass and gradients are
divided by it after. Keras' LossScaleOptimizer judges the scale by the gradient of one replica; here the gradient of the
global batch decides.
"""

from collections.abc import Callable

import tensorflow as tf

from training.nonfinite import SKIPPED_STEPS, NonFiniteSkip

# The largest power of two in float16. The gradient of cross-entropy by a logit is at most 1, so that at this scale the
# backward pass begins without overflow.
INITIAL_SCALE = 2.0**15
GROWTH_STEPS = 2000
# Names in checkpoints.
STATE_NAMES = ("loss_scale", "good_steps", SKIPPED_STEPS)


class DynamicLossScale(NonFiniteSkip):
    """The scale of the loss: halved when a gradient is not finite, doubled after 2000 steps without that.

    Args:
      initial_scale: power of two, so that scaling is exact.
      growth_steps: good steps in a row before the scale is doubled.

    Attributes:
      scale: float32 variable. What the loss of the next step is multiplied by.
      good_steps: int64 variable. Steps since the scale changed.
    """

    def __init__(self, initial_scale: float = INITIAL_SCALE, growth_steps: int = GROWTH_STEPS):
        super().__init__()
        self.growth_steps = growth_steps
        self.scale = tf.Variable(initial_scale, dtype=tf.float32, trainable=False)
        self.good_steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def checkpoint_variables(self) -> dict[str, tf.Variable]:
        """Returns the state by its name in checkpoints."""
        state = (self.scale, self.good_steps, self.skipped_steps)
        return dict(zip(STATE_NAMES, state, strict=True))

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the float32 scalar whose gradient to compute."""
        return loss * self.scale

    def unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns float32 gradients of the loss from those of the scaled loss."""
        return [gradient / self.scale for gradient in gradients]

    def update_if_finite(
        self, gradient_norm: tf.Tensor, update: Callable[[], None]
    ) -> dict[str, tf.Tensor]:
        """As in the base class, and adapts the scale; also returns loss_scale, that of this step."""
        scale = tf.identity(self.scale)
        report = super().update_if_finite(gradient_norm, update)
        finite = tf.math.is_finite(gradient_norm)
        good_steps = (self.good_steps + 1) * tf.cast(finite, tf.int64)
        grown = tf.where(good_steps == self.growth_steps, 2.0, 1.0)
        self.scale.assign(scale * tf.where(finite, grown, 0.5))
        self.good_steps.assign(good_steps % self.growth_steps)
        return {**report, "loss_scale": scale}
