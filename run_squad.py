r"""Fine-tunes BERT for SQuAD 1.1 and 2.0: answers that are pieces of a text (Devlin et al. 2019, sections 4.2, 4.3).

    python run_squad.py --do_train=True --train_file=$SQUAD_DIR/train-v1.1.json --do_predict=True --do_eval=True \
      --predict_file=$SQUAD_DIR/dev-v1.1.json --vocab_file=$BERT_BASE_DIR/vocab.txt \
      --bert_config_file=$BERT_BASE_DIR/bert_config.json --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt \
      --train_batch_size=12 --learning_rate=3e-5 --num_train_epochs=2.0 --max_seq_length=384 --doc_stride=128 \
      --length_buckets=128,192,256 --output_dir=/tmp/squad_base/
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

from collections.abc import Callable
from functools import partial

from absl import flags, logging

from finetuning.length_records import predict_by_length
from finetuning.squad_decoding import Prediction, decode_question, write_predictions
from finetuning.squad_features import check_window_flags
from finetuning.squad_flags import (
    count_lengths,
    count_questions,
    define_squad_flags,
    prepare,
    read_file,
    read_questions,
    window_flags,
)
from finetuning.squad_metrics import (
    best_threshold,
    evaluate_v1,
    evaluate_v2,
    gold_answers,
    metric_names,
)
from finetuning.squad_objective import feature_scores, span_objective
from finetuning.squad_records import RecordSet, feature_spec
from finetuning.squad_report import find_wrong_answers, write_error_report
from finetuning.sweep_flags import planned_runs, print_plan, run_planned
from finetuning.task_training import (
    begin,
    define_fine_tuning_flags,
    make_model,
    plan_trainings,
    train_on,
)
from modeling.config import BertConfig
from modeling.flops import span_flops
from modeling.heads import BertSpanPredictor
from tokenization import FullTokenizer
from training import dry_run
from training.common_flags import run_from_flags, run_state_from_flags, strategy_from_flags
from training.data_flags import check_length_buckets, define_text_flags, read_tokenizer
from training.evaluation_flags import check_evaluation_flags, load_chosen
from training.preflight import Preflight, call
from training.results import write_eval_results, write_results_json

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this script: names and defaults of the original, then what it did not have."""
    define_fine_tuning_flags(max_seq_length=384)
    define_text_flags()
    define_squad_flags()
    flags.DEFINE_bool("do_predict", False, "Answer predict_file; writes predictions.json.")
    flags.DEFINE_integer("predict_batch_size", 8, "Windows in a batch of prediction.", 1)
    flags.DEFINE_integer("n_best_size", 20, "Answers to a question in nbest_predictions.json.", 1)
    flags.DEFINE_integer("max_answer_length", 30, "WordPieces of the longest answer.", 1)
    flags.DEFINE_string(
        "null_score_diff_threshold",
        "0.0",
        "The answer is none where the null odds are above this; 'auto' is the best F1 on predict_file.",
    )
    flags.DEFINE_bool(
        "verbose_logging", False, "Log every answer that could not be cut out of its words exactly."
    )
    flags.DEFINE_bool(
        "do_eval", False, "Predict, score exact match and F1; writes eval_results.txt."
    )
    flags.DEFINE_bool("error_report", False, "With --do_eval: error_report.html and .tsv.")


def check_flags(config: BertConfig, check: Callable = call) -> None:
    """Checks what can be checked without reading data; a `check` that collects errors goes on after them."""
    check(BertConfig.check_seq_length, config, FLAGS.max_seq_length)
    check(check_window_flags, **window_flags())
    check(check_length_buckets)
    check(check_what_to_do)
    check(planned_runs)
    check(check_evaluation_flags, metric_names(FLAGS.version_2_with_negative))


def check_what_to_do() -> None:
    """Checks that there is something to do, and the files for it."""
    if not (FLAGS.do_train or FLAGS.do_predict or FLAGS.do_eval):
        raise ValueError("nothing to do: give --do_train, --do_predict, --do_eval or several")
    if FLAGS.do_train and not FLAGS.train_file:
        raise ValueError("--do_train needs --train_file")
    if (FLAGS.do_predict or FLAGS.do_eval) and not FLAGS.predict_file:
        raise ValueError("--do_predict and --do_eval need --predict_file")
    if FLAGS.error_report and not FLAGS.do_eval:
        raise ValueError("--error_report needs --do_eval: without answers there are no errors")
    if threshold_flag() is None and not (FLAGS.do_eval and FLAGS.version_2_with_negative):
        raise ValueError(
            "--null_score_diff_threshold=auto needs --do_eval and --version_2_with_negative"
        )


def threshold_flag() -> float | None:
    """Returns the null threshold, None for the best there is."""
    text = FLAGS.null_score_diff_threshold
    try:
        return None if text == "auto" else float(text)
    except ValueError:
        raise ValueError(
            f"--null_score_diff_threshold={text} is neither a number nor 'auto'"
        ) from None


def predict_logits(model: BertSpanPredictor, records: RecordSet, strategy) -> dict:
    """Returns (start logits, end logits), float32 [S] each, by unique id."""
    score = feature_scores(padding_competes=not FLAGS.length_buckets)
    spec, batch_size = partial(feature_spec, for_training=False), FLAGS.predict_batch_size
    logits = {}
    for batch in predict_by_length(model, score, records, spec, batch_size, strategy):
        rows = zip(*(batch[n] for n in ("unique_ids", "start_logits", "end_logits")), strict=True)
        logits |= {int(unique_id): (start, end) for unique_id, start, end in rows}
    return logits


