r"""Fine-tunes BERT for tasks of sentences and sentence pairs (Devlin et al. 2019, section 4.1): GLUE, XNLI, your own.

    python run_classifier.py --task_name=MRPC --do_train=true --do_eval=true --data_dir=$GLUE_DIR/MRPC \
      --vocab_file=$BERT_BASE_DIR/vocab.txt --bert_config_file=$BERT_BASE_DIR/bert_config.json \
      --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt --max_seq_length=128 --train_batch_size=32 \
      --learning_rate=2e-5 --num_train_epochs=3.0 --output_dir=/tmp/mrpc_output/

The same with files of your own, see finetuning/custom_data.py, in place of --task_name=MRPC and --data_dir:

      --task_name=custom --train_file=train.csv --dev_file=dev.csv --text_columns=review --label_column=stars
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

from collections.abc import Callable, Iterable
from functools import cache, partial

import numpy as np
from absl import flags, logging

from finetuning import distillation_flags
from finetuning.ensemble import (
    begin_with_first_member,
    check_ensemble,
    define_ensemble_flags,
    each_member,
    mean_of_members,
)
from finetuning.feature_flags import (
    count_lengths,
    define_feature_flags,
    owners_of,
    write_features,
)
from finetuning.features import feature_spec
from finetuning.label_map import write_label_map
from finetuning.length_records import LengthRecords, predict_by_length
from finetuning.long_texts import WINDOWS, mean_of_rows
from finetuning.objective import (
    evaluation_metrics,
    example_scores,
    in_file_order,
    metric_names,
    original_metrics,
    real_examples,
)
from finetuning.predictions import (
    evaluation_findings,
    write_full_predictions,
    write_submission,
    write_test_metrics,
    write_test_results,
)
from finetuning.report import write_report
from finetuning.sweep_flags import planned_runs, print_plan, run_planned
from finetuning.task_flags import define_task_flags, read_task, weights_from_flags
from finetuning.task_training import (
    begin,
    define_fine_tuning_flags,
    make_model,
    plan_trainings,
    train_on,
)
from finetuning.tasks import Example, Task
from modeling.config import BertConfig
from modeling.heads import BertClassifier
from tokenization import FullTokenizer
from training import dry_run
from training.common_flags import run_from_flags, run_state_from_flags, strategy_from_flags
from training.data_flags import check_length_buckets, define_text_flags, read_tokenizer
from training.evaluation_flags import check_evaluation_flags, load_chosen
from training.preflight import Preflight, call
from training.results import write_eval_results

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this script: names and defaults of the original."""
    define_fine_tuning_flags(max_seq_length=128)
    define_task_flags()
    distillation_flags.define_distillation_flags()
    define_feature_flags()
    define_ensemble_flags()
    define_text_flags()
    flags.DEFINE_bool("do_eval", False, "Evaluate on the dev set; writes eval_results.txt.")
    flags.DEFINE_bool("do_predict", False, "Predict the test set; writes test_results.tsv.")
    flags.DEFINE_integer("eval_batch_size", 8, "Examples in a batch of evaluation.", 1)
    flags.DEFINE_integer("predict_batch_size", 8, "Examples in a batch of prediction.", 1)
    flags.DEFINE_enum(
        "predict_format",
        "original",
        ["original", "full"],
        "full: test_predictions.csv too, with id, text, label and probabilities.",
    )


def read_inputs(
    config: BertConfig, check: Callable = call
) -> tuple[Task, dict[str, list[Example]], FullTokenizer]:
    """Returns the task, the examples of the wanted splits and the tokenizer, after all checks that need no model.

    A `check` that collects errors goes on after them.
    """
    check(begin_with_first_member)
    check(BertConfig.check_seq_length, config, FLAGS.max_seq_length)
    check(check_length_buckets)
    wanted = {"train": FLAGS.do_train, "dev": FLAGS.do_eval, "test": FLAGS.do_predict}
    check(check_something_to_do, wanted.values())
    check(planned_runs)
    task, examples = read_task([split for split in wanted if wanted[split]], check)
    check(check_evaluation_flags, check(metric_names, task))
    check(check_ensemble, task)
    if FLAGS.do_train:
        check(weights_from_flags, task, examples["train"])
        check(distillation_flags.check_distillation_flags, config, task)
        examples["train"] = check(distillation_flags.with_distill_file, task, examples["train"])
    return task, examples, check(read_tokenizer, config)


