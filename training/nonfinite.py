"""What to do with a step whose gradient is not a finite number."""

from collections.abc import Callable

import tensorflow as tf

SKIPPED_STEPS = "skipped_steps"  # its name in checkpoints


class NonFiniteSkip:
    """Leaves out the update of a step whose gradient is not finite, and counts it.

    Variables and slots stay as they are. The step counts in `global_step` all the same, which says how many batches
    were drawn: data order, dropout and learning rate follow from it, so that resuming is exact and a run has the length
    it was given. Bias correction counts updates, without the skipped steps.

    Whether a gradient is finite is seen in that of the global batch, after the sum over micro-batches and replicas, so
    that all replicas decide alike. Construct it inside the strategy's scope; variables have aggregation NONE, as the
    optimizer's.

    Attributes:
      skipped_steps: int64 variable. Steps skipped since training began.
    """

    def __init__(self):
        self.skipped_steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def checkpoint_variables(self) -> dict[str, tf.Variable]:
        """Returns the state by its name in checkpoints."""
        return {SKIPPED_STEPS: self.skipped_steps}

    def scaled(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the float32 scalar whose gradient to compute."""
        return loss

    def unscaled(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns float32 gradients of the loss from those of the scaled loss."""
        return gradients

    def update_if_finite(
        self, gradient_norm: tf.Tensor, update: Callable[[], None]
    ) -> dict[str, tf.Tensor]:
        """Calls `update`, unless the gradient is not finite.

        Args:
          gradient_norm: float32 scalar of the global batch, the same on every replica.
          update: assigns to variables.

        Returns:
          float32 scalars to report: skipped_steps, of the training so far.
        """
        finite = tf.math.is_finite(gradient_norm)
        tf.cond(finite, update, lambda: None)
        self.skipped_steps.assign_add(1 - tf.cast(finite, tf.int64))
        return {SKIPPED_STEPS: tf.cast(self.skipped_steps, tf.float32)}
