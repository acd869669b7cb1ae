"""Where the run computes: one device, all local GPUs, several hosts, or a TPU."""

import keras
import tensorflow as tf
from absl import logging

from training.workers import workers_of_tf_config


def create_strategy(
    use_tpu: bool = False,
    tpu_name: str | None = None,
    tpu_zone: str | None = None,
    gcp_project: str | None = None,
    master: str | None = None,
    num_tpu_cores: int | None = None,
) -> tf.distribute.Strategy:
    """Returns the strategy that the TPU flags ask for; without them that of TF_CONFIG, or else what this machine has.

    Call it before anything is computed: TensorFlow joins several workers when it starts, or not at all.

    Args:
      use_tpu: use a TPU; the other arguments need it.
      tpu_name: "local" on a TPU VM, or the name of a Cloud TPU.
      tpu_zone: zone of the named Cloud TPU.
      gcp_project: project of the named Cloud TPU.
      master: address of the TPU worker (grpc://...), instead of a name.
      num_tpu_cores: cores that the run expects, or None.

    Raises:
      ValueError: if TPU arguments come without `use_tpu`, with name and address at once, if the cores differ, or if
        TF_CONFIG is wrong.
    """
    named = {
        "tpu_name": tpu_name,
        "tpu_zone": tpu_zone,
        "gcp_project": gcp_project,
        "master": master,
    }
    workers = workers_of_tf_config()
    if use_tpu and workers > 1:
        raise ValueError(
            f"--use_tpu=true, and TF_CONFIG names {workers} workers: unset it, one process drives all hosts of a TPU"
        )
    if use_tpu:
        return _tpu_strategy(tpu_name, tpu_zone, gcp_project, master, num_tpu_cores)
    given = [name for name, value in named.items() if value]
    if given:
        raise ValueError(f"--{given[0]}={named[given[0]]} needs --use_tpu=true")
    if workers > 1:
        return _multi_worker_strategy(workers)
    gpus = tf.config.list_physical_devices("GPU")
    logging.info("Computing on %s", f"{len(gpus)} GPU(s)" if gpus else "the CPU")
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def _multi_worker_strategy(workers):
    logging.info("Waiting for all %d workers of TF_CONFIG", workers)
    tf.get_logger().setLevel("WARNING")  # it tells of every all-reduce that is traced, twice
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"cannot join the workers of TF_CONFIG: {reason}") from error
    replicas = strategy.num_replicas_in_sync
    logging.info("Computing on %d replicas, on %d workers", replicas, workers)
    return strategy


def _tpu_strategy(tpu_name, tpu_zone, gcp_project, master, num_tpu_cores):
    if tpu_name and master:
        raise ValueError(f"--tpu_name={tpu_name} and --master={master}: give one of them")
    name = tpu_name or master or "local"
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=name, zone=tpu_zone, project=gcp_project
        )
        if resolver.master() not in ("", "local"):
            logging.info("Connecting to %s, the first host of the TPU", resolver.master())
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (tf.errors.OpError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        if isinstance(error, OSError):
            reason += "; outside of Google Cloud give --tpu_zone and --gcp_project"
        raise ValueError(f"--use_tpu=true: cannot use the TPU {name!r}: {reason}") from error
    strategy = tf.distribute.TPUStrategy(resolver)
    cores = strategy.num_replicas_in_sync
    if num_tpu_cores is not None and num_tpu_cores != cores:
        raise ValueError(f"--num_tpu_cores={num_tpu_cores}, but this TPU has {cores}")
    logging.info("Computing on a TPU with %d cores", cores)
    return strategy


def is_tpu(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the strategy computes on a TPU."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def check_batch_size(
    flag: str, batch_size: int, strategy: tf.distribute.Strategy, num_micro_batches: int = 1
) -> None:
    """Raises ValueError unless every replica gets equal micro-batches of a whole number of sequences."""
    replicas = strategy.num_replicas_in_sync
    if batch_size < 1 or num_micro_batches < 1 or batch_size % (replicas * num_micro_batches):
        raise ValueError(
            f"--{flag}={batch_size} must be a positive multiple of {replicas * num_micro_batches} "
            f"({replicas} replicas x {num_micro_batches} gradient accumulation steps)"
        )


def check_precision(dtype: str, strategy: tf.distribute.Strategy) -> None:
    """Raises ValueError for a precision that the device has not."""
    if dtype == "float16" and is_tpu(strategy):
        raise ValueError("--dtype=float16: a TPU has no float16 products, use --dtype=bfloat16")


def set_seed_and_precision(seed: int, dtype: str) -> None:
    """Fixes what the layers are made with: initial weights, and products in "float32", "bfloat16" or "float16"."""
    # Shuffling a dataset by a tensor fails in TensorFlow where this is 0.
    keras.utils.set_random_seed(seed or 2**32 - 1)
    keras.config.set_dtype_policy(dtype if dtype == "float32" else f"mixed_{dtype}")
