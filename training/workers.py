"""Several processes that train together, one on each host: who they are, what they share, and how they agree."""

import atexit
import json
import os
import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

# What every operation across workers fails with, 1 to 12 s after a worker was killed, stopped or ended early.
_ABORTED = re.compile(r"Collective ops is aborted by:(.*?)The error could be from", re.DOTALL)


def workers_of_tf_config() -> int:
    """Returns the number of workers that the environment variable TF_CONFIG names; 1 without it.

    Raises:
      ValueError: if it is not what TensorFlow documents, {"cluster": {"worker": ["host:port", ...]}, "task": {"type":
        "worker", "index": 0}}, with or without a "chief" of one address.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 1
    wrong = _wrong_in_tf_config(text)
    if wrong:
        raise ValueError(
            f"environment variable TF_CONFIG: {wrong}; an example: "
            '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
        )
    return sum(map(len, json.loads(text)["cluster"].values()))


def _wrong_in_tf_config(text: str) -> str | None:
    try:
        config = json.loads(text)
    except ValueError as error:
        return f"not JSON ({error})"
    parts = [config.get(name) if isinstance(config, dict) else None for name in ("cluster", "task")]
    if not all(isinstance(part, dict) for part in parts):
        return 'needs the objects "cluster" and "task"'
    cluster, task = parts
    strange = sorted(cluster.keys() - {"chief", "worker"})
    if strange or not cluster:
        return f'"cluster" may hold "chief" and "worker", and holds {strange or "nothing"}'
    if not all(isinstance(addresses, list) and addresses for addresses in cluster.values()):
        return "every job of the cluster needs a list of addresses"
    everyone = [address for addresses in cluster.values() for address in addresses]
    bad = [a for a in everyone if not re.fullmatch(r".+:\d+", str(a)) or everyone.count(a) > 1]
    if bad:
        return f"{bad[0]!r} is not the host:port of one worker"
    if len(cluster.get("chief", "1")) > 1:
        return "there can be one chief"
    addresses = cluster.get(task.get("type"), ())
    if task.get("index") not in range(len(addresses)):
        return f'"task" is {task}, which is not in the cluster'
    return None


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Returns how many processes run the script; 1 for a TPU slice, which one process drives."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec()
    return max(1, sum(cluster.num_tasks(job) for job in cluster.jobs))


def worker_number(strategy: tf.distribute.Strategy) -> int:
    """Returns which of the workers this process is, from 0."""
    if num_workers(strategy) == 1:
        return 0
    resolver = strategy.cluster_resolver
    after_chief = resolver.task_type == "worker" and "chief" in resolver.cluster_spec().jobs
    return resolver.task_id + after_chief


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes: the chief of the cluster, else worker 0."""
    return worker_number(strategy) == 0


def sum_over_workers(strategy: tf.distribute.Strategy, values: Sequence[float]) -> np.ndarray:
    """Returns the element-wise sum of what the workers give, the same on all of them: float64 [n].

    Every worker must call it equally often, in the same place between its steps, with equally many values. It waits
    for the slowest.

    Args:
      values: of this worker; whole numbers up to 2**53 are summed exactly.
    """
    values = np.asarray(values, np.float64)
    if num_workers(strategy) == 1:
        return values
    local = strategy.num_replicas_in_sync // num_workers(strategy)

    def of_replica(context):
        first = context.replica_id_in_sync_group % local == 0
        return tf.constant(values if first else np.zeros_like(values))

    replicas = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, replicas, axis=None).numpy()


def wait_for_workers(strategy: tf.distribute.Strategy) -> None:
    """Returns when all workers have come here: the chief may be writing what makes the run complete."""
    sum_over_workers(strategy, [0])


