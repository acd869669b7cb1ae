"""How much memory a step of training takes on one device, and which settings make it fit.

Weights, slots and gradients are counted. Activations follow from a list of what the backward pass of a block reads, in
bytes of a token, for the two ways in which a step runs:

- TensorFlow's executor (CPU) keeps every intermediate result that a gradient reads, and computes what does not wait for
  the gradient early (x - mean, x ** 2).
- XLA (GPU, TPU) fuses: it keeps the operands of products and what softmax and dropout need, and computes the rest
  again; the backward pass of one block has temporaries of a size that was fitted to what the TPU compiler says.

For five train steps of BERT-base this is 9 % less to 11 % more than the TPU compiler reserves, and for the five
processes of `benchmarks/memory_plan.py` 6 % less to 4 % more than they grew by on a CPU. The constants below were
fitted to these. On a GPU it was not compared. The unit is the byte; a device is a replica.
Shapes: S sequence, H hidden, I intermediate, A heads, L layers.
"""

from collections.abc import Callable
from typing import NamedTuple

from modeling.config import BertConfig

FLOAT32 = 4
# Threads and scratch of the products.
EXECUTOR_SCRATCH = 32 * 2**20
# Gradients, and results of the update from them, that are there at a time, as multiples of all gradients.
EXECUTOR_UPDATE = 4
# Bytes for each attention weight of one block while its gradient is computed, by the TPU compiler for BERT-base.
XLA_TEMPORARIES = {"float32": 30, "bfloat16": 44, "float16": 44}
XLA_TEMPORARIES_REMATERIALIZED = 68


class Memory(NamedTuple):
    """Bytes of one device at the moment of a step when they are most.

    That is where the backward pass begins, or where it ends: gradients come as activations go.
    """

    weights: int
    optimizer: int
    gradients: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self)


class Workload(NamedTuple):
    """What is trained, and how it runs.

    Attributes:
      config: of the model.
      parameters: numbers in its variables, and in those of a teacher beside it.
      trainable: those of them that are trained.
      seq_length: S, padding included.
      logits: outputs of the model for one sequence.
      dtype: "float32", "bfloat16" or "float16".
      compiled: whether XLA compiles forward and backward pass.
    """

    config: BertConfig
    parameters: int
    trainable: int
    seq_length: int
    logits: int
    dtype: str
    compiled: bool

    @property
    def width(self) -> int:
        """Bytes of a number in the precision of products."""
        return FLOAT32 if self.dtype == "float32" else 2


class Choice(NamedTuple):
    """Settings that fit a device, and the memory they take."""

    gradient_accumulation_steps: int
    rematerialize: bool
    memory: Memory


def training_memory(
    work: Workload, sequences: int, micro_batches: int = 1, rematerialize: bool = False
) -> Memory:
    """Returns the memory of a step.

    Args:
      sequences: of one micro-batch on one device.
      micro_batches: gradient accumulation steps.
      rematerialize: compute the activations inside a block again in the backward pass.
    """
    weights, gradients = FLOAT32 * work.parameters, FLOAT32 * work.trainable
    accumulated = gradients if micro_batches > 1 else 0
    tokens, layers = sequences * work.seq_length, work.config.num_hidden_layers
    block = tokens * _kept_by_block(work)
    temporaries = tokens * _temporaries(work, rematerialize)
    around = tokens * 17 * work.config.hidden_size + _constant(work)  # embeddings
    head = sequences * work.logits * 4 * FLOAT32  # logits, probabilities, their gradient, one more
    if rematerialize:
        inputs = tokens * layers * work.width * work.config.hidden_size
        begin = around + inputs + head + block + temporaries
        end = around + block + temporaries
    else:
        begin = around + layers * block + head + temporaries
        end = around + block + temporaries
    update = 0 if work.compiled else EXECUTOR_UPDATE * gradients
    moments = (
        Memory(weights, 2 * gradients, accumulated + update, begin),
        Memory(weights, 2 * gradients, accumulated + max(gradients, update), end),
    )
    return max(moments, key=lambda memory: memory.total)


def largest_micro_batch(memory_of: Callable[[int], Memory], limit: int) -> int:
    """Returns the most sequences whose memory is at most `limit` bytes, 0 if not even one fits."""
    below, above = 0, 1
    while memory_of(above).total <= limit:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if memory_of(middle).total <= limit else (below, middle)
    return below


def choose(work: Workload, batch_size: int, limit: int) -> Choice | None:
    """Returns the settings to compute `batch_size` sequences on one device within `limit` bytes, None if nothing fits.

    As few micro-batches as possible; rematerialisation, which costs a third more time, only where they do not help.
    """
    for rematerialize in (False, True):
        for micro_batches in range(1, batch_size + 1):
            if batch_size % micro_batches:
                continue
            memory = training_memory(
                work, batch_size // micro_batches, micro_batches, rematerialize
            )
            if memory.total <= limit:
                return Choice(micro_batches, rematerialize, memory)
    return None


def _kept_by_block(work: Workload) -> int:
    """Returns the bytes of a token that the backward pass of one block reads."""
    config, width = work.config, work.width
    hidden, inner = config.hidden_size, config.intermediate_size
    weights = config.num_attention_heads * work.seq_length
    # Of softmax and its dropout: probabilities in float32, those that are left, which those are.
    attention = weights * (FLOAT32 + width + 1)
    masks = 2 * hidden
    if work.compiled:
        # Query, key and value, context, the sums of both normalisations; the input of the activation.
        return width * (6 * hidden + inner) + masks + attention
    # Query, key and value, the scaled query, context, the results of both normalisations.
    products = width * 7 * hidden
    normalisations = 2 * FLOAT32 * 3 * hidden  # sum, scale, sum - mean
    # Of the activation (gelu): input, square, tanh and factors in float32 if that is float16; its result.
    activation = 5 * (FLOAT32 if work.dtype == "float16" else width) + width
    return products + normalisations + masks + activation * inner + attention


def _temporaries(work: Workload, rematerialize: bool) -> int:
    """Returns the bytes of a token that the backward pass of one block needs beside."""
    weights = work.config.num_attention_heads * work.seq_length
    if not work.compiled:
        return 2 * FLOAT32 * weights
    if rematerialize:
        return XLA_TEMPORARIES_REMATERIALIZED * weights
    return XLA_TEMPORARIES[work.dtype] * weights


def _constant(work: Workload) -> int:
    """Returns what does not grow with the batch: weights in the precision of products."""
    copies = work.width * work.parameters if work.width < FLOAT32 else 0
    return copies + (0 if work.compiled else EXECUTOR_SCRATCH)
