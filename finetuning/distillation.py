"""Distillation: a small BERT learns from a larger one that was fine-tuned for the task.

Soft labels as in Turc et al. 2019 (the paper of the small models), section 3: the student's cross-entropy against the
teacher's probabilities, on texts that need no labels. Hinton et al. 2015, section 2, have temperature and the mean with
the loss of true labels. Hidden states as in Jiao et al. 2019 (TinyBERT), section 3.1: those of a student's block are
like those of the teacher's block at the same share of the depth.
Shapes: B batch, S sequence, H hidden of the student, U hidden of the teacher, C labels.
"""

import keras
import tensorflow as tf

from finetuning.objective import example_scores
from finetuning.tasks import MULTI, REGRESSION, SINGLE
from modeling.checkpoint import load_init_checkpoint, read_names_and_shapes
from modeling.config import BertConfig
from modeling.heads import BertClassifier
from training.train_step import Objective


def distillation_objective(
    labels: Objective,
    teacher: BertClassifier,
    kind: str = SINGLE,
    alpha: float = 1.0,
    temperature: float = 1.0,
    with_hidden_states: bool = False,
    projection: keras.Variable | None = None,
) -> Objective:
    """Returns the objective: `alpha` times what is learnt from the teacher and 1 - `alpha` times that of the labels.

    Args:
      labels: objective of ordinary training, see `objective.classifier_objective`.
      teacher: runs without dropout, and is not trained.
      kind: of the task, one of `tasks.KINDS`.
      alpha: 0 to 1; with 1 no label is read.
      temperature: above 0; logits of both are divided by it, and the loss of soft labels is multiplied by its square,
        which keeps the gradient's size. No regression has one.
      with_hidden_states: add the loss of hidden states to that of soft labels.
      projection: float32 [H, U], which takes the student's hidden states to the teacher's; None where H = U.
    """

    def weights(batch):
        real = tf.cast(batch["is_real_example"], tf.float32)  # [B]
        tokens = tf.reduce_sum(_real_tokens(batch))
        return labels.weights(batch) | {"examples": tf.reduce_sum(real), "real_tokens": tokens}

    def loss(model, batch, weights, seed):
        logits, outputs = model.logits_and_outputs(batch, seed)
        targets, examples = tf.nest.map_structure(
            tf.stop_gradient, teacher.logits_and_outputs(batch)
        )
        label_loss, metrics = labels.loss(lambda *_, **__: logits, batch, weights, seed)
        real = tf.cast(batch["is_real_example"], tf.float32) / weights["examples"]  # [B]
        losses = soft_label_losses(logits, targets, kind, temperature)  # [B]
        taught = soft_loss = tf.reduce_sum(losses * real)
        metrics = (metrics if alpha < 1.0 else {}) | {"soft_label_loss": soft_loss}
        if kind != REGRESSION:
            agreement = _agreement(logits, targets, batch, kind)  # [B]
            metrics["teacher_agreement"] = tf.reduce_sum(agreement * real)
        if with_hidden_states:
            errors = hidden_state_errors(
                outputs.encoder_outputs, examples.encoder_outputs, projection
            )  # [B, S]
            total = tf.reduce_sum(errors * _real_tokens(batch))
            metrics["hidden_state_loss"] = total / weights["real_tokens"]
            taught += metrics["hidden_state_loss"]
        return alpha * taught + (1.0 - alpha) * label_loss, metrics

    return Objective(weights, loss)


def soft_label_losses(
    logits: tf.Tensor, targets: tf.Tensor, kind: str = SINGLE, temperature: float = 1.0
) -> tf.Tensor:
    """Returns float32 [B]: the cross-entropy in nats against the teacher's probabilities.

    With any number of labels the mean over them; for a regression the squared difference of the numbers.

    Args:
      logits: float32 [B, C], of the student.
      targets: float32 [B, C], the logits of the teacher.
      kind: of the task.
      temperature: of both.
    """
    if kind == REGRESSION:
        return tf.math.squared_difference(logits, targets)[:, 0]
    logits, targets = logits / temperature, targets / temperature
    if kind == MULTI:
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.sigmoid(targets), logits)  # [B, C]
        return temperature**2 * tf.reduce_mean(losses, -1)
    return temperature**2 * tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(targets), logits)


