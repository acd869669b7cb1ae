"""Fixtures of all tests: four logical CPU devices, the recorded numbers of the original, and tiny files for scripts."""

import os
import pathlib
import shutil

import pytest

pytest.register_assert_rewrite("tiny_runs")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = pathlib.Path(__file__).resolve().parent.parent


def pytest_configure(config):
    """Splits the CPU in logical devices before a test can initialise TensorFlow's devices."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of recorded numbers and real data beside the checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder shared/ with recorded numbers beside the project")
    return folder


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> pathlib.Path:
    """A configuration, a vocabulary, a text and the files of MRPC, all tiny. Nothing in it may be changed."""
    from tiny_runs import write_files

    return write_files(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_records(tiny_files, tmp_path_factory) -> pathlib.Path:
    """A folder with pre-training records of the tiny text. Nothing in it may be changed."""
    from tiny_runs import record_flags, succeed

    folder = tmp_path_factory.mktemp("records")
    flags = record_flags(tiny_files, output_file=folder / "records.tfrecord")
    succeed("create_pretraining_data.py", **flags)
    return folder


@pytest.fixture
def files(tiny_files, tmp_path) -> pathlib.Path:
    """The tiny files, to be changed and to be run on."""
    return shutil.copytree(tiny_files, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def records(files, tiny_records) -> pathlib.Path:
    """Pre-training records of the tiny text, among `files`."""
    return shutil.copytree(tiny_records, files, dirs_exist_ok=True) / "records.tfrecord"


@pytest.fixture(autouse=True)
def _own_collectives():
    """Lets strategies of a test number their sums apart from those of other tests, as TensorFlow's own tests do.

    Each strategy counts from the same number, and a process in which two of them sum tensors of different shapes under
    one number fails.
    """
    import tensorflow as tf

    tf.distribute.MirroredStrategy._collective_key_base += 1000


@pytest.fixture(params=["one device", "two replicas"])
def strategy(request):
    """A strategy over one, then over two logical CPU devices."""
    import tensorflow as tf

    if request.param == "one device":
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


@pytest.fixture
def tiny_config():
    """A BERT whose sizes all differ."""
    from modeling.config import BertConfig

    return BertConfig(
        vocab_size=31,
        hidden_size=15,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=17,
        max_position_embeddings=13,
        type_vocab_size=2,
    )


@pytest.fixture
def pretraining_batches():
    """Makes batches of random records for `tiny_config`, with unequal numbers of masked tokens."""
    from benchmarks.invariance import random_batches

    return random_batches


@pytest.fixture
def sine_model():
    """The model of the specification's golden values (sines in place of trained weights), and its batch."""
    import numpy as np
    import tensorflow as tf

    from modeling.config import BertConfig
    from modeling.heads import BertPretrainer

    config = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=12,
        type_vocab_size=2,
    )
    model = BertPretrainer(config)
    for rank, variable in enumerate(sorted(model.variables, key=lambda v: v.path + ":0")):
        values = 0.1 * np.sin(0.37 * (np.arange(np.prod(variable.shape)) + 1) + 1.7 * rank)
        variable.assign(values.reshape(variable.shape) + variable.path.endswith("gamma"))
    batch = {
        "input_ids": [[2, 5, 7, 11, 3, 9, 0, 0], [2, 5, 5, 13, 17, 3, 21, 3]],
        "input_mask": [[1] * 6 + [0] * 2, [1] * 8],
        "segment_ids": [[0] * 5 + [1, 0, 0], [0] * 6 + [1, 1]],
        "masked_lm_positions": [[1, 3, 0], [2, 4, 6]],
        "masked_lm_ids": [[8, 12, 0], [5, 29, 1]],
        "masked_lm_weights": [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]],
        "next_sentence_labels": [[0], [1]],
    }
    return model, {name: tf.constant(values) for name, values in batch.items()}
