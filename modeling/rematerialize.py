"""Activations computed again in the backward pass, instead of kept for it (Chen et al. 2016, arXiv:1604.06174).

What Keras and TensorFlow bring is not enough: `keras.remat` lets dropout draw again, which makes its gradients those of
another network, and XLA merges the second forward pass of `tf.recompute_grad` with the first one, which saves nothing.
"""

import keras
import tensorflow as tf


def rematerialize(
    block: keras.layers.Layer,
    x: tf.Tensor,
    attention_mask: tf.Tensor,
    seed: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns `block(x, attention_mask, seed)`, for whose gradient only the arguments are kept.

    The backward pass computes the block a second time, with the same values, because dropout follows from the seed.
    That saves memory in a tf.function; executed eagerly the outer tape still keeps what the first pass computed.

    Args:
      block: built. Its variables are read here, so the layer that calls this must have `autocast=False`.
      x: float. It gets a gradient, and so do the block's variables.
      attention_mask, seed: int32, or no seed.
    """
    integers = [attention_mask] if seed is None else [attention_mask, seed]
    # Explicit arguments, so that both passes use, and give a gradient to, the same reading of a variable.
    floats = [x, *(tf.convert_to_tensor(variable.value) for variable in block.variables)]

    def forward(tensors):
        x, *values = tensors[: len(floats)]
        state = zip(block.variables, values, strict=True)
        with keras.StatelessScope(state_mapping=state):
            return block(x, *tensors[len(floats) :])

    @tf.custom_gradient
    def compute(*tensors):
        def gradient(dy):
            again = _hold_back(tensors, dy)
            sources = again[: len(floats)]
            with tf.GradientTape() as tape:
                tape.watch(sources)
                y = forward(again)
            return tape.gradient(y, sources, output_gradients=dy) + [None] * len(integers)

        return forward(tensors), gradient

    return compute(*floats, *integers)


def _hold_back(tensors: list[tf.Tensor], dy: tf.Tensor) -> list[tf.Tensor]:
    """Returns the same values, which no compiler knows to be the same, and which wait for the gradient `dy`.

    They depend on it by a condition that never holds. The alternatives are less: XLA has no control dependencies, and
    its compiler for the CPU drops its optimization barrier too early to save anything.
    """
    element = tf.reshape(dy, [-1])[0]
    never = tf.math.is_nan(element) & tf.math.is_inf(element)
    return [tf.where(never, tf.zeros([], tensor.dtype), tensor) for tensor in tensors]
