"""Compiles the train steps with the TPU compiler, without a TPU: memory, work and collectives of each.

    make tpu-check        # an environment of its own (2.4 GB), then everything at the size of BERT-base
    .venv-tpu/bin/python -m benchmarks.tpu_compile --steps=pretraining --lengths=128 --slices=v5e:2x2

tensorflow-tpu lowers a step as it does for a TPU, libtpu compiles it for a slice. The step is the project's own
`train_step` of the project's models; tensors stand in for the variables, which the compiler does not take without a
device, and the sum over replicas is the operation that TPUStrategy makes of it.

A line of the table shows that this step compiles for this slice, with static shapes and without calls to the host, in
so much memory of a core. It shows nothing of numbers or speed, nor of the loop, the input or TPUStrategy around it.
"""

import os

# Of libtpu: no search for a TPU's metadata server, no lock of the whole machine.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import dataclasses
import functools
import itertools
import math
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging
from jax._src.interpreters import mlir
from jax.experimental import topologies
from jaxlib import _jax, xla_client
from jaxlib.mlir import ir
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from finetuning import features, squad_records
from finetuning.objective import classifier_objective
from finetuning.squad_objective import span_objective
from modeling.config import BertConfig
from modeling.heads import BertClassifier, BertPretrainer, BertSpanPredictor
from pretraining import records
from pretraining.objective import OBJECTIVE as PRETRAINING_OBJECTIVE
from training.optimizer import AdamWeightDecay
from training.strategy import set_seed_and_precision
from training.train_step import Objective, train_step

FLAGS = flags.FLAGS

