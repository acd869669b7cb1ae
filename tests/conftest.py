"""Fixtures of all tests: two logical CPU devices, recorded numbers of the original."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of recorded numbers and real data beside the checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the recorded numbers of the original in {folder.name}/ beside the project")
    return folder


@pytest.fixture(scope="session")
def logical_devices():
    """Names of two logical CPU devices (made before TensorFlow initialises its devices)."""
    import tensorflow as tf

    cpus = tf.config.list_physical_devices("CPU")
    if len(tf.config.list_logical_devices("CPU")) < 2:
        raise RuntimeError("a test initialised TensorFlow's devices before the session did")
    del cpus
    return [device.name for device in tf.config.list_logical_devices("CPU")][:2]


def pytest_configure(config):
    """Splits the CPU in two before any test can initialise the devices."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
