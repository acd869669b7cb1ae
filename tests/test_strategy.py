"""Which devices the flags and the environment choose; a TPU and GPUs are not at hand, TensorFlow is asked for them."""

import types

import pytest
import tensorflow as tf
from tiny_runs import tf_config

from training.strategy import create_strategy

CORES = 4


@pytest.fixture
def asked(monkeypatch):
    """What TensorFlow is asked for, in order; the TPU called "mine" is at 10.0.0.2."""
    asked = []

    class Resolver(tf.distribute.cluster_resolver.TPUClusterResolver):
        def __init__(self, **arguments):
            asked.append(arguments)
            super().__init__(**arguments)

        def cluster_spec(self):
            if asked[0]["tpu"] == "mine":
                return tf.train.ClusterSpec({"worker": ["10.0.0.2:8470", "10.0.0.3:8470"]})
            return super().cluster_spec()

    def connect(resolver):
        asked.append(f"connect to {resolver.master()}")

    tpu = types.SimpleNamespace(num_replicas_in_sync=CORES)
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", Resolver)
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", connect)
    monkeypatch.setattr(
        tf.tpu.experimental, "initialize_tpu_system", lambda _: asked.append("initialize")
    )
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda _: asked.append("strategy") or tpu)
    return asked


def test_the_tpu_of_this_machine_is_not_connected_to(asked):
    strategy = create_strategy(use_tpu=True, tpu_name="local", num_tpu_cores=CORES)
    assert strategy.num_replicas_in_sync == CORES
    assert asked == [dict(tpu="local", zone=None, project=None), "initialize", "strategy"]


def test_without_a_name_it_is_the_tpu_of_this_machine(asked):
    create_strategy(use_tpu=True)
    assert asked[0]["tpu"] == "local"


def test_a_named_tpu_is_looked_up_and_connected_to(asked):
    create_strategy(use_tpu=True, tpu_name="mine", tpu_zone="here", gcp_project="ours")
    resolver, *others = asked
    assert resolver == dict(tpu="mine", zone="here", project="ours")
    assert others == ["connect to grpc://10.0.0.2:8470", "initialize", "strategy"]


def test_a_tpu_may_be_given_by_its_address(asked):
    create_strategy(use_tpu=True, master="grpc://10.0.0.5:8470")
    assert asked[1:] == ["connect to grpc://10.0.0.5:8470", "initialize", "strategy"]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (dict(use_tpu=True, num_tpu_cores=3), "--num_tpu_cores=3, but this TPU has 4"),
        (dict(use_tpu=True, tpu_name="mine", master="grpc://a:1"), "give one of them"),
        (dict(tpu_zone="here"), "--tpu_zone=here needs --use_tpu=true"),
    ],
)
def test_flags_that_do_not_fit_are_refused(asked, arguments, expected):
    with pytest.raises(ValueError, match=expected):
        create_strategy(**arguments)


def test_a_name_without_zone_outside_of_google_cloud_is_explained(asked, monkeypatch):
    monkeypatch.setenv("GCE_METADATA_IP", "127.0.0.1:1")  # nobody answers there
    expected = "cannot use the TPU 'mine': .*refused.* give --tpu_zone and --gcp_project"
    with pytest.raises(ValueError, match=expected):
        create_strategy(use_tpu=True, tpu_name="mine")


def test_a_tpu_and_workers_exclude_each_other(asked, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1"], 0))
    with pytest.raises(ValueError, match="TF_CONFIG names 2 workers: unset it"):
        create_strategy(use_tpu=True, tpu_name="local")
    assert not asked


@pytest.mark.parametrize("number, mirrored", [(0, False), (1, False), (3, True)])
def test_all_gpus_are_used(monkeypatch, number, mirrored):
    gpus = [tf.config.PhysicalDevice(f"GPU:{n}", "GPU") for n in range(number)]
    monkeypatch.setattr(tf.config, "list_physical_devices", {"GPU": gpus}.get)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "mirrored")
    assert (create_strategy() == "mirrored") is mirrored