# GiB of a core, or of a chip where its cores are one device (Google's documentation of each generation).
HBM = {"v2": 8, "v3": 16, "v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
# What talks to the host while a step runs. The compiler has calls of its own, but a step must not come with any.
HOST_TRANSFERS = re.compile(r" (infeed|outfeed|send|recv)\(")
CUSTOM_CALLS = re.compile(r" custom-call\(.*custom_call_target=\"([^\"]*)")
DYNAMIC_SHAPE = re.compile(r"\w+\[[^\]]*<=[^\]]*\]")
ALL_REDUCE = re.compile(r" all-reduce(?:-start)?\(")
MASKED_SHARE = 0.15
SLOTS = 8  # of a packed row


class Step(NamedTuple):
    """What a script trains."""

    make_model: Callable[..., keras.Model]
    objective: Objective
    record_spec: Callable[[int], dict[str, tf.io.FixedLenFeature]]  # of a length


STEPS = {
    "pretraining": Step(
        BertPretrainer,
        PRETRAINING_OBJECTIVE,
        lambda length: records.feature_spec(length, math.ceil(MASKED_SHARE * length)),
    ),
    "packed": Step(
        BertPretrainer,
        PRETRAINING_OBJECTIVE,
        lambda length: records.feature_spec(
            length, math.ceil(MASKED_SHARE * length), num_slots=SLOTS
        ),
    ),
    "classifier": Step(
        functools.partial(BertClassifier, num_labels=3),
        classifier_objective(),
        features.feature_spec,
    ),
    "squad": Step(
        BertSpanPredictor,
        span_objective(padding_competes=True),
        lambda length: squad_records.feature_spec(length, for_training=True),
    ),
}


class Compiled(NamedTuple):
    """What the compiler says of a step, for one core; sizes in bytes.

    Attributes:
      arguments: variables of model and optimizer, and the batch.
      outputs: results that do not take the place of an argument.
      temporaries: gradients, activations and all else.
      code: the program.
      peak: the compiler's own figure for the most at a time; a run reserves the sum of the above.
      flops: a loop's body counted once, whatever the number of micro-batches.
      all_reduces: sums over replicas, after the compiler has joined them.
      dynamic_shapes, host_calls: what must not be there.
    """

    arguments: int
    outputs: int
    temporaries: int
    code: int
    peak: int
    flops: float
    all_reduces: int
    dynamic_shapes: set[str]
    host_calls: set[str]
    seconds: float

    @property
    def reserved(self) -> int:
        """Bytes that a run takes."""
        return self.arguments + self.outputs + self.temporaries + self.code


def define_flags() -> None:
    """Declares the flags of this script."""
    flags.DEFINE_string("bert_config_file", None, "Model to compile (default: BERT-base).")
    flags.DEFINE_multi_enum("steps", list(STEPS), list(STEPS), "Which train steps.")
    flags.DEFINE_multi_integer("lengths", [128, 512], "Which sequence lengths.", 3)
    flags.DEFINE_multi_string("slices", ["v5e:2x2", "v5e:4x8"], "TPU slices, generation:topology.")
    flags.DEFINE_integer("micro_batch_tokens", 4096, "Tokens of a core's micro-batch.", 1)
    flags.DEFINE_integer("gradient_accumulation_steps", 2, "Micro-batches.", 1)
    flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16"], "Precision of products.")
    flags.DEFINE_bool("rematerialize", False, "Compute activations again in the backward pass.")


def main() -> None:
    """Compiles every combination of the flags and prints a table, a line as soon as it is known."""
    config = BertConfig(vocab_size=30522, type_vocab_size=2)
    if FLAGS.bert_config_file:
        config = BertConfig.from_json_file(FLAGS.bert_config_file)
    config = dataclasses.replace(config, max_position_embeddings=max(512, *FLAGS.lengths))
    set_seed_and_precision(0, FLAGS.dtype)
    print(
        f"{FLAGS.dtype}, {FLAGS.gradient_accumulation_steps} micro-batches, "
        f"rematerialize={FLAGS.rematerialize}; MiB of a core"
    )
    print(
        "step        length slice     batch  args   out  temp  code   sum of HBM  peak  "
        "GFLOP a micro-batch  all-reduces  dynamic shapes  host calls  compiled in"
    )
    failed = [
        f"{name} at length {length} on {slice_name}"
        for name, length, slice_name in itertools.product(FLAGS.steps, FLAGS.lengths, FLAGS.slices)
        if not check(name, config, length, slice_name)
    ]
    if failed:
        raise ValueError(f"not fit for a TPU: {', '.join(failed)}")


def check(name: str, config: BertConfig, length: int, slice_name: str) -> bool:
    """Compiles one step, prints its line, and returns whether it is fit to run."""
    devices = topologies.get_topology_desc(topology_name=slice_name, platform="tpu").devices
    sequences = FLAGS.gradient_accumulation_steps * max(1, FLAGS.micro_batch_tokens // length)
    print(f"{name:11} {length:6} {slice_name:8} {sequences * len(devices):6}", end=" ", flush=True)
    step, specs, num_state = pure_step(
        functools.partial(STEPS[name].make_model, config, rematerialize=FLAGS.rematerialize),
        STEPS[name].objective,
        batch_specs(STEPS[name].record_spec(length), sequences),
        len(devices),
    )
    try:
        compiled = compile_for(devices, lower(step, specs), num_state)
    except jax.errors.JaxRuntimeError as error:
        print(str(error).splitlines()[0], flush=True)
        return False
    share = compiled.reserved / (HBM[slice_name.partition(":")[0]] * 2**30)
    print(table_row(compiled, share), flush=True)
    for finding in (findings := compiled.dynamic_shapes | compiled.host_calls):
        logging.error("%s: %s", name, finding)
    return share <= 1.0 and not findings


def table_row(compiled: Compiled, share: float) -> str:
    """Returns the columns of the table that come from the compiler; `share` is that of a core's memory."""
    sizes = (*compiled[:4], compiled.reserved)
    return (
        " ".join(f"{size / 2**20:5.0f}" for size in sizes)
        + f" {share:6.1%} {compiled.peak / 2**20:5.0f} {compiled.flops / 1e9:20.0f} "
        f"{compiled.all_reduces:12} {len(compiled.dynamic_shapes):15} {len(compiled.host_calls):11} "
        f"{compiled.seconds:10.0f} s"
    )


def pure_step(
    make_model: Callable[[], keras.Model],
    objective: Objective,
    batch: dict[str, tf.TensorSpec],
    replicas: int,
) -> tuple[Callable, list[tf.TensorSpec], int]:
    """Returns `train_step` as a function of tensors alone; `batch` is that of one replica.

    Returns:
      The function (*state, *batch) -> (*new state, *metrics), the specs of its arguments, and how many of them are
      state: the variables of model and optimizer in the order of their creation.
    """

    def build():
        model = make_model()
        return model, AdamWeightDecay(model.trainable_variables, 1e-4, 1000, 100)

    state = []

    def remember(create, **arguments):
        variable = create(**arguments)
        state.append(tf.TensorSpec(variable.shape, variable.dtype))
        return variable

    with tf.variable_creator_scope(remember):
        build()

    def pure(*tensors):
        old, values = tensors[: len(state)], tensors[len(state) :]
        new, stand_ins = list(old), iter(range(len(state)))

        def create(_, **arguments):
            return stand_in(new, next(stand_ins))

        with tf.variable_creator_scope(create), Replica(replicas):
            model, optimizer = build()
            values = dict(zip(batch, values, strict=True))
            micro_batches = FLAGS.gradient_accumulation_steps
            metrics = train_step(model, objective, optimizer, values, 0, micro_batches)
        return *new, *metrics.values()

    return pure, [*state, *batch.values()], len(state)


def stand_in(values: list[tf.Tensor], number: int) -> tf.Tensor:
    """Returns the tensor `values[number]` with the methods of a variable; what it is assigned goes to its place."""
    tensor = values[number]

    def assign(value):
        values[number] = tf.cast(value, tensor.dtype)

    tensor.assign = assign
    tensor.assign_add = lambda value: assign(values[number] + value)
    return tensor


class Replica(tf.distribute.ReplicaContext):
    """One replica of TPUStrategy: sums are CrossReplicaSum, as there; its number is known when it runs."""

    def __init__(self, num_replicas: int):
        super().__init__(tf.distribute.get_strategy(), gen_xla_ops.xla_replica_id())
        self.group = [list(range(num_replicas))]

    def all_reduce(self, reduce_op, value, options=None):
        return tf.nest.map_structure(
            lambda tensor: tf.raw_ops.CrossReplicaSum(input=tensor, group_assignment=self.group),
            value,
        )


def batch_specs(
    record: dict[str, tf.io.FixedLenFeature], sequences: int
) -> dict[str, tf.TensorSpec]:
    """Returns the specs of a batch of such records, as `training.batches` makes them of files."""
    return {
        name: tf.TensorSpec(
            [sequences, *feature.shape], tf.int32 if feature.dtype == tf.int64 else feature.dtype
        )
        for name, feature in record.items()
    }


def lower(step: Callable, specs: list[tf.TensorSpec]) -> xla_client.XlaComputation:
    """Returns what TensorFlow gives the TPU compiler; a ValueError names an operation that TPUs do not have."""
    function = tf.function(step, jit_compile=True, autograph=False)
    compiler_ir = function.experimental_get_compiler_ir(*specs)
    return xla_client.XlaComputation(compiler_ir(stage="hlo_serialized", platform_name="TPU"))


def compile_for(
    devices: list[Any], computation: xla_client.XlaComputation, num_state: int
) -> Compiled:
    """Runs the TPU compiler, one replica for each device; the first `num_state` arguments are updated in place."""
    start = time.perf_counter()
    options = xla_client.CompileOptions()
    options.num_replicas = len(devices)
    places = np.arange(len(devices))[:, np.newaxis]
    options.device_assignment = xla_client.DeviceAssignment.create(places)
    with mlir.make_ir_context():
        module = ir.Module.parse(_jax.mlir.xla_computation_to_mlir_module(computation))
        donate(module, num_state)
        executable = devices[0].client.compile(
            mlir.module_to_bytecode(module),
            executable_devices=_jax.DeviceList(tuple(devices)),
            compile_options=options,
        )
    memory = executable.get_compiled_memory_stats()
    (optimized,) = executable.hlo_modules()
    lowered, optimized = computation.as_hlo_text(), optimized.to_string()
    return Compiled(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        peak=memory.peak_memory_in_bytes,
        flops=executable.cost_analysis()["flops"],
        all_reduces=len(ALL_REDUCE.findall(optimized)),
        dynamic_shapes=set(DYNAMIC_SHAPE.findall(lowered + optimized)),
        host_calls={*HOST_TRANSFERS.findall(lowered + optimized), *CUSTOM_CALLS.findall(lowered)},
        seconds=time.perf_counter() - start,
    )


def donate(module: ir.Module, count: int) -> None:
    """Lets the first `count` results take the memory of the arguments of the same number."""
    (function,) = (op for op in module.body.operations if op.attributes["sym_name"].value == "main")
    attributes = [{} for _ in function.arguments]
    for number in range(count):
        place = ir.IntegerAttr.get(ir.IntegerType.get_signless(32), number)
        attributes[number]["tf.aliasing_output"] = place
    attributes = [ir.DictAttr.get(values) for values in attributes]
    function.attributes["arg_attrs"] = ir.ArrayAttr.get(attributes)


if __name__ == "__main__":
    define_flags()
    app.run(main)
