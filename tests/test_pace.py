"""How many steps run between two looks of the host, and when it saves."""

import pytest

from training.pace import Pace


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self):
        return self.now


def looks(pace, until, seconds_a_step):
    """Returns the steps at which the host looks, the first of a run to the last."""
    steps, step = [], 0
    while step < until:
        count = pace.next_count(step)
        step += count
        pace.took(count, count * seconds_a_step)
        steps.append(step)
    return steps


def test_the_first_loop_is_one_step_and_later_ones_grow_tenfold_at_most():
    assert looks(Pace(300, 1000, 300), 300, 0.01)[:3] == [1, 11, 111]


def test_a_loop_takes_five_seconds():
    assert looks(Pace(97, 1000, 97), 97, 0.5) == [1, *range(11, 97, 10), 97]


def test_a_loop_is_no_longer_than_asked():
    assert looks(Pace(29, 7, 29), 29, 0.001) == [1, 8, 15, 22, 29]


def test_steps_of_ten_seconds_are_looked_at_one_by_one():
    assert looks(Pace(5, 1000, 5), 5, 10.0) == [1, 2, 3, 4, 5]


def test_a_loop_ends_where_a_checkpoint_is_due_and_at_the_step_to_look_at():
    assert looks(Pace(40, 1000, 17, look_at=23), 40, 0.001) == [1, 11, 17, 23, 34, 40]
    assert looks(Pace(29, 1000, 17, look_every=13), 29, 0.001) == [1, 11, 13, 17, 26, 29]


def test_checkpoints_by_steps_are_due_at_multiples_and_at_the_end():
    pace = Pace(23, 1000, 7)
    assert [step for step in range(1, 24) if pace.save_is_due(step)] == [7, 14, 21, 23]


def test_checkpoints_by_minutes_are_due_so_long_after_the_last_and_at_the_end():
    clock = Clock()
    pace = Pace(23, 1000, 7, save_minutes=0.5, clock=clock)
    due = []
    for step in range(1, 24):
        clock.now += 13.0
        if pace.save_is_due(step):
            due.append(step)
    assert due == [3, 6, 9, 12, 15, 18, 21, 23]


@pytest.mark.parametrize("seconds", [1e-9, 1e9])
def test_there_is_always_a_step_to_make(seconds):
    pace = Pace(3, 1000, 2)
    pace.took(1, seconds)
    assert pace.next_count(2) == 1
