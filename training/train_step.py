"""One update of the model, exact on any number of replicas and micro-batches.

What is summed where: each micro-batch computes its share of the loss of the whole global batch; shares and their
gradients are summed over micro-batches, then once over replicas; the sum is clipped and applied. The denominators (the
number of masked tokens, of sequences) belong to the global batch and are summed over replicas before the first share.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from modeling.dropout import fold_in
from training.optimizer import AdamWeightDecay

Tensors = dict[str, tf.Tensor]


class Objective(NamedTuple):
    """What training minimises: the only thing in which tasks differ.

    Attributes:
      weights: batch -> float32 scalars, what each term of the loss is averaged over; they add up over batches.
      loss: (model, batch, weights of the global batch, seed) -> float32 scalar share of the loss, and a dict of float32
        scalars to report, which add up over micro-batches and replicas as the loss does.
    """

    weights: Callable[[Tensors], Tensors]
    loss: Callable[[keras.Model, Tensors, Tensors, tf.Tensor | None], tuple[tf.Tensor, Tensors]]


def train_step(
    model: keras.Model,
    objective: Objective,
    optimizer: AdamWeightDecay,
    batch: Tensors,
    seed: int,
    num_micro_batches: int = 1,
    compile_gradients: bool = False,
) -> Tensors:
    """Updates the model by one global batch; call it in replica context.

    Args:
      batch: this replica's part of the global batch, [b, ...] with b a multiple of `num_micro_batches`.
      seed: of the run; dropout is a function of it, the step, the replica and the micro-batch.
      num_micro_batches: gradient accumulation steps.
      compile_gradients: compile forward and backward pass with XLA.

    Returns:
      float32 scalars of the global batch: loss, tokens (real ones, without padding), those of the objective,
      what `optimizer.apply` returns.
    """
    context = tf.distribute.get_replica_context()
    weights = context.all_reduce(tf.distribute.ReduceOp.SUM, objective.weights(batch))
    key = fold_in(tf.stack([seed, 0]), optimizer.global_step)
    key = fold_in(key, context.replica_id_in_sync_group)
    guard = optimizer.guard

    @tf.function(jit_compile=compile_gradients, autograph=False)
    def share(micro_batch, number):
        parameters = [variable.value for variable in optimizer.variables]
        with tf.GradientTape() as tape:
            # Variables are watched anyway; benchmarks/tpu_compile.py has tensors in their place.
            tape.watch(parameters)
            loss, metrics = objective.loss(model, micro_batch, weights, fold_in(key, number))
            target = guard.scaled(loss) if guard else loss
        gradients = tape.gradient(target, parameters)
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        tokens = tf.reduce_sum(tf.cast(micro_batch["input_mask"], tf.float32))
        return gradients, {"loss": loss, "tokens": tokens, **metrics}

    sums = sum_over_micro_batches(share, batch, num_micro_batches)
    gradients, metrics = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    if guard:
        gradients = guard.unscaled(gradients)
    return metrics | optimizer.apply(gradients)


def sum_over_micro_batches(share, batch: Tensors, num_micro_batches: int):
    """Returns the sum of `share(micro_batch, number)`, a structure of tensors, over equal slices of the batch."""
    if num_micro_batches == 1:
        return share(batch, tf.constant(0))
    slices = {
        name: tf.reshape(values, [num_micro_batches, -1, *values.shape[1:]])
        for name, values in batch.items()
    }

    def micro_batch(number):
        return {name: values[number] for name, values in slices.items()}

    def add_one(number, sums):
        return number + 1, tf.nest.map_structure(tf.add, sums, share(micro_batch(number), number))

    results = share.get_concrete_function(micro_batch(0), tf.constant(0)).structured_outputs
    zeros = tf.nest.map_structure(lambda spec: tf.zeros(spec.shape, spec.dtype), results)
    # One at a time: by default the executor begins ten, and memory is that of all of them.
    _, sums = tf.while_loop(
        lambda number, _: number < num_micro_batches,
        add_one,
        (tf.constant(0), zeros),
        parallel_iterations=1,
    )
    return sums
