r"""Fine-tunes BERT for SQuAD 1.1 and 2.0: answers that are pieces of a text (Devlin et al. 2019, sections 4.2, 4.3).

    python run_squad.py --do_train=True --train_file=$SQUAD_DIR/train-v1.1.json --do_predict=True --do_eval=True \
      --predict_file=$SQUAD_DIR/dev-v1.1.json --vocab_file=$BERT_BASE_DIR/vocab.txt \
      --bert_config_file=$BERT_BASE_DIR/bert_config.json --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt \
      --train_batch_size=12 --learning_rate=3e-5 --num_train_epochs=2.0 --max_seq_length=384 --doc_stride=128 \
      --length_buckets=128,192,256 --output_dir=/tmp/squad_base/
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

from collections.abc import Callable, Iterator

from absl import flags, logging

from finetuning.squad_decoding import Prediction, decode_question, write_predictions
from finetuning.squad_examples import Paragraph, read_paragraphs
from finetuning.squad_features import EncodedQuestion, check_window_flags, encode_questions
from finetuning.squad_metrics import best_threshold, evaluate_v1, evaluate_v2, gold_answers
from finetuning.squad_objective import feature_scores, span_objective
from finetuning.squad_records import RecordSet, feature_spec, prepare_records
from finetuning.squad_report import find_wrong_answers, write_error_report
from modeling.config import BertConfig
from modeling.flops import span_flops
from modeling.heads import BertSpanPredictor
from tokenization import FullTokenizer, validate_case_matches_checkpoint
from tokenization.files import match_files
from training import dry_run
from training.batches import eval_batches
from training.buckets import bucketed_train_batches, parse_length_buckets
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
from training.loop import predict, train
from training.preflight import Preflight, call
from training.progress import Progress
from training.record_files import scan_files
from training.results import write_eval_results, write_results_json
from training.weights import check_same_start, load_weights
from training.workers import wait_for_workers

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this script: names and defaults of the original, then what it did not have."""
    define_training_flags(max_seq_length=384)
    define_epoch_flags()
    dry_run.define_dry_run_flags()
    flags.DEFINE_string("train_file", None, "SQuAD's JSON to train on: a comma list of globs.")
    flags.DEFINE_string("predict_file", None, "SQuAD's JSON to answer: a comma list of globs.")
    flags.DEFINE_string("vocab_file", None, "Vocabulary of the model (vocab.txt).")
    flags.DEFINE_bool("do_lower_case", True, "Lower-case the text; false for cased models.")
    flags.DEFINE_alias("do_lower", "do_lower_case")
    flags.DEFINE_bool("do_predict", False, "Answer predict_file; writes predictions.json.")
    flags.DEFINE_integer("predict_batch_size", 8, "Windows in a batch of prediction.", 1)
    flags.DEFINE_integer(
        "doc_stride", 128, "WordPieces from the start of a window to that of the next."
    )
    flags.DEFINE_integer("max_query_length", 64, "WordPieces of a question that are used.", 1)
    flags.DEFINE_integer("n_best_size", 20, "Answers to a question in nbest_predictions.json.", 1)
    flags.DEFINE_integer("max_answer_length", 30, "WordPieces of the longest answer.", 1)
    flags.DEFINE_bool("version_2_with_negative", False, "SQuAD 2.0: there may be no answer.")
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
    flags.DEFINE_bool(
        "skip_bad_answers",
        True,
        "Leave out, and name, training questions whose answer is not at its answer_start; false: stop there.",
    )
    flags.DEFINE_string(
        "length_buckets",
        "",
        "Static lengths, as 128,192,256, so that short windows are not padded to max_seq_length. Padding then takes "
        "no part in softmax and n-best lists, where the original includes it.",
    )