def answer_questions(model, records, tokenizer, strategy) -> dict[str, Prediction]:
    """Returns the predictions by question id, in the order of predict_file."""
    logits = predict_logits(model, records, strategy)
    return {
        encoded.question.qas_id: decode_question(
            encoded,
            logits,
            tokenizer,
            n_best_size=FLAGS.n_best_size,
            max_answer_length=FLAGS.max_answer_length,
            version_2_with_negative=FLAGS.version_2_with_negative,
        )
        for encoded in read_questions("predict", tokenizer)
    }


def without_null(predictions: dict[str, Prediction]) -> tuple[dict[str, str], dict[str, float]]:
    """Returns the best answers but none, and the null odds against them, by question id."""
    best_texts = {qas_id: made.best_non_null for qas_id, made in predictions.items()}
    return best_texts, {qas_id: made.null_odds for qas_id, made in predictions.items()}


def null_threshold(golds, predictions: dict[str, Prediction]) -> float:
    """Returns the threshold of the flag, or the best one."""
    threshold = threshold_flag()
    if threshold is None:
        threshold = best_threshold(golds, *without_null(predictions))
        logging.info("--null_score_diff_threshold=auto is %s on this file", threshold)
    return threshold


def measure(golds, predictions: dict[str, Prediction], threshold: float) -> dict[str, float]:
    """Returns the scores of the predictions."""
    if FLAGS.version_2_with_negative:
        return evaluate_v2(golds, *without_null(predictions), threshold)
    return evaluate_v1(
        golds, {qas_id: made.text(threshold) for qas_id, made in predictions.items()}
    )


def report(output_dir: str, results, predictions, threshold: float, step: int) -> None:
    """Writes eval_results.txt and results.json, and the error report if it is wanted."""
    write_eval_results(output_dir, results, step)
    write_results_json(output_dir, "squad", results, step, run_from_flags(), {})
    if FLAGS.error_report:
        wrong = find_wrong_answers(read_file("predict"), predictions, threshold)
        write_error_report(output_dir, wrong, results, threshold)


def plan(check: Preflight, strategy, config: BertConfig, tokenizer: FullTokenizer):
    """Returns the trainings of the flags, see `plan_trainings`."""
    num_questions, counts = count_lengths(tokenizer)
    sizes = (counts, 2 * max(counts), partial(span_flops, config))
    return plan_trainings(check, strategy, config, *sizes, num_examples=num_questions)


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    strategy = dry_run.checked_strategy(check, "predict_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    check_flags(config, check)
    tokenizer = check(read_tokenizer, config)
    if FLAGS.predict_file and (FLAGS.do_predict or FLAGS.do_eval):
        check(count_questions, "predict", tokenizer)
    if FLAGS.predict_file and FLAGS.do_eval:
        check(lambda: gold_answers(read_file("predict")))
    model = dry_run.checked_model(check, strategy, make_model, BertSpanPredictor, config)
    trainings = []
    if FLAGS.do_train and FLAGS.train_file:
        trainings = check(plan, check, strategy, config, tokenizer)
    dry_run.finish(check, config, model, strategy, trainings)
    print_plan()


def run_once(config: BertConfig, tokenizer: FullTokenizer, golds, strategy) -> dict[str, float]:
    """Trains, answers and evaluates as the flags ask, and returns the results: the evaluation's, and the step."""

    def make():
        objective = span_objective(padding_competes=not FLAGS.length_buckets)
        return make_model(BertSpanPredictor, config), objective

    state = run_state_from_flags(strategy)
    state.claim()
    wanted = {"train": FLAGS.do_train, "predict": FLAGS.do_predict or FLAGS.do_eval}
    records = {split: prepare(state.own_dir, split, tokenizer) for split in wanted if wanted[split]}
    num_examples = records["train"].num_examples if FLAGS.do_train else 0
    start = begin(state, strategy, num_examples, make)
    step, results = start.step, {}

    def answer():
        predictions = answer_questions(start.model, records["predict"], tokenizer, strategy)
        return predictions, null_threshold(golds, predictions)

    if FLAGS.do_train:
        spec, flops = partial(feature_spec, for_training=True), partial(span_flops, config)
        names = metric_names(FLAGS.version_2_with_negative)
        step = train_on(
            start, records["train"], spec, flops, lambda: measure(golds, *answer()), names
        )
    step = load_chosen(state, start.model, strategy, step)
    if "predict" in records:
        predictions, threshold = answer()
        write_predictions(state.own_dir, predictions, threshold)
        logging.info("***** %d answers, in %s *****", len(predictions), state.own_dir)
    if FLAGS.do_eval:
        results = measure(golds, predictions, threshold)
        report(state.own_dir, results, predictions, threshold, step)
    return results | {"global_step": step}


def main() -> None:
    """Checks, then does what the flags ask."""
    if FLAGS.dry_run:
        return rehearse()
    if FLAGS.verbose_logging:
        logging.set_verbosity(logging.DEBUG)
    strategy = strategy_from_flags("predict_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    check_flags(config)
    tokenizer = read_tokenizer(config)
    golds = gold_answers(read_file("predict")) if FLAGS.do_eval else {}
    make = partial(run_once, config, tokenizer, golds, strategy)
    metric, *_ = metric_names(FLAGS.version_2_with_negative)
    run_planned(make, partial(count_questions, "train", tokenizer), "squad", metric, strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["vocab_file", "bert_config_file", "output_dir"])
    app.run(main)
