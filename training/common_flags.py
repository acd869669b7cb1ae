"""Flags that the run_* scripts share, and what is made of them; names and defaults of the original."""

import os
import sys

import keras
import tensorflow as tf
from absl import flags

from training.device_flags import define_device_flags, device_strategy
from training.lamb import Lamb, NvidiaLamb
from training.loss_scale import DynamicLossScale
from training.nonfinite import NonFiniteSkip
from training.optimizer import WEIGHT_DECAY, AdamWeightDecay
from training.results import Run
from training.run_state import RunState
from training.strategy import (
    check_batch_size,
    check_precision,
    set_seed_and_precision,
)
from training.workers import check_agreement, is_chief, own_directory

FLAGS = flags.FLAGS

OPTIMIZERS = {"adam": AdamWeightDecay, "lamb": Lamb, "lamb_nvidia": NvidiaLamb}


def define_training_flags(max_seq_length: int) -> None:
    """Defines the flags of model, training and devices; `max_seq_length` is the default of that flag."""
    flags.DEFINE_string(
        "bert_config_file", None, "JSON file with the architecture of the model (bert_config.json)."
    )
    flags.DEFINE_string(
        "output_dir",
        None,
        "Directory of the run: checkpoints and results. A checkpoint in it wins.",
    )
    flags.DEFINE_string(
        "init_checkpoint",
        None,
        "Checkpoint to start from (bert_model.ckpt), unless output_dir has one.",
    )
    flags.DEFINE_integer(
        "max_seq_length", max_seq_length, "Length of an input in WordPieces, padding included."
    )
    flags.DEFINE_bool("do_train", False, "Train the model.")
    flags.DEFINE_integer("train_batch_size", 32, "Sequences in one update, over all devices.", 1)
    flags.DEFINE_float("learning_rate", 5e-5, "Peak learning rate.", 0.0)
    flags.DEFINE_integer("save_checkpoints_steps", 1000, "Steps between checkpoints.", 1)
    flags.DEFINE_integer(
        "iterations_per_loop",
        1000,
        "Most steps that run on the device between reports; fewer do where they would take over 5 seconds.",
        lower_bound=1,
    )
    _define_new_flags()
    _define_fault_flags()
    _define_kept_checkpoint_flags()
    _define_optimizer_flags()
    define_device_flags(
        ["float32", "bfloat16", "float16"],
        "Precision of matrix products; variables, softmax, normalisation and loss stay float32. "
        "float16 is for GPUs that have no bfloat16, and scales the loss dynamically.",
    )


def define_epoch_flags() -> None:
    """Defines how long fine-tuning takes."""
    flags.DEFINE_float("num_train_epochs", 3.0, "Passes over the training set.", 0.0)
    define_warmup_flags(warmup_proportion=0.1)


def define_warmup_flags(
    num_warmup_steps: int | None = None, warmup_proportion: float | None = None, prefix: str = ""
) -> None:
    """Defines the two ways to say how long warm-up is; one of them has the default that the original has."""
    steps, proportion = f"{prefix}num_warmup_steps", f"{prefix}warmup_proportion"
    flags.DEFINE_integer(steps, num_warmup_steps, "Updates of linear warm-up.", 0)
    flags.DEFINE_float(
        proportion, warmup_proportion, "Share of the steps with linear warm-up.", 0.0, 1.0
    )
    flags.register_multi_flags_validator(
        [steps, proportion],
        lambda _: FLAGS[steps].using_default_value or FLAGS[proportion].using_default_value,
        "both say how long warm-up is, give one of them",
    )


def warmup_steps(num_train_steps: int, prefix: str = "") -> int | None:
    """Returns how many of the updates are warm-up, by the flag that was given, or else has a default; None if none has.

    `prefix` is what the names of the two flags begin with.
    """
    steps, proportion = FLAGS[f"{prefix}num_warmup_steps"], FLAGS[f"{prefix}warmup_proportion"]
    if proportion.value is not None and (steps.value is None or not proportion.using_default_value):
        return int(num_train_steps * proportion.value)
    return steps.value


