r"""Fine-tunes BERT for classification of sentences and sentence pairs (Devlin et al. 2019, section 4.1).

    python run_classifier.py --task_name=MRPC --do_train=true --do_eval=true --data_dir=$GLUE_DIR/MRPC \
      --vocab_file=$BERT_BASE_DIR/vocab.txt --bert_config_file=$BERT_BASE_DIR/bert_config.json \
      --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt --max_seq_length=128 --train_batch_size=32 \
      --learning_rate=2e-5 --num_train_epochs=3.0 --output_dir=/tmp/mrpc_output/
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import os
from collections.abc import Callable, Iterable

import tensorflow as tf
from absl import flags, logging

from finetuning.features import encode_examples, feature_spec, write_records
from finetuning.objective import OBJECTIVE, evaluation_metrics, example_scores
from finetuning.tasks import Example, Task, find_task, read_examples
from modeling.config import BertConfig
from modeling.flops import classifier_flops
from modeling.heads import BertClassifier
from tokenization import FullTokenizer, validate_case_matches_checkpoint
from tokenization.files import write_text
from training import dry_run
from training.batches import eval_batches, train_batches
from training.common_flags import (
    define_epoch_flags,
    define_training_flags,
    loop_arguments,
    optimizer_from_flags,
    run_state_from_flags,
    steps_from_epochs,
    strategy_from_flags,
)
from training.loop import predict, train
from training.preflight import Preflight, call
from training.progress import Progress
from training.record_files import scan_files
from training.results import write_eval_results
from training.weights import check_same_start, load_weights
from training.workers import wait_for_workers

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this script: names and defaults of the original."""
    define_training_flags(max_seq_length=128)
    define_epoch_flags()
    dry_run.define_dry_run_flags()
    flags.DEFINE_string(
        "data_dir", None, "Directory with the task's files (train.tsv, dev.tsv, ...)."
    )
    flags.DEFINE_string("task_name", None, "Name of the task: cola, mnli, mrpc or xnli.")
    flags.DEFINE_string("vocab_file", None, "Vocabulary of the model (vocab.txt).")
    flags.DEFINE_bool("do_lower_case", True, "Lower-case the text; false for cased models.")
    flags.DEFINE_alias("do_lower", "do_lower_case")
    flags.DEFINE_bool("do_eval", False, "Evaluate on the dev set; writes eval_results.txt.")
    flags.DEFINE_bool("do_predict", False, "Predict the test set; writes test_results.tsv.")
    flags.DEFINE_integer("eval_batch_size", 8, "Examples in a batch of evaluation.", 1)
    flags.DEFINE_integer("predict_batch_size", 8, "Examples in a batch of prediction.", 1)


def read_inputs(
    config: BertConfig, task: Task, check: Callable = call
) -> tuple[dict[str, list[Example]], FullTokenizer]:
    """Returns the examples of the wanted splits and the tokenizer, after all checks that need no model.

    A `check` that collects errors goes on after them.
    """
    check(validate_case_matches_checkpoint, FLAGS.do_lower_case, FLAGS.init_checkpoint)
    check(BertConfig.check_seq_length, config, FLAGS.max_seq_length)
    wanted = {"train": FLAGS.do_train, "dev": FLAGS.do_eval, "test": FLAGS.do_predict}
    check(check_something_to_do, wanted.values())
    examples = {
        split: check(read_examples, task, FLAGS.data_dir, split)
        for split in wanted
        if wanted[split]
    }
    tokenizer = check(FullTokenizer, FLAGS.vocab_file, FLAGS.do_lower_case)
    check(check_vocabulary, config, tokenizer)
    return examples, tokenizer


def check_something_to_do(wanted: Iterable[bool]) -> None:
    """Raises ValueError unless there is."""
    if not any(wanted):
        raise ValueError("nothing to do: give --do_train, --do_eval, --do_predict or several")


def check_vocabulary(config: BertConfig, tokenizer: FullTokenizer) -> None:
    """Raises ValueError unless the model has an embedding for every token."""
    config.check_vocab_size(len(tokenizer.vocab), FLAGS.vocab_file)


