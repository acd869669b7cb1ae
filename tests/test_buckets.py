"""Batches of several static lengths: every record in its turn, resumable, one trace a shape."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.buckets import (
    BucketedBatches,
    bucket_schedule,
    bucketed_train_batches,
    choose_lengths,
    count_by_length,
    parse_length_buckets,
)
from training.loop import train
from training.optimizer import AdamWeightDecay
from training.progress import Progress
from training.run_state import RunState
from training.train_step import Objective


@pytest.mark.parametrize(
    "text, lengths",
    [("", [29]), ("29", [29]), ("7,13", [7, 13, 29]), (" 13, 7,7 ", [7, 13, 29])],
)
def test_lengths_ascend_and_end_with_the_longest(text, lengths):
    assert parse_length_buckets(text, 29) == lengths


@pytest.mark.parametrize("text", ["31", "0", "-3", "7;13", "many"])
def test_a_length_that_cannot_be_is_refused(text):
    with pytest.raises(ValueError, match=f"--length_buckets={text}: .*--max_seq_length=29"):
        parse_length_buckets(text, 29)


def test_sequences_are_counted_at_the_least_length_that_they_fit_in():
    assert count_by_length([5, 7, 3, 13, 7, 8], [5, 7, 11, 13]) == {5: 2, 7: 2, 11: 1, 13: 1}
    assert count_by_length([3, 5], [5, 7]) == {5: 2}


def positions_and_least(num_tokens, lengths):
    counts = count_by_length(num_tokens, lengths)
    return sum(length * n for length, n in counts.items()), min(counts.get(n, 0) for n in lengths)


@pytest.mark.parametrize("least", [1, 5, 19])
def test_no_other_lengths_have_less_padding_than_those_chosen(least):
    num_tokens = np.random.default_rng(7).geometric(0.05, 97).clip(3, 61)
    assert max(num_tokens) == 61
    allowed = [
        (*chosen, 61)
        for most in range(4)
        for chosen in itertools.combinations(range(8, 61, 8), most)
        if positions_and_least(num_tokens, (*chosen, 61))[1] >= least
    ]
    expected = min(positions_and_least(num_tokens, lengths)[0] for lengths in allowed)
    lengths = choose_lengths(num_tokens, 61, least)
    assert tuple(lengths) in allowed
    assert positions_and_least(num_tokens, lengths)[0] == expected


@pytest.mark.parametrize(
    "num_tokens, lengths",
    [([3], [8]), ([17, 16], [24]), ([5] * 9 + [30] * 9, [8, 32]), ([101] * 40, [101])],
)
def test_chosen_lengths_end_with_the_longest_sequence(num_tokens, lengths):
    assert choose_lengths(num_tokens, 101, 5) == lengths


def test_steps_are_shared_out_in_proportion():
    assert np.bincount(bucket_schedule([10, 30, 60], 50, seed=1)).tolist() == [5, 15, 30]


@pytest.mark.parametrize("counts, steps", [([1, 1, 5000], 7), ([3, 5, 3], 3), ([499, 1], 500)])
def test_every_bucket_gets_a_step_if_there_are_enough(counts, steps):
    schedule = bucket_schedule(counts, steps, seed=2)
    assert len(schedule) == steps and set(schedule) == set(range(len(counts)))


def test_fewer_steps_than_buckets_still_make_a_schedule():
    assert len(bucket_schedule([3, 5, 7], 2, seed=1)) == 2


def test_the_order_of_lengths_is_a_function_of_the_seed():
    first, same, other = (bucket_schedule([40, 60], 100, seed).tolist() for seed in (1, 1, -1))
    assert first == same != other


@pytest.fixture
def files(tmp_path):
    """Records of two lengths: numbers 0 to 10 of length 2, 100 to 122 of length 3."""
    files = {}
    for length, numbers in ((2, range(11)), (3, range(100, 123))):
        files[length] = str(tmp_path / f"{length}.tfrecord")
        with tf.io.TFRecordWriter(files[length]) as writer:
            for number in numbers:
                values = tf.train.Feature(int64_list=tf.train.Int64List(value=[number] * length))
                features = tf.train.Features(feature={"input_mask": values})
                writer.write(tf.train.Example(features=features).SerializeToString())
    return files


def spec(length):
    return {"input_mask": tf.io.FixedLenFeature([length], tf.int64)}


def drawn(batches, first_step=0):
    """Returns the batches of a run, in order."""
    iterators = [iter(dataset) for dataset in batches.datasets]
    return [
        next(iterators[bucket])["input_mask"].numpy().tolist()
        for bucket in batches.schedule[first_step:]
    ]


def test_a_pass_over_the_buckets_meets_every_record_of_each(files):
    batches = bucketed_train_batches(files, {2: 11, 3: 23}, spec, 1, 5, 34)
    numbers = sorted(batch[0][0] for batch in drawn(batches))
    assert numbers == [*range(11), *range(100, 123)]


@pytest.mark.parametrize("step", [1, 5, 16])
def test_a_resumed_run_goes_on_with_the_same_batches(files, step):
    arguments = (files, {2: 11, 3: 23}, spec, 3, 5, 17)
    whole = drawn(bucketed_train_batches(*arguments))
    assert drawn(bucketed_train_batches(*arguments, first_step=step), step) == whole[step:]


def test_the_loop_traces_once_a_shape_and_reports_every_step(files, tmp_path):
    traced, seen = [], []

    class Scale(keras.Model):
        def __init__(self):
            super().__init__()
            self.scale = keras.Variable(1.0, name="scale")

    def loss(model, batch, weights, seed):
        traced.append(batch["input_mask"].shape)
        values = tf.cast(batch["input_mask"], tf.float32)
        share = tf.reduce_sum(values) / weights["values"]
        return share * model.scale.value, {"mean": share}

    objective = Objective(
        lambda batch: {"values": tf.cast(tf.size(batch["input_mask"]), tf.float32)}, loss
    )

    class Recorder(Progress):
        def report(self, step, history, seconds):
            seen.extend(history["mean"].tolist())
            super().report(step, history, seconds)

    model = Scale()
    optimizer = AdamWeightDecay(model.trainable_variables, 1e-3, 34, 0)
    batches = bucketed_train_batches(files, {2: 11, 3: 23}, spec, 1, 5, 34)
    expected = [np.mean(batch) for batch in drawn(batches)]
    train(
        model,
        objective,
        optimizer,
        tf.distribute.get_strategy(),
        batches,
        RunState(str(tmp_path / "run")),
        Recorder(str(tmp_path / "run"), 34, 1),
        num_train_steps=34,
        seed=1,
        save_checkpoints_steps=7,
    )
    assert sorted(map(tuple, set(traced))) == [(1, 2), (1, 3)] and len(traced) == 2
    np.testing.assert_allclose(seen, expected)


def test_consecutive_steps_of_one_shape_run_together():
    batches = BucketedBatches([], np.array([0, 0, 0, 1, 1, 0]))
    assert [batches.same_dataset(step, 6) for step in range(6)] == [3, 2, 1, 2, 1, 1]
    assert batches.same_dataset(0, 2) == 2