def steps_from_epochs(num_examples: int) -> tuple[int, int]:
    """Returns the number of updates, and how many of them are warm-up, by the original's formula; 0 without --do_train.

    Raises:
      ValueError: there is no step to make.
    """
    if not FLAGS.do_train:
        return 0, 0
    steps = int(num_examples / FLAGS.train_batch_size * FLAGS.num_train_epochs)
    if not steps:
        raise ValueError(
            f"--num_train_epochs={FLAGS.num_train_epochs} with --train_batch_size={FLAGS.train_batch_size} "
            f"makes no step of {num_examples} examples"
        )
    return steps, warmup_steps(steps)


def _define_new_flags() -> None:
    """What the original did not have."""
    flags.DEFINE_integer(
        "gradient_accumulation_steps",
        1,
        "Micro-batches that a batch is computed in: less memory, same result.",
        lower_bound=1,
    )
    flags.DEFINE_bool(
        "rematerialize",
        False,
        "Compute the activations inside an encoder block again in the backward pass instead of keeping "
        "them: less memory, same result, about a third more time.",
    )
    flags.DEFINE_integer(
        "seed",
        12345,
        "Seed of initial weights, order of examples and dropout; the original had none.",
        0,
        2**32 - 1,
    )


def _define_kept_checkpoint_flags() -> None:
    """Which checkpoints stay; the original had the first, of the Estimator, without a flag for it."""
    flags.DEFINE_integer(
        "keep_checkpoint_max", 5, "Newest checkpoints that stay, older ones are deleted.", 1
    )
    flags.DEFINE_float(
        "keep_checkpoint_every_n_hours",
        None,
        "Of each period of so many hours the last checkpoint stays too (default: none).",
        0.0,
    )
    flags.DEFINE_string(
        "keep_best_metric",
        None,
        "The checkpoint that is the best by this metric stays too: loss, masked_lm_accuracy and what else "
        "training reports, as the mean of the steps since the checkpoint before, or where a script has "
        "--eval_steps a metric of the dev set, such as eval_accuracy; lower is better if its name has 'loss' in "
        "it. best_checkpoint.json names it (default: none).",
    )


def _define_fault_flags() -> None:
    """What is lost when something goes wrong."""
    steps, minutes = "save_checkpoints_steps", "save_checkpoints_minutes"
    flags.DEFINE_float(minutes, None, "Minutes between checkpoints, instead of steps.", 0.0)
    flags.register_multi_flags_validator(
        [steps, minutes],
        lambda given: given[minutes] is None or FLAGS[steps].using_default_value,
        "both say when to save, give one of them",
    )
    flags.DEFINE_enum(
        "on_nonfinite",
        "stop",
        ["stop", "skip"],
        "What to do when a gradient is not a finite number: stop with status 17, or leave the update out, "
        "say so and go on. float16 always leaves it out, and lowers the scale of the loss.",
    )
    flags.DEFINE_integer(
        "max_nonfinite_steps", 10, "Updates that --on_nonfinite=skip may leave out in a run.", 1
    )


def _define_optimizer_flags() -> None:
    """How variables are updated; the original had no choice, and the defaults are what it did."""
    flags.DEFINE_enum(
        "optimizer",
        "adam",
        list(OPTIMIZERS),
        "'lamb' and 'lamb_nvidia' are for batches of thousands of sequences, and want larger learning "
        "rates. 'lamb' is the paper's (You et al. 2020); 'lamb_nvidia' clips gradients first, scales "
        "LayerNorm and bias by a trust ratio too, and decays the learning rate by a root.",
    )
    flags.DEFINE_bool(
        "adam_bias_correction",
        False,
        "Adam with bias correction. The original has none, which is the default; with it short "
        "trainings on small data end better more often. LAMB always has it.",
    )
    flags.register_multi_flags_validator(
        ["optimizer", "adam_bias_correction"],
        lambda given: given["optimizer"] == "adam" or not given["adam_bias_correction"],
        "LAMB always corrects the bias, leave --adam_bias_correction out",
    )
    _define_rate_flags()


