r"""Fine-tunes BERT for multiple choice: which ending is the likeliest (Devlin et al. 2019, section 4.4; SWAG).

    python run_multiple_choice.py --do_train=true --do_eval=true --train_file=$SWAG_DIR/train.csv \
      --dev_file=$SWAG_DIR/val.csv --vocab_file=$BERT_BASE_DIR/vocab.txt \
      --bert_config_file=$BERT_BASE_DIR/bert_config.json --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt \
      --max_seq_length=128 --length_buckets=32,48,64 --train_batch_size=16 --learning_rate=2e-5 \
      --num_train_epochs=3.0 --output_dir=/tmp/swag_output/
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial

import numpy as np
from absl import flags

from finetuning.findings import Answer, compare_classes
from finetuning.length_records import LengthRecords, predict_by_length, write_by_length
from finetuning.multiple_choice import (
    Question,
    encode_questions,
    feature_spec,
    in_file_order,
    question_scores,
    read_questions,
)
from finetuning.objective import classifier_objective, evaluation_metrics, metric_names
from finetuning.predictions import write_test_results
from finetuning.report import write_report
from finetuning.sweep_flags import planned_runs, print_plan, run_planned
from finetuning.task_training import (
    begin,
    define_fine_tuning_flags,
    make_model,
    plan_trainings,
    train_on,
)
from finetuning.tasks import Task
from modeling.config import BertConfig
from modeling.flops import classifier_flops, multiple_choice_flops
from modeling.heads import BertMultipleChoice
from tokenization import FullTokenizer
from training import dry_run
from training.buckets import count_by_length
from training.common_flags import run_from_flags, run_state_from_flags, strategy_from_flags
from training.data_flags import (
    check_length_buckets,
    define_data_flags,
    length_buckets,
    read_tokenizer,
    sequence_length,
    wanted_files,
)
from training.evaluation_flags import check_evaluation_flags, load_chosen
from training.preflight import MISSING, Preflight, call
from training.results import write_eval_results

FLAGS = flags.FLAGS

TASK = Task("multiple choice", (), {})  # whose labels are the numbers of the choices


def define_flags() -> None:
    """Defines the flags of this script."""
    define_fine_tuning_flags(max_seq_length=128)
    define_data_flags(
        ".csv as SWAG's, .tsv or .jsonl with columns sent1, sent2, ending0, ending1, ... and label",
        "test_results.tsv, the probabilities of the choices",
        "Questions",
    )


def read_inputs(
    config: BertConfig, check: Callable = call
) -> tuple[dict[str, list[Question]], FullTokenizer]:
    """Returns the questions of the wanted splits and the tokenizer, after all checks that need no model.

    A `check` that collects errors goes on after them.
    """
    check(sequence_length, config)
    check(check_length_buckets)
    check(planned_runs)
    check(check_evaluation_flags, metric_names(TASK))
    tokenizer = check(read_tokenizer, config)
    paths = check(wanted_files)
    questions = {
        split: check(read_questions, path, split != "predict")
        for split, path in ({} if paths is MISSING else paths).items()
    }
    return questions, tokenizer


def write_questions(output_dir: str, split: str, questions, tokenizer) -> LengthRecords:
    """Writes the records of a split."""
    rows = [*encode_questions(questions, tokenizer, FLAGS.max_seq_length)]
    return write_by_length(output_dir, split, rows, length_buckets(count_tokens(rows), split))


def count_tokens(rows: Iterable[Mapping[str, np.ndarray]]) -> list[int]:
    """Returns the number of tokens of the longest choice of each question."""
    return [row["input_mask"].shape[-1] for row in rows]


def evaluate(output_dir: str, questions: list[Question], batches, step: int) -> dict[str, float]:
    """Writes eval_results.txt and the report, and returns the results."""
    results = evaluation_metrics(batches, TASK)
    write_eval_results(output_dir, results, step)
    labels = [str(number) for number in range(len(questions[0].choices))]
    scores = in_file_order(batches)
    answers = [
        Answer(
            question.place,
            {"situation": question.situation, **dict(zip(labels, question.choices, strict=True))},
            labels[question.label],
            labels[prediction],
            dict(zip(labels, outputs.tolist(), strict=True)),
        )
        for question, prediction, outputs in zip(
            questions, scores["predictions"], scores["outputs"], strict=True
        )
    ]
    findings = compare_classes(answers, labels)
    write_report(output_dir, TASK.name, results, step, findings, run_from_flags())
    return {name: float(value) for name, value in results.items()}


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    strategy = dry_run.checked_strategy(check, "eval_batch_size", "predict_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    questions, tokenizer = read_inputs(config, check)
    model = dry_run.checked_model(check, strategy, make_model, BertMultipleChoice, config)
    trainings = []
    if "train" in questions:
        num_choices = check(count_choices, questions["train"])
        rows = check(encode_questions, questions["train"], tokenizer, FLAGS.max_seq_length)
        num_tokens = check(count_tokens, rows)
        counts = check(count_by_length, num_tokens, check(length_buckets, num_tokens, "train"))
        flops = check(partial, classifier_flops, config, num_labels=1)
        trainings = plan_trainings(check, strategy, config, counts, 1, flops, num_choices)
    dry_run.finish(check, config, model, strategy, trainings)
    print_plan()


def count_choices(questions: list[Question]) -> int:
    """Returns how many choices each question of a split has."""
    return len(questions[0].choices)


def run_once(
    config: BertConfig, questions: dict[str, list[Question]], tokenizer: FullTokenizer, strategy
) -> dict[str, float]:
    """Trains, evaluates and predicts as the flags ask, and returns the results: the evaluation's, and the step."""

    def make():
        return make_model(BertMultipleChoice, config), classifier_objective()

    state = run_state_from_flags(strategy)
    start = begin(state, strategy, len(questions.get("train", [])), make)
    step, results = start.step, {}

    @cache
    def records(split):
        return write_questions(state.own_dir, split, questions[split], tokenizer)

    def spec(split):
        return partial(feature_spec, num_choices=count_choices(questions[split]))

    def score(split):
        sizes = (spec(split), FLAGS[f"{split}_batch_size"].value)
        scores = predict_by_length(start.model, question_scores, records(split), *sizes, strategy)
        return list(scores)

    if FLAGS.do_train:
        num_choices = count_choices(questions["train"])
        flops = partial(multiple_choice_flops, config, num_choices=num_choices)
        evaluation = (lambda: evaluation_metrics(score("eval"), TASK), metric_names(TASK))
        step = train_on(start, records("train"), spec("train"), flops, *evaluation)
    step = load_chosen(state, start.model, strategy, step)
    if FLAGS.do_eval:
        results = evaluate(state.own_dir, questions["eval"], score("eval"), step)
    if FLAGS.do_predict:
        write_test_results(state.own_dir, in_file_order(score("predict"))["outputs"])
    return results | {"global_step": step}


def main() -> None:
    """Checks, then does what the flags ask."""
    if FLAGS.dry_run:
        return rehearse()
    strategy = strategy_from_flags("eval_batch_size", "predict_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    questions, tokenizer = read_inputs(config)
    make = partial(run_once, config, questions, tokenizer, strategy)
    metric = metric_names(TASK)[0]
    run_planned(make, lambda: len(questions["train"]), TASK.name, metric, strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["vocab_file", "bert_config_file", "output_dir"])
    app.run(main)