def write_features(output_dir: str, split: str, examples, task, tokenizer) -> str:
    """Writes `<split>.tf_record` and returns its path."""
    features = encode_examples(examples, task.labels, FLAGS.max_seq_length, tokenizer)
    path = os.path.join(output_dir, f"{split}.tf_record")
    write_records(path, features)
    return path


def write_test_results(output_dir: str, batches) -> None:
    """Writes test_results.tsv: the probabilities of the classes, a line for each example in file order."""
    lines = [
        "\t".join(str(probability) for probability in row) + "\n"
        for batch in batches
        for row in batch["probabilities"][batch["is_real_example"] > 0]
    ]
    path = os.path.join(output_dir, "test_results.tsv")
    write_text(path, "".join(lines))
    logging.info("***** %d predictions, in %s *****", len(lines), path)


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    strategy = dry_run.checked_strategy(check, "eval_batch_size", "predict_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    task = check(find_task, FLAGS.task_name)
    examples, _ = read_inputs(config, task, check)
    labels = check(lambda task: len(task.labels), task)
    model = dry_run.checked_model(
        check, strategy, BertClassifier, config, labels, FLAGS.rematerialize
    )
    trainings = []
    if FLAGS.do_train:
        count, length = check(len, examples["train"]), FLAGS.max_seq_length
        flops = check(classifier_flops, config, length, labels)
        steps = check(steps_from_epochs, count)
        trainings = [check(dry_run.training_from_flags, length, count, labels, flops, steps)]
    dry_run.finish(check, config, model, strategy, trainings)


def train_on(path, num_examples, num_train_steps, model, optimizer, strategy, state, step) -> int:
    """Trains from `step` on with the records of a file, and returns the number of updates made."""
    spec = feature_spec(FLAGS.max_seq_length)
    num_labels = model.classifier.output_bias.shape[0]
    progress = Progress(
        state.own_dir,
        num_train_steps,
        FLAGS.train_batch_size,
        lambda length: classifier_flops(model.bert.config, length, num_labels).training(),
    )
    return train(
        model,
        OBJECTIVE,
        optimizer,
        strategy,
        train_batches(
            scan_files([path]), spec, FLAGS.train_batch_size, FLAGS.seed, step, num_examples
        ),
        state,
        progress,
        num_train_steps=num_train_steps,
        **loop_arguments(),
    )


def main() -> None:
    """Checks, then trains, evaluates and predicts as the flags ask."""
    if FLAGS.dry_run:
        return rehearse()
    strategy = strategy_from_flags("eval_batch_size", "predict_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    task = find_task(FLAGS.task_name)
    examples, tokenizer = read_inputs(config, task)
    num_train_steps, num_warmup_steps = steps_from_epochs(len(examples.get("train", [])))

    state = run_state_from_flags(strategy)
    with strategy.scope():
        model = BertClassifier(config, len(task.labels), FLAGS.rematerialize)
        optimizer = optimizer_from_flags(model, num_train_steps, num_warmup_steps)
    step = load_weights(state, FLAGS.init_checkpoint, model, optimizer)
    check_same_start(strategy, model, step)
    spec = feature_spec(FLAGS.max_seq_length)
    tf.io.gfile.makedirs(state.own_dir)

    if FLAGS.do_train:
        state.claim()
        path = write_features(state.own_dir, "train", examples["train"], task, tokenizer)
        arguments = (model, optimizer, strategy, state, step)
        step = train_on(path, len(examples["train"]), num_train_steps, *arguments)
    if FLAGS.do_eval:
        path = write_features(state.own_dir, "eval", examples["dev"], task, tokenizer)
        batches = eval_batches(scan_files([path]), spec, FLAGS.eval_batch_size)
        scores = list(predict(model, example_scores, batches, strategy))
        write_eval_results(state.own_dir, evaluation_metrics(scores), step)
    if FLAGS.do_predict:
        path = write_features(state.own_dir, "predict", examples["test"], task, tokenizer)
        batches = eval_batches(scan_files([path]), spec, FLAGS.predict_batch_size)
        write_test_results(state.own_dir, predict(model, example_scores, batches, strategy))
    wait_for_workers(strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(
        ["data_dir", "task_name", "vocab_file", "bert_config_file", "output_dir"]
    )
    app.run(main)
