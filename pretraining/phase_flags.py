"""Flags of a second phase of training, which the original needed a second run for."""

from absl import flags

from training.common_flags import define_warmup_flags

FLAGS = flags.FLAGS


def define_phase2_flags() -> None:
    """Defines the flags; all but the records need --phase2_input_file."""
    flags.DEFINE_string(
        "phase2_input_file",
        None,
        "Records of a second phase of training, with longer sequences, in the same run; a comma list of "
        "globs. What --phase2_* leaves out is as in the first phase.",
    )
    flags.DEFINE_integer("phase2_max_seq_length", 512, "Length of an input in the second phase.")
    flags.DEFINE_integer(
        "phase2_max_predictions_per_seq", None, "Masked tokens that its records have room for."
    )
    flags.DEFINE_integer(
        "phase2_num_train_steps",
        None,
        "Its updates (default: a ninth of --num_train_steps, so that it is a tenth of the run).",
        lower_bound=1,
    )
    flags.DEFINE_integer("phase2_train_batch_size", None, "Sequences in one of its updates.", 1)
    flags.DEFINE_integer(
        "phase2_gradient_accumulation_steps", None, "Micro-batches of one of its batches.", 1
    )
    flags.DEFINE_float(
        "phase2_learning_rate",
        None,
        "Its peak learning rate; it has a warm-up and a decay of its own then, and the first phase decays "
        "to 0. Default: one warm-up and one decay over both phases.",
        0.0,
    )
    define_warmup_flags(prefix="phase2_")
    names = [name for name in FLAGS if name.startswith("phase2_")]
    for name in sorted({*names} - {"phase2_input_file"}):
        needed = "phase2_learning_rate" if "warmup" in name else "phase2_input_file"
        flags.register_multi_flags_validator(
            [name, needed],
            lambda given, name=name, needed=needed: (
                FLAGS[name].using_default_value or given[needed] is not None
            ),
            f"--{name} needs --{needed}",
        )
