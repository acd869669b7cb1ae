"""Several fine-tuned models of one task that answer together: the mean of their probabilities, or of their numbers."""

from collections.abc import Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from finetuning.label_map import first_label_map, folder_of
from finetuning.long_texts import judge
from finetuning.tasks import Task
from modeling.checkpoint import load_init_checkpoint, read_names_and_shapes, resolve_prefix
from training.retention import read_best
from training.weights import checkpoint_variables

FLAGS = flags.FLAGS

Batches = list[dict[str, np.ndarray]]


def define_ensemble_flags() -> None:
    """Defines the flag."""
    flags.DEFINE_list(
        "ensemble_checkpoints",
        [],
        "Evaluate and predict with the mean of the probabilities of these fine-tuned models: checkpoints, or output "
        "directories of runs.",
    )


def begin_with_first_member() -> None:
    """Lets the model begin as the first of an ensemble, so that all checks of a checkpoint are made of that.

    Raises:
      ValueError: the flags do not go together.
    """
    if not FLAGS.ensemble_checkpoints:
        return
    for name in ("do_train", "init_checkpoint", "use_best_checkpoint"):
        if FLAGS[name].value:
            raise ValueError(f"--ensemble_checkpoints has no use for --{name}: leave it out")
    if tf.train.get_checkpoint_state(FLAGS.output_dir):
        raise ValueError(
            f"--output_dir={FLAGS.output_dir} holds the checkpoints of a run: give --ensemble_checkpoints another"
        )
    FLAGS.init_checkpoint = FLAGS.ensemble_checkpoints[0]


def check_ensemble(task: Task) -> None:
    """Raises ValueError or FileNotFoundError unless all members are classifiers with the labels of the task."""
    for path in FLAGS.ensemble_checkpoints:
        log_member(path)
        shapes = read_names_and_shapes(path, "--ensemble_checkpoints")
        (found, *_) = shapes.get("output_weights", [0])
        known = first_label_map([folder_of(path)])
        if found != len(task.labels) or known not in (None, (task.kind, task.labels)):
            has = f"{found} labels" + (
                f", {', '.join(known[1])} of kind {known[0]}" if known else ""
            )
            raise ValueError(
                f"--ensemble_checkpoints: {path} has {has if found else 'no classifier'}, the task has "
                f"{len(task.labels)}, {', '.join(task.labels)} of kind {task.kind}: fine-tune all for the same task"
            )


def log_member(path: str) -> None:
    """Says which checkpoint a member is, and if its run, whose folder was given, has a better one."""
    prefix = resolve_prefix(path, "--ensemble_checkpoints")
    logging.info("Member of the ensemble: %s", prefix)
    best = read_best(path) if tf.io.gfile.isdir(path) else None
    if best and not prefix.endswith(f"-{best.step}"):
        logging.warning(
            "%s is the last of its run, whose best by %s is that of step %d: name it to use it",
            *(prefix, best.metric, best.step),
        )


def each_member(model: keras.Model) -> Iterator[None]:
    """Yields once for each member with the model being that; once with the model as it is if there is no ensemble."""
    for path in FLAGS.ensemble_checkpoints:
        load_init_checkpoint(path, checkpoint_variables(model), "--ensemble_checkpoints")
        yield
    if not FLAGS.ensemble_checkpoints:
        yield


def mean_of_members(members: Sequence[Iterable[dict]], kind: str) -> Batches:
    """Returns scores whose outputs are the means of those of all members; those of a single one as they are.

    Args:
      members: of each its scores of all batches, as from `objective.example_scores`, of the same examples.
      kind: of the task.
    """
    if len(members) == 1:
        return list(members[0])
    batches = []
    for scores in zip(*members, strict=True):
        outputs = np.mean([each["outputs"] for each in scores], 0, np.float64).astype(np.float32)
        found = judge(outputs, scores[0]["label_ids"], kind)
        batches.append(found | {"is_real_example": scores[0]["is_real_example"]})
    return batches
