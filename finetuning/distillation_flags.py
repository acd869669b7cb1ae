"""The flags of distillation, what they must fit, and the objective of a classifier that they make."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf
from absl import flags, logging

from finetuning.custom_data import Columns, label_rows, read_rows
from finetuning.distillation import (
    add_projection,
    check_teacher_checkpoint,
    distillation_objective,
    load_teacher,
)
from finetuning.label_map import first_label_map, folder_of
from finetuning.objective import classifier_objective
from finetuning.task_flags import weights_from_flags
from finetuning.tasks import REGRESSION, Example, Task
from modeling.config import BertConfig
from modeling.flops import Flops, classifier_flops
from modeling.heads import BertClassifier
from tokenization import load_vocab
from training.train_step import Objective

FLAGS = flags.FLAGS

_NEED_TEACHER = (
    *("distillation_alpha", "distillation_temperature", "distill_hidden_states", "distill_file"),
)


def define_distillation_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_string(
        "teacher_checkpoint",
        None,
        "Train the model to be like this one: --output_dir of the same task, or a checkpoint in it.",
    )
    flags.DEFINE_string(
        "teacher_config_file", None, "The teacher's bert_config.json; it has the same vocabulary."
    )
    flags.DEFINE_float(
        "distillation_alpha",
        1.0,
        "Share of the teacher in the loss, the rest is that of the labels; with 1 no label is read.",
        0.0,
        1.0,
    )
    flags.DEFINE_float(
        "distillation_temperature", 1.0, "What the logits of both models are divided by.", 0.01
    )
    flags.DEFINE_bool(
        "distill_hidden_states", False, "Learn the outputs of the teacher's encoder blocks too."
    )
    flags.DEFINE_string(
        "distill_file",
        None,
        "A .tsv, .csv or .jsonl file of further texts, without labels, to learn from the teacher; its columns are "
        "--text_columns, or text_a and, for pairs, text_b where the task is not custom.",
    )


def check_distillation_flags(config: BertConfig, task: Task) -> None:
    """Checks all that needs no model: the flags, and that the teacher has the vocabulary and the labels of the model.

    Raises:
      ValueError, OSError: they do not fit, or a file cannot be read.
    """
    if not FLAGS.teacher_checkpoint:
        given = [name for name in _NEED_TEACHER if not FLAGS[name].using_default_value]
        if given or FLAGS.teacher_config_file:
            name = given[0] if given else "teacher_config_file"
            raise ValueError(f"--{name} needs --teacher_checkpoint")
        return
    if not FLAGS.teacher_config_file:
        raise ValueError("--teacher_checkpoint needs --teacher_config_file")
    if FLAGS.distill_file and FLAGS.distillation_alpha < 1.0:
        raise ValueError(
            f"--distill_file has no labels, which --distillation_alpha={FLAGS.distillation_alpha} needs: leave one out"
        )
    if FLAGS.class_weights and FLAGS.distillation_alpha == 1.0:
        raise ValueError(
            "--class_weights needs --distillation_alpha below 1, with 1 no label is read"
        )
    if task.kind == REGRESSION and FLAGS.distillation_temperature != 1.0:
        raise ValueError("--distillation_temperature is for labels, and a regression has none")
    _check_vocabulary(config, BertConfig.from_json_file(FLAGS.teacher_config_file))
    check_teacher_checkpoint(FLAGS.teacher_checkpoint, len(task.labels))
    _check_labels(task)


def _check_vocabulary(config: BertConfig, teacher: BertConfig) -> None:
    """The ids of tokens are given to both models; a vocabulary often lies beside the configuration."""
    source = f"--teacher_config_file={FLAGS.teacher_config_file}"
    if teacher.vocab_size != config.vocab_size:
        raise ValueError(
            f"{source}: vocab_size is {teacher.vocab_size}, of the model it is {config.vocab_size}; both must have "
            "been pre-trained with the same vocabulary, since they are given the same ids"
        )
    if teacher.max_position_embeddings < FLAGS.max_seq_length:
        raise ValueError(
            f"{source}: the teacher has {teacher.max_position_embeddings} positions, and "
            f"--max_seq_length={FLAGS.max_seq_length}"
        )
    path = os.path.join(os.path.dirname(FLAGS.teacher_config_file), "vocab.txt")
    if tf.io.gfile.exists(path) and load_vocab(path) != load_vocab(FLAGS.vocab_file):
        raise ValueError(
            f"{path}, beside the teacher's configuration, is not --vocab_file={FLAGS.vocab_file}: both models must "
            "have been pre-trained with the same vocabulary, since they are given the same ids"
        )


def _check_labels(task: Task) -> None:
    path = FLAGS.teacher_checkpoint
    known = first_label_map([folder_of(path)])
    if known and known != (task.kind, task.labels):
        raise ValueError(
            f"--teacher_checkpoint={path} has labels {', '.join(known[1])} of kind {known[0]}, the task has "
            f"{', '.join(task.labels)} of kind {task.kind}: give --labels and --label_kind of the teacher"
        )


def with_distill_file(task: Task, examples: Sequence[Example]) -> list[Example]:
    """Returns the examples of training, and after them those of `--distill_file`, whose labels are never read.

    Raises:
      ValueError, OSError: as `custom_data.read_rows`.
    """
    if not FLAGS.distill_file:
        return [*examples]
    if task.name == "custom":
        names = FLAGS.text_columns
    else:
        pairs = task.tables["train"].text_b is not None
        names = ["text_a", "text_b"] if pairs else ["text_a"]
    rows = read_rows(FLAGS.distill_file, Columns(names, FLAGS.label_column), task.kind, "test")
    logging.info("%d examples with labels, %d without", len(examples), len(rows))
    return [*examples, *label_rows(rows, task)]


def flops_from_flags(config: BertConfig, num_labels: int) -> Callable[[int], Flops]:
    """Returns the function (static length) -> operations for one sequence, of which the teacher's are not trained."""
    if not FLAGS.teacher_checkpoint:
        return functools.partial(classifier_flops, config, num_labels=num_labels)
    teacher = BertConfig.from_json_file(FLAGS.teacher_config_file)

    def both(seq_length):
        own = classifier_flops(config, seq_length, num_labels)
        used = classifier_flops(teacher, seq_length, num_labels).forward
        return own._replace(frozen=own.frozen + used)

    return both


def teacher_from_flags(num_labels: int) -> BertClassifier | None:
    """Returns the teacher, None without one; call it in the strategy's scope.

    Raises:
      ValueError, OSError: it cannot be loaded.
    """
    if not FLAGS.teacher_checkpoint:
        return None
    config = BertConfig.from_json_file(FLAGS.teacher_config_file)
    return load_teacher(config, num_labels, FLAGS.teacher_checkpoint)


def objective_from_flags(
    model: BertClassifier, task: Task, examples: Mapping[str, Sequence[Example]]
) -> Objective | None:
    """Returns what training minimises, None without --do_train.

    Call it in the strategy's scope, before the optimizer is made: it loads the teacher, and may add to the model what
    only distillation needs.

    Args:
      model: to be trained.
      task: that it learns.
      examples: "train" among them.
    """
    if not FLAGS.do_train:
        return None
    labels = classifier_objective(task.kind, weights_from_flags(task, examples["train"]))
    if not FLAGS.teacher_checkpoint:
        return labels
    teacher = teacher_from_flags(len(task.labels))
    return distillation_objective(
        labels,
        teacher,
        task.kind,
        FLAGS.distillation_alpha,
        FLAGS.distillation_temperature,
        FLAGS.distill_hidden_states,
        add_projection(model, teacher) if FLAGS.distill_hidden_states else None,
    )
