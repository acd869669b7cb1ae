"""How many steps run on the device before the host looks again, and when a checkpoint is due."""

import time
from collections.abc import Callable

# Between two looks of the host, which reports, saves and hears requests to stop.
LOOK_SECONDS = 5.0
# At most so many times the steps of the loop before: the first loop is mostly tracing.
GROWTH = 10


class Pace:
    """The rhythm of one training.

    Args:
      num_train_steps: step at which it ends.
      iterations_per_loop: most steps between two looks; fewer where they would take longer than 5 seconds.
      save_steps: steps between checkpoints, unless minutes are given.
      save_minutes: minutes between checkpoints.
      look_at: one more step at which the host looks.
      look_every: look at multiples of so many steps too.
      clock: returns seconds.
    """

    def __init__(
        self,
        num_train_steps: int,
        iterations_per_loop: int,
        save_steps: int,
        save_minutes: float | None = None,
        look_at: int = 0,
        look_every: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.num_train_steps = num_train_steps
        self.iterations_per_loop = iterations_per_loop
        self.save_steps = save_steps if save_minutes is None else num_train_steps
        self.save_minutes = save_minutes
        self.look_at = look_at
        self.look_every = look_every or num_train_steps
        self._clock = clock
        self._saved = clock()
        self._most = 1

    def took(self, count: int, seconds: float) -> None:
        """Learns that `count` steps took so long."""
        self._most = max(1, min(GROWTH * count, int(LOOK_SECONDS * count / seconds)))

    def next_count(self, step: int) -> int:
        """Returns how many steps to run from `step` on, at least 1 and not past the end."""
        multiples = [(step // n + 1) * n for n in (self.save_steps, self.look_every)]
        looks = [self.num_train_steps, *multiples, self.look_at]
        left = min((look - step for look in looks if look > step), default=1)
        return min(self._most, self.iterations_per_loop, left)

    def save_is_due(self, step: int) -> bool:
        """Returns whether to save at this step; then the minutes begin anew."""
        due = step == self.num_train_steps or step % self.save_steps == 0
        if self.save_minutes is not None:
            due |= self._clock() - self._saved >= 60 * self.save_minutes
        if due:
            self._saved = self._clock()
        return due
