"""Several processes that train together, one on each host: who they are, and what they agree on between steps."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def num_workers(strategy: tf.distribute.Strategy) -> int:
    """Returns how many processes run the script; 1 for a TPU slice, which one process drives."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return 1
    cluster = strategy.cluster_resolver.cluster_spec()
    return max(1, sum(cluster.num_tasks(job) for job in cluster.jobs))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes: the chief of the cluster, else worker 0."""
    if num_workers(strategy) == 1:
        return True
    resolver = strategy.cluster_resolver
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


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
