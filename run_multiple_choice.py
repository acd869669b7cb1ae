r"""Fine-tunes BERT for multiple choice: which ending is the likeliest (Devlin et al. 2019, section 4.4; SWAG).

    python run_multiple_choice.py --do_train=true --do_eval=true --train_file=$SWAG_DIR/train.csv \
      --dev_file=$SWAG_DIR/val.csv --vocab_file=$BERT_BASE_DIR/vocab.txt \
      --bert_config_file=$BERT_BASE_DIR/bert_config.json --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt \
      --max_seq_length=128 --length_buckets=32,48,64 --train_batch_size=16 --learning_rate=2e-5 \
      --num_train_epochs=3.0 --output_dir=/tmp/swag_output/
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf
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
from finetuning.objective import classifier_objective, evaluation_metrics
from finetuning.predictions import write_test_results
from finetuning.report import write_report
from finetuning.tasks import Task
from modeling.config import BertConfig
from modeling.flops import classifier_flops, multiple_choice_flops
from modeling.heads import BertMultipleChoice
from tokenization import FullTokenizer
from training import dry_run
from training.buckets import bucketed_train_batches
from training.common_flags import (
    define_epoch_flags,
    define_training_flags,
    loop_arguments,
    optimizer_from_flags,
    run_from_flags,
    run_state_from_flags,
    steps_from_epochs,
    strategy_from_flags,
)
from training.data_flags import (
    check_length_buckets,
    define_data_flags,
    length_buckets,
    read_tokenizer,
    sequence_length,
    wanted_files,
)
from training.loop import train
from training.preflight import MISSING, Preflight, call
from training.progress import Progress
from training.results import write_eval_results
from training.weights import check_same_start, load_weights
from training.workers import wait_for_workers

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this script."""
    define_training_flags(max_seq_length=128)
    define_epoch_flags()
    dry_run.define_dry_run_flags()
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
    num_tokens = [row["input_mask"].shape[-1] for row in rows]
    return write_by_length(output_dir, split, rows, length_buckets(num_tokens, split))


def score_questions(
    records: LengthRecords, num_choices: int, batch_size: int, model, strategy
) -> list[dict[str, np.ndarray]]:
    """Returns the scores of all batches, those of the shortest records first."""
    spec = partial(feature_spec, num_choices=num_choices)
    scores = predict_by_length(model, question_scores, records, spec, batch_size, strategy)
    return list(scores)


def evaluate(output_dir: str, questions: list[Question], batches, step: int) -> dict[str, float]:
    """Writes eval_results.txt and the report, and returns the results."""
    labels = [str(number) for number in range(len(questions[0].choices))]
    results = evaluation_metrics(batches, Task("multiple choice", tuple(labels), {}))
    write_eval_results(output_dir, results, step)
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
    write_report(output_dir, "multiple choice", results, step, findings, run_from_flags())
    return {name: float(value) for name, value in results.items()}


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    strategy = dry_run.checked_strategy(check, "eval_batch_size", "predict_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    questions, _ = read_inputs(config, check)
    model = dry_run.checked_model(check, strategy, BertMultipleChoice, config, FLAGS.rematerialize)
    trainings = []
    if "train" in questions:
        trainings = [check(planned_training, config, questions["train"])]
    dry_run.finish(check, config, model, strategy, trainings)


def planned_training(config: BertConfig, questions: list[Question]) -> dry_run.Training:
    """Returns the training in sequences, of which a question has as many as choices."""
    length, num_choices = FLAGS.max_seq_length, len(questions[0].choices)
    flops = classifier_flops(config, length, 1)
    steps = steps_from_epochs(len(questions))
    training = dry_run.training_from_flags(length, len(questions), 1, flops, steps)
    return training._replace(
        examples=num_choices * training.examples, batch_size=num_choices * training.batch_size
    )


def train_on(records, num_choices, num_train_steps, model, optimizer, strategy, state, step) -> int:
    """Trains from `step` on with the records, and returns the number of updates made."""
    batches = bucketed_train_batches(
        records.files,
        records.counts,
        partial(feature_spec, num_choices=num_choices),
        FLAGS.train_batch_size,
        FLAGS.seed,
        num_train_steps,
        step,
    )
    progress = Progress(
        state.own_dir,
        num_train_steps,
        FLAGS.train_batch_size,
        lambda length: multiple_choice_flops(model.bert.config, length, num_choices).training(),
    )
    return train(
        model,
        classifier_objective(),
        optimizer,
        strategy,
        batches,
        state,
        progress,
        num_train_steps=num_train_steps,
        **loop_arguments(),
    )


def run_once(
    config: BertConfig, questions: dict[str, list[Question]], tokenizer: FullTokenizer, strategy
) -> dict[str, float]:
    """Trains, evaluates and predicts as the flags ask, and returns the results: the evaluation's, and the step."""
    num_train_steps, num_warmup_steps = steps_from_epochs(len(questions.get("train", [])))
    state = run_state_from_flags(strategy)
    with strategy.scope():
        model = BertMultipleChoice(config, FLAGS.rematerialize)
        optimizer = optimizer_from_flags(model, num_train_steps, num_warmup_steps)
    step = load_weights(state, FLAGS.init_checkpoint, model, optimizer)
    check_same_start(strategy, model, step)
    tf.io.gfile.makedirs(state.own_dir)
    num_choices = {split: len(asked[0].choices) for split, asked in questions.items()}
    results = {}

    if FLAGS.do_train:
        state.claim()
        records = write_questions(state.own_dir, "train", questions["train"], tokenizer)
        arguments = (num_train_steps, model, optimizer, strategy, state, step)
        step = train_on(records, num_choices["train"], *arguments)
    if FLAGS.do_eval:
        records = write_questions(state.own_dir, "eval", questions["eval"], tokenizer)
        arguments = (num_choices["eval"], FLAGS.eval_batch_size, model, strategy)
        batches = score_questions(records, *arguments)
        results = evaluate(state.own_dir, questions["eval"], batches, step)
    if FLAGS.do_predict:
        records = write_questions(state.own_dir, "predict", questions["predict"], tokenizer)
        arguments = (num_choices["predict"], FLAGS.predict_batch_size, model, strategy)
        scores = in_file_order(score_questions(records, *arguments))
        write_test_results(state.own_dir, scores["outputs"])
    return results | {"global_step": step}


def main() -> None:
    """Checks, then does what the flags ask."""
    if FLAGS.dry_run:
        return rehearse()
    strategy = strategy_from_flags("eval_batch_size", "predict_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    questions, tokenizer = read_inputs(config)
    run_once(config, questions, tokenizer, strategy)
    wait_for_workers(strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["vocab_file", "bert_config_file", "output_dir"])
    app.run(main)