def check_flags(config: BertConfig, check: Callable = call) -> None:
    """Checks what can be checked without reading data; a `check` that collects errors goes on after them."""
    check(validate_case_matches_checkpoint, FLAGS.do_lower_case, FLAGS.init_checkpoint)
    check(BertConfig.check_seq_length, config, FLAGS.max_seq_length)
    check(check_window_flags, FLAGS.max_seq_length, FLAGS.doc_stride, FLAGS.max_query_length)
    check(parse_length_buckets, FLAGS.length_buckets, FLAGS.max_seq_length)
    check(check_what_to_do)


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


def read_tokenizer(config: BertConfig) -> FullTokenizer:
    """Returns the tokenizer, after a check that its vocabulary fits the model."""
    tokenizer = FullTokenizer(FLAGS.vocab_file, FLAGS.do_lower_case)
    config.check_vocab_size(len(tokenizer.vocab), FLAGS.vocab_file)
    return tokenizer


def window_flags() -> dict[str, int]:
    """Returns the flags that decide how a context is cut."""
    return {
        name: FLAGS[name].value for name in ("max_seq_length", "doc_stride", "max_query_length")
    }


def prepare(output_dir: str, split: str, tokenizer: FullTokenizer) -> RecordSet:
    """Writes the records of "train" or "eval" into output_dir, unless they are there."""
    file_flag = {"train": "train_file", "eval": "predict_file"}[split]
    return prepare_records(
        output_dir,
        split,
        match_files(FLAGS[file_flag].value, file_flag),
        tokenizer,
        FLAGS.vocab_file,
        lengths=parse_length_buckets(FLAGS.length_buckets, FLAGS.max_seq_length),
        for_training=split == "train",
        version_2_with_negative=FLAGS.version_2_with_negative,
        skip_bad_answers=FLAGS.skip_bad_answers,
        **window_flags(),
    )


def read_file(file_flag: str) -> Iterator[Paragraph]:
    """Yields the paragraphs of train_file or predict_file."""
    return read_paragraphs(
        match_files(FLAGS[file_flag].value, file_flag),
        for_training=file_flag == "train_file",
        version_2_with_negative=FLAGS.version_2_with_negative,
    )


def read_questions(file_flag: str, tokenizer: FullTokenizer) -> Iterator[EncodedQuestion]:
    """Yields the questions of train_file or predict_file with their features."""
    return encode_questions(
        read_file(file_flag),
        tokenizer,
        for_training=file_flag == "train_file",
        bad_answers=[] if FLAGS.skip_bad_answers else None,
        **window_flags(),
    )


def predict_logits(model: BertSpanPredictor, records: RecordSet, strategy) -> dict:
    """Returns (start logits, end logits), float32 [S] each, by unique id."""
    logits = {}
    score = feature_scores(padding_competes=not FLAGS.length_buckets)
    for length, file in records.files.items():
        batches = eval_batches(
            scan_files([file]), feature_spec(length, False), FLAGS.predict_batch_size
        )
        for batch in predict(model, score, batches, strategy):
            rows = (batch["unique_ids"], batch["start_logits"], batch["end_logits"])
            logits.update(
                {int(unique_id): (start, end) for unique_id, start, end in zip(*rows, strict=True)}
            )
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
        for encoded in read_questions("predict_file", tokenizer)
    }


def evaluate(output_dir: str, golds, predictions, threshold: float, step: int) -> None:
    """Writes eval_results.txt and results.json, and the error report if it is wanted."""
    if FLAGS.version_2_with_negative:
        best_texts = {qas_id: made.best_non_null for qas_id, made in predictions.items()}
        null_odds = {qas_id: made.null_odds for qas_id, made in predictions.items()}
        results = evaluate_v2(golds, best_texts, null_odds, threshold)
    else:
        texts = {qas_id: made.text(threshold) for qas_id, made in predictions.items()}
        results = evaluate_v1(golds, texts)
    write_eval_results(output_dir, results, step)
    write_results_json(output_dir, "squad", results, step, run_from_flags(), {})
    if FLAGS.error_report:
        wrong = find_wrong_answers(read_file("predict_file"), predictions, threshold)
        write_error_report(output_dir, wrong, results, threshold)