def check_agreement(
    strategy: tf.distribute.Strategy, values: Mapping[str, object], advice: str
) -> None:
    """Compares what the workers hold; all of them must call it with the same names.

    Args:
      values: by name; compared by a checksum of their representation.
      advice: end of the message, what to do.

    Raises:
      ValueError: on every worker, naming the first difference.
    """
    if num_workers(strategy) == 1:
        return
    checksums = np.zeros([num_workers(strategy), len(values)])
    checksums[worker_number(strategy)] = [zlib.crc32(repr(v).encode()) for v in values.values()]
    checksums = sum_over_workers(strategy, checksums.ravel()).reshape(checksums.shape)
    differences = np.argwhere(checksums != checksums[0])
    if len(differences):
        worker, number = differences[0]
        name = list(values)[number]
        raise ValueError(
            f"{name} of worker {worker} is not that of worker 0 (this is worker {worker_number(strategy)}, here it is "
            f"{values[name]}): {advice}"
        )


def own_directory(strategy: tf.distribute.Strategy) -> str:
    """Makes a folder for what a worker writes that is not the chief; it goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix=f"worker{worker_number(strategy)}-")
    atexit.register(folder.cleanup)
    return folder.name


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset, endless: bool = False
) -> tf.distribute.DistributedDataset:
    """Returns the batches as `strategy.run` takes them: replica by replica a slice of every global batch, in its order.

    Every worker makes all global batches and keeps its rows. TensorFlow's own way would deal out files or records to
    the workers, so that the batches would depend on their number.

    Args:
      batches: dicts of tensors of one static shape [B, ...].
      endless: whether the workers need not ask each other before each batch if there is one.
    """
    if num_workers(strategy) == 1:
        return strategy.experimental_distribute_dataset(_for_hosts(strategy, batches))

    def of_worker(context):
        local = context.num_replicas_in_sync // context.num_input_pipelines
        first = local * context.input_pipeline_id

        def own_rows(values):
            slices = [context.num_replicas_in_sync, -1, *values.shape[1:]]
            return tf.reshape(values, slices)[first : first + local]  # [replicas here, b, ...]

        own = batches.map(lambda batch: tf.nest.map_structure(own_rows, batch)).unbatch()
        if endless:
            own = own.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return own.prefetch(tf.data.AUTOTUNE)

    return strategy.distribute_datasets_from_function(of_worker)


def _for_hosts(strategy, batches):
    """Returns the batches of one process for the hosts of a TPU: each in such an order that its rows are in their own.

    TensorFlow has every host make all batches, and deals out their slices like cards: the second one to the second
    host, although its cores come after all of the first host.
    """
    hosts = strategy.extended.num_hosts if isinstance(strategy, tf.distribute.TPUStrategy) else 1
    if hosts == 1:
        return batches

    def in_turn(values):
        slices = [hosts, strategy.num_replicas_in_sync // hosts, -1, *values.shape[1:]]
        slices = tf.reshape(values, slices)  # [hosts, replicas of each, b, ...]
        order = [1, 0, *range(2, slices.shape.rank)]
        return tf.reshape(tf.transpose(slices, order), values.shape)

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.map(lambda batch: tf.nest.map_structure(in_turn, batch)).with_options(options)


def gather_rows(strategy: tf.distribute.Strategy, values: dict) -> dict[str, tf.Tensor]:
    """Returns what `strategy.run` made of the slices of a batch as [B, ...], rows in its order; call it in a graph.

    TensorFlow gathers in the order of the workers' names, in which worker 10 comes before worker 2.
    """

    def replica_number():
        return tf.reshape(tf.distribute.get_replica_context().replica_id_in_sync_group, [1])

    found = strategy.gather(strategy.run(replica_number), axis=0)

    def in_order(rows):
        shape = strategy.experimental_local_results(rows)[0].shape[1:]  # gathering forgets it
        slices = tf.reshape(
            strategy.gather(rows, axis=0), [strategy.num_replicas_in_sync, -1, *shape]
        )
        return tf.reshape(tf.gather(slices, tf.argsort(found)), [-1, *shape])

    return {name: in_order(rows) for name, rows in values.items()}


def lost_worker(error: Exception) -> str | None:
    """Returns how an error says that another worker is gone or silent, None if it says something else."""
    found = isinstance(error, tf.errors.OpError) and _ABORTED.search(str(error))
    return " ".join(found[1].split()) if found else None