def hidden_state_errors(
    states: list[tf.Tensor], examples: list[tf.Tensor], projection: keras.Variable | None = None
) -> tf.Tensor:
    """Returns float32 [B, S]: the mean squared error of a position, summed over the student's blocks.

    Args:
      states: float [B, S, H] of each of the student's blocks.
      examples: float [B, S, U] of each of the teacher's blocks. Block m of M has that of the N whose number is nearest
        to m N / M as its example.
      projection: float32 [H, U], one for all blocks; None where H = U.
    """
    errors = []
    for number, state in enumerate(states, start=1):
        example = examples[round(number * len(examples) / len(states)) - 1]
        state = tf.cast(state, tf.float32)  # [B, S, H]
        if projection is not None:
            state = tf.matmul(state, projection)  # [B, S, U]
        difference = tf.math.squared_difference(state, tf.cast(example, tf.float32))
        errors.append(tf.reduce_mean(difference, -1))  # [B, S]
    return tf.add_n(errors)


def _real_tokens(batch) -> tf.Tensor:
    """Returns float32 [B, S], 1 for the tokens of real examples."""
    return tf.cast(batch["input_mask"] * batch["is_real_example"][:, tf.newaxis], tf.float32)


def _agreement(logits, targets, batch, kind) -> tf.Tensor:
    """Returns float32 [B]: whether both predict the same; with any number of labels the share of them."""
    score = example_scores(kind)
    predictions = score(lambda *_, **__: targets, batch)["predictions"]
    return score(lambda *_, **__: logits, batch | {"label_ids": predictions})["correct"]


def check_teacher_checkpoint(path: str, num_labels: int) -> None:
    """Checks, by names and shapes alone, that a checkpoint is of a classifier with so many labels.

    Raises:
      ValueError, FileNotFoundError: it is not, or there is none.
    """
    found = read_names_and_shapes(path, "--teacher_checkpoint").get("output_weights")
    if found is None:
        raise ValueError(
            f"--teacher_checkpoint={path} has no classifier: fine-tune the teacher for the task first, with "
            "run_classifier.py"
        )
    if found[0] != num_labels:
        raise ValueError(
            f"--teacher_checkpoint={path} was fine-tuned with {found[0]} labels, and the task has {num_labels}: both "
            "models must learn the same task"
        )


def load_teacher(config: BertConfig, num_labels: int, checkpoint: str) -> BertClassifier:
    """Returns a fine-tuned model that no optimizer trains; call it in the strategy's scope.

    Raises:
      ValueError, FileNotFoundError: as `modeling.checkpoint.load_init_checkpoint`.
    """
    teacher = BertClassifier(config, num_labels)
    teacher.trainable = False
    variables = {variable.path: variable for variable in teacher.variables}
    load_init_checkpoint(checkpoint, variables, "--teacher_checkpoint")
    return teacher


def add_projection(student: BertClassifier, teacher: BertClassifier) -> keras.Variable | None:
    """Returns the projection of hidden states, a new variable of the student; None where widths are equal.

    It is trained and saved with the student, which computes nothing with it. Call this in the strategy's scope, before
    the optimizer is made.
    """
    size, teacher_size = student.bert.config.hidden_size, teacher.bert.config.hidden_size
    if size == teacher_size:
        return None
    values = keras.initializers.TruncatedNormal(stddev=student.bert.config.initializer_range)
    student.projection = keras.Variable(
        values, [size, teacher_size], name="distillation_projection"
    )
    return student.projection