def _define_rate_flags() -> None:
    """What bounds an update and decays, whatever the optimizer."""
    flags.DEFINE_float(
        "weight_decay",
        WEIGHT_DECAY,
        "Times the learning rate, what all variables but LayerNorm and bias shrink by in an update.",
        0.0,
    )
    flags.DEFINE_float(
        "clip_norm",
        None,
        "Largest global norm of the gradients; 0: they are not clipped (default: 1; lamb: 0).",
        0.0,
    )
    flags.DEFINE_float(
        "lr_decay_power",
        None,
        "Exponent of the learning rate's decay to 0; 1 is linear, 0 is none (default: 1; lamb_nvidia: 0.5).",
        0.0,
    )
    flags.DEFINE_float(
        "layerwise_lr_decay",
        1.0,
        "Factor of the learning rate from an encoder block to the one below it; embeddings are lowest, "
        "pooler and heads have the full rate.",
        0.0,
        1.0,
    )


def strategy_from_flags(*eval_batch_flags: str) -> tf.distribute.Strategy:
    """Returns the strategy, after a check that batches divide evenly; fixes seed and precision of what is made next.

    Args:
      eval_batch_flags: names of the flags with other batch sizes than that of training.
    """
    strategy = device_strategy()
    _check_same_flags(strategy)
    micro_batches = FLAGS.gradient_accumulation_steps
    check_batch_size("train_batch_size", FLAGS.train_batch_size, strategy, micro_batches)
    for name in eval_batch_flags:
        check_batch_size(name, FLAGS[name].value, strategy)
    check_precision(FLAGS.dtype, strategy)
    set_seed_and_precision(FLAGS.seed, FLAGS.dtype)
    return strategy


def _check_same_flags(strategy):
    """Several workers must run the same; where their files are may differ from host to host."""
    names = [flag.name for flag in FLAGS.get_key_flags_for_module(sys.argv[0])]
    names = [name for name in names if not name.endswith(("_dir", "_file", "_checkpoint"))]
    advice = "start all workers with the same script and flags"
    check_agreement(strategy, {"the list of flags": names}, advice)
    check_agreement(strategy, {f"--{name}": FLAGS[name].value for name in names}, advice)


def optimizer_from_flags(
    model: keras.Model, num_train_steps: int, num_warmup_steps: int
) -> AdamWeightDecay | None:
    """Returns the optimizer of the model, None without --do_train; call it in the strategy's scope."""
    if not FLAGS.do_train:
        return None
    settings = {}
    if FLAGS.optimizer == "adam":
        settings["bias_correction"] = FLAGS.adam_bias_correction
    if FLAGS.dtype == "float16":
        settings["guard"] = DynamicLossScale()
    elif FLAGS.on_nonfinite == "skip":
        settings["guard"] = NonFiniteSkip()
    return OPTIMIZERS[FLAGS.optimizer](
        model.trainable_variables,
        FLAGS.learning_rate,
        num_train_steps,
        num_warmup_steps,
        decay_power=FLAGS.lr_decay_power,
        weight_decay=FLAGS.weight_decay,
        clip_norm=FLAGS.clip_norm,
        layerwise_lr_decay=FLAGS.layerwise_lr_decay,
        **settings,
    )


def run_state_from_flags(strategy: tf.distribute.Strategy) -> RunState:
    """Returns the state of the run in output_dir, which only the chief of several workers writes to."""
    return RunState(
        FLAGS.output_dir,
        FLAGS.keep_checkpoint_max,
        FLAGS.keep_checkpoint_every_n_hours,
        FLAGS.keep_best_metric,
        None if is_chief(strategy) else own_directory(strategy),
    )


def loop_arguments() -> dict[str, int | float | None]:
    """Returns the arguments of `training.loop.train` that are flags."""
    names = (
        "seed",
        "save_checkpoints_steps",
        "save_checkpoints_minutes",
        "iterations_per_loop",
        "gradient_accumulation_steps",
        "max_nonfinite_steps",
    )
    return {name: FLAGS[name].value for name in names}


def run_from_flags() -> Run:
    """Returns how the script was started."""
    flag_list = FLAGS.get_key_flags_for_module(sys.argv[0])
    return Run(
        ["python", os.path.basename(sys.argv[0]), *sys.argv[1:]],
        {flag.name: flag.value for flag in flag_list},
        frozenset(flag.name for flag in flag_list if flag.present),
    )
