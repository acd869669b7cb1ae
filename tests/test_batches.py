"""The order of training records is a function of seed and step; every epoch is one pass."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from training.batches import eval_batches, train_batches
from training.record_files import scan_files

SPEC = {"number": tf.io.FixedLenFeature([], tf.int64)}


@pytest.fixture
def write(tmp_path):
    """Writes consecutive numbers into files of the given sizes."""

    def write(*sizes):
        files, numbers = [], itertools.count()
        for index, size in enumerate(sizes):
            files.append(str(tmp_path / f"{index}.tfrecord"))
            with tf.io.TFRecordWriter(files[-1]) as writer:
                for number in itertools.islice(numbers, size):
                    feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))
                    features = tf.train.Features(feature={"number": feature})
                    writer.write(tf.train.Example(features=features).SerializeToString())
        return scan_files(files)

    return write


def numbers(dataset, count):
    return [batch["number"].numpy().tolist() for batch in dataset.take(count)]


def test_every_epoch_holds_every_record_once(write):
    files = write(3, 5, 7)
    drawn = np.concatenate(numbers(train_batches(files, SPEC, 5, seed=1), 9))
    for epoch in np.split(drawn, 3):
        assert sorted(epoch) == list(range(15))


def test_batches_mix_epochs_only_where_the_count_forces_it(write):
    drawn = np.concatenate(numbers(train_batches(write(7), SPEC, 3, seed=1), 7))
    assert sorted(drawn[:7]) == sorted(drawn[7:14]) == sorted(drawn[14:21]) == list(range(7))


def test_epochs_have_orders_of_their_own(write):
    first, second = np.split(np.concatenate(numbers(train_batches(write(31), SPEC, 31, 1), 2)), 2)
    assert first.tolist() != second.tolist()


def test_seed_decides_the_order(write):
    files = write(11, 13)
    first, same, other = (numbers(train_batches(files, SPEC, 5, seed), 7) for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize("step", [1, 4, 5, 13])
def test_a_resumed_run_goes_on_where_it_stopped(write, step):
    files = write(11, 3)
    whole = numbers(train_batches(files, SPEC, 3, seed=7), 20)
    assert (
        numbers(train_batches(files, SPEC, 3, seed=7, first_step=step), 20 - step) == whole[step:]
    )


def test_evaluation_keeps_the_order_of_the_files(write):
    assert numbers(eval_batches(write(2, 4), SPEC, 3), 9) == [[0, 1, 2], [3, 4, 5]]


def test_the_last_evaluation_batch_is_filled_up_with_zeros(write):
    batches = eval_batches(write(2, 3), SPEC, 3)
    assert numbers(batches, 9) == [[0, 1, 2], [3, 4, 0]]
    assert batches.element_spec["number"].shape == [3]


def test_repeated_evaluation_wraps_around(write):
    drawn = numbers(eval_batches(write(5), SPEC, 3, repeat=True), 3)
    assert drawn == [[0, 1, 2], [3, 4, 0], [1, 2, 3]]


def test_integers_become_32_bits(write):
    (batch,) = eval_batches(write(3), SPEC, 3)
    assert batch["number"].dtype == tf.int32
