"""Evaluations in the course of training: when they are, where their numbers go, and when they say to stop."""

import math
import os
from collections.abc import Callable, Mapping

from absl import logging

from training.progress import ScalarWriter, read_scalars
from training.retention import is_better


class Evaluation:
    """Evaluations in the course of one training, which stays what it is without them.

    Their numbers go to `eval/`: TensorBoard, and metrics.jsonl, from where a restarted run knows the earlier ones.

    Args:
      measure: -> scalars by name, the same on all workers. It changes no variable.
      output_dir: where this process writes.
      num_train_steps: step at which the training ends.
      every: steps between evaluations; there is one at the end too.
      names: of the scalars that may choose among checkpoints.
      metric: that one of them which does; None if none does.
      patience: evaluations in a row without a better metric after which training ends early; None: it does not.
    """

    def __init__(
        self,
        measure: Callable[[], Mapping[str, float]],
        output_dir: str,
        num_train_steps: int,
        every: int,
        names: list[str],
        metric: str | None = None,
        patience: int | None = None,
    ):
        self.every = every
        self.names = names
        self._measure = measure
        self._directory = os.path.join(output_dir, "eval")
        self._num_train_steps = num_train_steps
        self._metric = metric
        self._patience = patience
        self._writer = ScalarWriter(self._directory)

    def is_due(self, step: int) -> bool:
        """Returns whether there is an evaluation after this step."""
        return step % self.every == 0 or step == self._num_train_steps

    def needs_checkpoint(self, step: int) -> bool:
        """Returns whether what was evaluated after this step must be saved, to be there if it is the best."""
        return self._metric is not None and self.is_due(step)

    def scores(self, step: int) -> dict[str, float]:
        """Evaluates and reports if it is due, and returns those of the numbers that may choose among checkpoints."""
        if not self.is_due(step):
            return {}
        results = self._measure()
        self._writer.write(step, results)
        shown = "".join(f"  {name} {results[name]:.4f}" for name in self.names)
        logging.info("evaluation after step %d%s", step, shown)
        return {name: float(results[name]) for name in self.names}

    def gives_up(self, step: int) -> bool:
        """Returns whether training ends at this step, because the metric got no better for so long."""
        if not self._patience:
            return False
        reports = read_scalars(self._directory).get(self._metric, [])
        best_step, best, waited = None, math.nan, 0
        for at, value in reports:
            # Later ones are of a past that the run went back from, others of another --eval_steps.
            if at > step or not self.is_due(at):
                continue
            better = best_step is None or is_better(self._metric, value, best)
            if math.isfinite(value) and better:
                best_step, best, waited = at, value, 0
            else:
                waited += 1
        if waited < self._patience:
            return False
        logging.info(
            "Step %d: %s was no better in %d evaluations than %.5g after step %s: training ends here",
            *(step, self._metric, waited, best, best_step),
        )
        return True
