"""The flags that say what the task of sentences is and where its data are, and what is read by them."""

from collections.abc import Callable, Sequence

from absl import flags

from finetuning.custom_data import Columns, label_rows, read_rows
from finetuning.label_map import custom_task, first_label_map, folder_of, label_weights
from finetuning.task_files import read_examples
from finetuning.tasks import KINDS, SINGLE, TASKS, XNLI_LANGUAGES, Example, Task, find_task

FLAGS = flags.FLAGS

# A split's flag with the file of anyone's data, and what the split is there for.
_FILES = {
    "train": ("train_file", "do_train", "train on"),
    "dev": ("dev_file", "do_eval", "evaluate on"),
    "test": ("test_file", "do_predict", "predict"),
}
_CUSTOM = (
    *(name for name, *_ in _FILES.values()),
    *("text_columns", "label_column", "id_column", "label_kind", "label_separator", "labels"),
)


def define_task_flags() -> None:
    """Defines the flags; the first two are the original's."""
    flags.DEFINE_string(
        "data_dir", None, "Directory with the task's files (train.tsv, dev.tsv, ...)."
    )
    flags.DEFINE_enum(
        "task_name",
        None,
        [*TASKS, "custom"],
        "Name of the task, in any case.",
        case_sensitive=False,
    )
    flags.DEFINE_enum(
        "xnli_language",
        "zh",
        XNLI_LANGUAGES,
        "xnli: the language. The training set is translated into it; for zero-shot transfer train with en, then "
        "evaluate with others.",
    )
    flags.DEFINE_string(
        "class_weights",
        None,
        "Weights of the labels in training: 'balanced', or numbers in the order of the labels.",
    )
    for name, _, purpose in _FILES.values():
        flags.DEFINE_string(name, None, f"custom: the .tsv, .csv or .jsonl file to {purpose}.")
    flags.DEFINE_list("text_columns", ["text"], "custom: the one or two columns with texts.")
    flags.DEFINE_string("label_column", "label", "custom: the column with the label.")
    flags.DEFINE_string("id_column", None, "custom: a column that tells examples apart.")
    flags.DEFINE_enum(
        "label_kind",
        SINGLE,
        KINDS,
        "custom: a single label an example, any number of them (multi), or a number (regression).",
    )
    flags.DEFINE_string("label_separator", ",", "custom: what stands between several labels.")
    flags.DEFINE_list(
        "labels", [], "custom: the labels in the order of their ids (default: those of train_file)."
    )


def check_task_flags() -> None:
    """Raises ValueError unless the flags with the data are those of the task."""
    task = FLAGS.task_name
    unused = ["data_dir"] if task == "custom" else [*_CUSTOM]
    unused += [] if task == "xnli" else ["xnli_language"]
    given = [name for name in unused if not FLAGS[name].using_default_value]
    if given:
        raise ValueError(f"--task_name={task} has no use for --{given[0]}")
    if task != "custom":
        if FLAGS.data_dir is None:
            raise ValueError(f"--task_name={task} needs --data_dir")
        return
    if not 1 <= len(FLAGS.text_columns) <= 2:
        raise ValueError(f"--text_columns={','.join(FLAGS.text_columns)}: name one or two columns")
    columns = [*FLAGS.text_columns, FLAGS.label_column]
    if len({*columns}) < len(columns) and (FLAGS.do_train or FLAGS.do_eval):
        raise ValueError(
            f"--text_columns={','.join(FLAGS.text_columns)} and --label_column={FLAGS.label_column} name a column twice"
        )
    if not FLAGS.label_separator:
        raise ValueError("--label_separator is empty")
    for name, reason, _ in _FILES.values():
        if FLAGS[reason].value and not FLAGS[name].value:
            raise ValueError(f"--{reason} needs --{name}")


def read_task(splits: Sequence[str], check: Callable) -> tuple[Task, dict[str, list[Example]]]:
    """Returns the task of the flags, and the examples of "train", "dev" and "test" as far as they are wanted.

    What is wrong is raised, or noted, by `check`: see `training.preflight`.
    """
    check(check_task_flags)
    if FLAGS.task_name == "custom":
        return _read_custom(splits, check)
    task = find_task(FLAGS.task_name, FLAGS.xnli_language)
    return task, {split: check(read_examples, task, FLAGS.data_dir, split) for split in splits}


def _read_custom(splits: Sequence[str], check: Callable):
    columns = Columns(
        FLAGS.text_columns, FLAGS.label_column, FLAGS.id_column, FLAGS.label_separator
    )
    folders = [FLAGS.output_dir]
    if FLAGS.init_checkpoint and not FLAGS.do_train:
        folders.append(folder_of(FLAGS.init_checkpoint))
    kind = check(_label_kind, folders)
    paths = {split: FLAGS[_FILES[split][0]].value for split in splits}
    rows = {split: check(read_rows, path, columns, kind, split) for split, path in paths.items()}
    task = check(custom_task, kind, FLAGS.labels, rows.get("train"), folders)
    return task, {split: check(label_rows, rows[split], task) for split in splits}


def _label_kind(folders: Sequence[str]) -> str:
    """Returns the kind of the flag; where it is not given and nothing is trained, that of a run in the folders."""
    known = first_label_map(folders)
    is_open = FLAGS["label_kind"].using_default_value and not FLAGS.do_train
    return known[0] if known and is_open else FLAGS.label_kind


def weights_from_flags(task: Task, train: Sequence[Example]) -> list[float] | None:
    """Returns the weights of the labels in training, None for none; raises as `label_weights` does."""
    return label_weights(FLAGS.class_weights, task, train)