def check_something_to_do(wanted: Iterable[bool]) -> None:
    """Raises ValueError unless there is."""
    if not any(wanted):
        raise ValueError("nothing to do: give --do_train, --do_eval, --do_predict or several")


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    strategy = dry_run.checked_strategy(check, "eval_batch_size", "predict_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    task, examples, tokenizer = read_inputs(config, check)
    labels = check(lambda task: len(task.labels), task)
    model = dry_run.checked_model(check, strategy, make_model, BertClassifier, config, labels)
    trainings, teacher = [], None
    if FLAGS.do_train:
        counts = check(count_lengths, examples["train"], task, tokenizer)
        flops = check(distillation_flags.flops_from_flags, config, labels)
        trainings = plan_trainings(check, strategy, config, counts, labels, flops)
        teacher = check(distillation_flags.teacher_from_flags, labels)
    dry_run.finish(check, config, model, strategy, trainings, teacher)
    print_plan()


def score_examples(
    score, spec, task, model, strategy, records: LengthRecords, order: np.ndarray, batch_size: int
) -> list[dict]:
    """Returns the scores of a split in batches of the file's order."""
    data = (records, spec, batch_size, strategy)
    members = [list(predict_by_length(model, score, *data)) for _ in each_member(model)]
    batches = mean_of_members(members, task.kind)
    if FLAGS.truncation == WINDOWS:
        batches = [mean_of_rows(real_examples(batches), order, task.kind)]
        order = np.arange(len(batches[0]["loss"]))
    return in_file_order(batches, order, batch_size)


def evaluate(
    output_dir: str, task: Task, examples: list[Example], batches: list[dict], step: int
) -> dict[str, np.float32]:
    """Writes eval_results.txt and the report, and returns the results."""
    results = evaluation_metrics(batches, task)
    listed = original_metrics(results) if task.is_of_original else results
    write_eval_results(output_dir, listed, step, others=results)
    for name in sorted(results.keys() - listed.keys()):
        logging.info("%s = %s", name, results[name])
    findings = evaluation_findings(task, examples, real_examples(batches))
    write_report(output_dir, task.name, results, step, findings, run_from_flags())
    return results


def write_predictions(output_dir: str, task: Task, examples: list[Example], scores) -> None:
    """Writes the files with what the test set was predicted to be."""
    write_test_results(output_dir, scores["outputs"])
    if task.submission:
        write_submission(output_dir, task, scores["predictions"])
    if FLAGS.predict_format == "full":
        write_full_predictions(output_dir, task, examples, scores)


def measure_test(
    output_dir: str, task: Task, batches: list[dict], step: int
) -> dict[str, np.float32]:
    """Writes test_metrics.txt, and returns the metrics of a test set with labels."""
    results = evaluation_metrics(batches, task)
    del results["loss"]  # it depends on the batches
    results = {name.replace("eval_", "test_"): value for name, value in results.items()}
    write_test_metrics(output_dir, results, step)
    return results


def count_rows(examples: dict[str, list[Example]], tokenizer: FullTokenizer) -> int:
    """Returns the number of records to train on."""
    return len(owners_of(examples.get("train", []), tokenizer))


def run_once(config: BertConfig, task: Task, examples, tokenizer, strategy) -> dict[str, float]:
    """Trains, evaluates and predicts as the flags ask, and returns the results: the evaluation's, and the step."""

    def make():
        model = make_model(BertClassifier, config, len(task.labels))
        return model, distillation_flags.objective_from_flags(model, task, examples)

    state = run_state_from_flags(strategy)
    start = begin(state, strategy, count_rows(examples, tokenizer), make)
    spec = partial(feature_spec, kind=task.kind, num_labels=len(task.labels))
    score = partial(score_examples, example_scores(task.kind), spec, task, start.model, strategy)
    step, results = start.step, {}

    @cache
    def records(split, name):
        return write_features(state.own_dir, name, examples[split], task, tokenizer)

    def score_dev():
        return score(*records("dev", "eval"), FLAGS.eval_batch_size)

    if FLAGS.do_train:
        if task.name == "custom":
            write_label_map(state.own_dir, task)
        flops = distillation_flags.flops_from_flags(config, len(task.labels))
        evaluation = (lambda: evaluation_metrics(score_dev(), task), metric_names(task))
        step = train_on(start, records("train", "train")[0], spec, flops, *evaluation)
    step = load_chosen(state, start.model, strategy, step)
    if FLAGS.do_eval:
        results = evaluate(state.own_dir, task, examples["dev"], score_dev(), step)
    if FLAGS.do_predict:
        batches = score(*records("test", "predict"), FLAGS.predict_batch_size)
        write_predictions(state.own_dir, task, examples["test"], real_examples(batches))
        if task.has_labelled_test:
            results |= measure_test(state.own_dir, task, batches, step)
    return {name: float(value) for name, value in results.items()} | {"global_step": step}


def main() -> None:
    """Checks, then does what the flags ask."""
    if FLAGS.dry_run:
        return rehearse()
    strategy = strategy_from_flags("eval_batch_size", "predict_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    task, examples, tokenizer = read_inputs(config)
    make = partial(run_once, config, task, examples, tokenizer, strategy)
    count = partial(count_rows, examples, tokenizer)
    run_planned(make, count, task.name, metric_names(task)[0], strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["task_name", "vocab_file", "bert_config_file", "output_dir"])
    app.run(main)
