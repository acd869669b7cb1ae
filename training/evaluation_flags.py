"""The flags of evaluations in the course of training, and what is made of them."""

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf
from absl import flags

from training.evaluation import Evaluation
from training.retention import BEST_FILE, read_best
from training.run_state import RunState
from training.weights import load_best
from training.workers import wait_for_workers

FLAGS = flags.FLAGS


def define_evaluation_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_integer(
        "eval_steps",
        None,
        "Evaluate during training too, after each so many steps and at its end; the numbers go to eval/, and "
        "--keep_best_metric may be one of them (default: only after training).",
        1,
    )
    flags.DEFINE_integer(
        "early_stopping_patience",
        None,
        "End training after so many evaluations in a row without a better --keep_best_metric (default: never).",
        1,
    )
    flags.DEFINE_bool(
        "use_best_checkpoint",
        False,
        f"Evaluate and predict with the checkpoint that {BEST_FILE} names, not with the last.",
    )


def check_evaluation_flags(names: list[str]) -> None:
    """Raises ValueError unless the flags go together; `names` are those of what an evaluation measures."""
    metric, patience = FLAGS.keep_best_metric, FLAGS.early_stopping_patience
    of_evaluation = metric in names or (metric or "").startswith("eval_")
    if FLAGS.eval_steps:
        if not (FLAGS.do_train and FLAGS.do_eval):
            raise ValueError("--eval_steps needs --do_train and --do_eval")
        if metric not in names and (patience or of_evaluation):
            reason = f"--keep_best_metric={metric}" if metric else "--early_stopping_patience"
            raise ValueError(
                f"{reason}: give --keep_best_metric one of {', '.join(names)}, which an evaluation measures"
            )
    elif patience or of_evaluation:
        name = "early_stopping_patience" if patience else f"keep_best_metric={metric}"
        raise ValueError(f"--{name} needs --eval_steps")
    if not FLAGS.use_best_checkpoint:
        return
    if FLAGS.do_train and not metric:
        raise ValueError("--use_best_checkpoint needs --keep_best_metric")
    if not FLAGS.do_train and not read_best(FLAGS.output_dir):
        raise ValueError(
            f"--use_best_checkpoint: there is no {BEST_FILE} in --output_dir={FLAGS.output_dir}, train with "
            "--keep_best_metric"
        )


def evaluation_from_flags(
    measure: Callable[[], Mapping[str, float]],
    output_dir: str,
    num_train_steps: int,
    names: list[str],
) -> Evaluation | None:
    """Returns the evaluations during training, None without `--eval_steps`; arguments as of `Evaluation`."""
    if not FLAGS.eval_steps:
        return None
    metric = FLAGS.keep_best_metric if FLAGS.keep_best_metric in names else None
    settings = (FLAGS.eval_steps, names, metric, FLAGS.early_stopping_patience)
    return Evaluation(measure, output_dir, num_train_steps, *settings)


def load_chosen(
    state: RunState, model: keras.Model, strategy: tf.distribute.Strategy, step: int
) -> int:
    """Loads the best checkpoint if the flags ask for it; returns the step of the model, which was at `step`."""
    if not FLAGS.use_best_checkpoint:
        return step
    wait_for_workers(strategy)  # the chief may be writing it
    return load_best(state, model)
