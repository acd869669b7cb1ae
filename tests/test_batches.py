"""The order of training records is a function of seed and step; every epoch is one pass."""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from training.batches import Augmentation, eval_batches, train_batches
from training.record_files import scan_files
from training.strategy import set_seed_and_precision
from training.workers import distribute

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


def test_seed_0_is_a_seed_like_others(write):
    set_seed_and_precision(0, "float32")
    batches = numbers(train_batches(write(5, 8), SPEC, 13, seed=0), 1)
    assert sorted(batches[0]) == list(range(13))


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


NOISY = Augmentation(7, lambda features, noise: features | {"noise": noise})


def noisy(dataset, count):
    """Returns (number of the record, its noise) of all records of so many batches."""
    batches = list(dataset.take(count).as_numpy_iterator())
    return [
        (int(number), *noise.tolist())
        for batch in batches
        for number, noise in zip(batch["number"], batch["noise"], strict=True)
    ]


def noisy_training(files, batch_size, count, seed=7, first_step=0):
    batches = train_batches(files, SPEC, batch_size, seed, first_step, augmentation=NOISY)
    return noisy(batches, count)


def test_noise_is_as_large_as_asked_for(write):
    batches = train_batches(write(7), SPEC, 5, seed=7, augmentation=NOISY)
    assert batches.element_spec["noise"] == tf.TensorSpec([5, 7], tf.float32)


def test_noise_is_uniform(write):
    drawn = [row[1:] for row in noisy_training(write(997), 997, 3)]
    assert scipy.stats.kstest(np.ravel(drawn), "uniform").pvalue > 1e-3
    assert len({*drawn}) == 3 * 997


def test_noise_of_a_record_differs_from_epoch_to_epoch(write):
    drawn = noisy_training(write(5), 5, 2)
    first, second = (dict((row[0], row[1:]) for row in part) for part in (drawn[:5], drawn[5:]))
    assert all(first[number] != second[number] for number in range(5))


def test_noise_does_not_depend_on_the_size_of_batches(write):
    files = write(11, 3)
    assert noisy_training(files, 2, 35) == noisy_training(files, 5, 14)


@pytest.mark.parametrize("step", [1, 4, 5, 13])
def test_noise_is_the_same_after_a_stop(write, step):
    files = write(11, 3)
    whole = noisy_training(files, 3, 20)
    assert noisy_training(files, 3, 20 - step, first_step=step) == whole[3 * step :]


def test_noise_is_a_matter_of_the_seed(write):
    files = write(5)
    first, second = (sorted(noisy_training(files, 5, 1, seed)) for seed in (1, -2))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_replicas_share_the_noise_of_a_batch(write, strategy):
    files = write(11, 3)
    batches = train_batches(files, SPEC, 6, seed=7, augmentation=NOISY)
    found = []
    for batch in itertools.islice(distribute(strategy, batches), 5):
        local = tf.nest.map_structure(strategy.experimental_local_results, batch)
        numbers, noise = (np.concatenate(local[name]) for name in ("number", "noise"))
        found += [(int(n), *row.tolist()) for n, row in zip(numbers, noise, strict=True)]
    assert found == noisy_training(files, 6, 5)


def test_evaluations_have_the_same_noise_another_than_training(write):
    files = write(5)
    first, second = (noisy(eval_batches(files, SPEC, 5, augmentation=NOISY), 1) for _ in range(2))
    assert first == second
    assert not {row[1:] for row in first} & {row[1:] for row in noisy_training(files, 5, 1, 0)}
