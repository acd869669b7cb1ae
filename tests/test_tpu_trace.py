"""TPUStrategy with CPU devices in the place of a TPU's cores: a train step, traced and not run, and its batches."""

import collections
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.tpu.tpu_system_metadata import TPUSystemMetadata

from modeling.heads import BertPretrainer
from pretraining.objective import OBJECTIVE
from training.batches import eval_batches, train_batches
from training.optimizer import AdamWeightDecay
from training.record_files import scan_files
from training.records import serialize_rows, write_records
from training.train_step import train_step
from training.workers import distribute

CORES = 2
DEVICE = "/job:localhost/replica:0/task:0/device:"


class Device:
    """A core, as far as TPUStrategy asks."""

    device_type = "TPU"

    def __init__(self, number):
        self.name = f"{DEVICE}TPU:{number}"


class Resolver(tf.distribute.cluster_resolver.TPUClusterResolver):
    """Says that this machine has a TPU."""

    task_type, task_id, tpu_hardware_feature = "worker", 0, None

    def __init__(self, cores, hosts):
        self.metadata = TPUSystemMetadata(
            cores, hosts, cores // hosts, None, [Device(number) for number in range(cores)]
        )

    def __del__(self):
        pass

    def master(self, *_, **__):
        return "local"

    def cluster_spec(self):
        return tf.train.ClusterSpec({})

    def get_tpu_system_metadata(self):
        return self.metadata


@pytest.fixture
def make_strategy():
    """Makes a TPUStrategy that has its variables on CPU devices; it can trace functions, not run them."""

    def make(cores=CORES, hosts=1):
        strategy = tf.distribute.TPUStrategy(Resolver(cores, hosts))
        devices = np.array([[f"{DEVICE}CPU:{n}"] for n in range(cores)])
        strategy.extended._tpu_devices = devices
        strategy.extended._host_device = f"{DEVICE}CPU:0"
        of_hosts = np.split(devices[:, 0], hosts)
        strategy.extended._device_input_worker_devices = {own[0]: list(own) for own in of_hosts}
        return strategy

    return make


def operations(function):
    """Returns how often each operation is in a traced function and in those that it calls."""
    graph = function.graph.as_graph_def()
    bodies = [graph.node, *(called.node_def for called in graph.library.function)]
    return collections.Counter(node.op for body in bodies for node in body)


def test_all_is_summed_over_the_cores_once_and_unconditionally(
    make_strategy, tiny_config, pretraining_batches
):
    tpu_strategy = make_strategy()
    with tpu_strategy.scope():
        model = BertPretrainer(tiny_config)
        optimizer = AdamWeightDecay(model.trainable_variables, 1e-3, 10, 2)
    batch = {name: tf.constant(values[0]) for name, values in pretraining_batches(1, 6).items()}
    reports = {}

    def step(batch):
        reports.update(train_step(model, OBJECTIVE, optimizer, batch, 3, num_micro_batches=3))

    def run():
        tpu_strategy.run(step, args=(batch,))

    traced = tf.function(run).get_concrete_function()
    counts = operations(traced)
    weights = OBJECTIVE.weights(batch)
    summed = reports.keys() - {"learning_rate", "gradient_norm"}
    expected = len(weights) + len(optimizer.variables) + len(summed)
    assert counts["CrossReplicaSum"] == expected
    assert not counts["If"] + counts["StatelessIf"]
    assert counts["While"] + counts["StatelessWhile"] == 1


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("endless", [False, True])
def test_cores_of_all_hosts_get_the_rows_of_a_batch_in_its_order(
    make_strategy, tmp_path, hosts, endless
):
    """Else predictions would be those of other rows."""
    path = str(tmp_path / "records")
    write_records(path, serialize_rows({"number": np.arange(24)[:, np.newaxis]}))
    files, spec = scan_files([path]), {"number": tf.io.FixedLenFeature([1], tf.int64)}
    make_batches = functools.partial(train_batches, seed=7) if endless else eval_batches
    strategy, expected = make_strategy(4, hosts), make_batches(files, spec, 8).take(3)
    found = distribute(strategy, make_batches(files, spec, 8), endless)
    for batch, wanted in zip(itertools.islice(found, 3), expected, strict=True):
        rows = strategy.experimental_local_results(batch["number"])
        np.testing.assert_array_equal(np.concatenate(rows), wanted["number"])