def null_threshold(golds, predictions: dict[str, Prediction]) -> float:
    """Returns the threshold of the flag, or the best one."""
    threshold = threshold_flag()
    if threshold is not None:
        return threshold
    best_texts = {qas_id: made.best_non_null for qas_id, made in predictions.items()}
    null_odds = {qas_id: made.null_odds for qas_id, made in predictions.items()}
    threshold = best_threshold(golds, best_texts, null_odds)
    logging.info("--null_score_diff_threshold=auto is %s on this file", threshold)
    return threshold


def count_questions(file_flag: str, tokenizer: FullTokenizer) -> int:
    """Returns the number of questions in the flag's files, after encoding those that are not left out."""
    return sum(1 for _ in read_questions(file_flag, tokenizer))


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    strategy = dry_run.checked_strategy(check, "predict_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    check_flags(config, check)
    tokenizer = check(read_tokenizer, config)
    if FLAGS.predict_file and (FLAGS.do_predict or FLAGS.do_eval):
        check(count_questions, "predict_file", tokenizer)
    if FLAGS.predict_file and FLAGS.do_eval:
        check(lambda: gold_answers(read_file("predict_file")))
    model = dry_run.checked_model(check, strategy, BertSpanPredictor, config, FLAGS.rematerialize)
    trainings = []
    if FLAGS.do_train and FLAGS.train_file:
        count, length = check(count_questions, "train_file", tokenizer), FLAGS.max_seq_length
        flops, steps = check(span_flops, config, length), check(steps_from_epochs, count)
        trainings = [check(dry_run.training_from_flags, length, count, 2 * length, flops, steps)]
    dry_run.finish(check, config, model, strategy, trainings)


def main() -> None:
    """Checks, then trains, answers and evaluates as the flags ask."""
    if FLAGS.dry_run:
        return rehearse()
    if FLAGS.verbose_logging:
        logging.set_verbosity(logging.DEBUG)
    strategy = strategy_from_flags("predict_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    check_flags(config)
    tokenizer = read_tokenizer(config)
    golds = gold_answers(read_file("predict_file")) if FLAGS.do_eval else {}
    state = run_state_from_flags(strategy)
    state.claim()
    wanted = {"train": FLAGS.do_train, "eval": FLAGS.do_predict or FLAGS.do_eval}
    records = {split: prepare(state.own_dir, split, tokenizer) for split in wanted if wanted[split]}
    num_examples = records["train"].num_examples if FLAGS.do_train else 0
    num_train_steps, num_warmup_steps = steps_from_epochs(num_examples)
    with strategy.scope():
        model = BertSpanPredictor(config, FLAGS.rematerialize)
        optimizer = optimizer_from_flags(model, num_train_steps, num_warmup_steps)
    step = load_weights(state, FLAGS.init_checkpoint, model, optimizer)
    check_same_start(strategy, model, step)

    if FLAGS.do_train:
        batches = bucketed_train_batches(
            records["train"].files,
            records["train"].counts,
            lambda length: feature_spec(length, for_training=True),
            FLAGS.train_batch_size,
            FLAGS.seed,
            num_train_steps,
            step,
        )
        step = train(
            model,
            span_objective(padding_competes=not FLAGS.length_buckets),
            optimizer,
            strategy,
            batches,
            state,
            Progress(
                state.own_dir,
                num_train_steps,
                FLAGS.train_batch_size,
                lambda length: span_flops(config, length).training(),
            ),
            num_train_steps=num_train_steps,
            **loop_arguments(),
        )
    if "eval" in records:
        predictions = answer_questions(model, records["eval"], tokenizer, strategy)
        threshold = null_threshold(golds, predictions)
        write_predictions(state.own_dir, predictions, threshold)
        logging.info("***** %d answers, in %s *****", len(predictions), state.own_dir)
    if FLAGS.do_eval:
        evaluate(state.own_dir, golds, predictions, threshold, step)
    wait_for_workers(strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["vocab_file", "bert_config_file", "output_dir"])
    app.run(main)
