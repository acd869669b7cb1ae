r"""Pre-trains BERT: masked language model and next sentence prediction (Devlin et al. 2019, section 3.1).

    python run_pretraining.py --input_file=/tmp/tf_examples.tfrecord --output_dir=/tmp/pretraining_output \
      --do_train=True --do_eval=True --bert_config_file=$BERT_BASE_DIR/bert_config.json \
      --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt --train_batch_size=32 --max_seq_length=128 \
      --max_predictions_per_seq=20 --num_train_steps=20 --num_warmup_steps=10 --learning_rate=2e-5
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import tensorflow as tf
from absl import flags

from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.documents import expand_patterns
from pretraining.objective import OBJECTIVE, evaluation_metrics, sequence_scores
from pretraining.records import check_first_records, feature_spec
from training.batches import eval_batches, train_batches
from training.common_flags import (
    define_training_flags,
    define_warmup_flags,
    loop_arguments,
    optimizer_from_flags,
    run_state_from_flags,
    strategy_from_flags,
    warmup_steps,
)
from training.loop import predict, train
from training.progress import Progress
from training.record_files import ScannedFile, bad_records_named, scan_files
from training.results import write_eval_results
from training.weights import check_same_start, load_weights
from training.workers import wait_for_workers

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of this script: names and defaults of the original, then what it did not have."""
    define_training_flags(max_seq_length=128)
    flags.DEFINE_string(
        "input_file", None, "TFRecord files of create_pretraining_data.py: a comma list of globs."
    )
    flags.DEFINE_string(
        "eval_input_file",
        None,
        "Records for --do_eval, held out of training (default: input_file).",
    )
    flags.DEFINE_integer("max_predictions_per_seq", 20, "Masked tokens that a record has room for.")
    flags.DEFINE_bool("do_eval", False, "Evaluate and write eval_results.txt.")
    flags.DEFINE_bool(
        "skip_corrupt_records",
        False,
        "Read all records once at the start, and leave out those with a wrong checksum or length, which "
        "are named and counted in the log. Otherwise such a record is an error.",
    )
    flags.DEFINE_integer("eval_batch_size", 8, "Sequences in a batch of evaluation.", 1)
    flags.DEFINE_integer(
        "num_train_steps", 100000, "Updates in all, with those before a resume.", 1
    )
    define_warmup_flags(num_warmup_steps=10000)
    flags.DEFINE_integer(
        "max_eval_steps", 100, "Batches of evaluation, wrapping around the records.", 1
    )


def find_records(flag: str, config: BertConfig) -> list[ScannedFile]:
    """Returns the record files that the flag's globs match, after a look at their lengths and first records."""
    paths = expand_patterns(FLAGS[flag].value.split(","), flag=flag)
    files = scan_files(paths, FLAGS.skip_corrupt_records)
    check_first_records(
        files, FLAGS.max_seq_length, FLAGS.max_predictions_per_seq, config.vocab_size
    )
    return files


def main() -> None:
    """Checks, then trains, then evaluates."""
    if not (FLAGS.do_train or FLAGS.do_eval):
        raise ValueError("nothing to do: give --do_train=true, --do_eval=true or both")
    strategy = strategy_from_flags("eval_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    config.check_seq_length(FLAGS.max_seq_length)
    files = find_records("input_file", config)
    eval_files = find_records("eval_input_file", config) if FLAGS.eval_input_file else files

    state = run_state_from_flags(strategy)
    with strategy.scope():
        model = BertPretrainer(config, rematerialize=FLAGS.rematerialize)
        num_warmup_steps = warmup_steps(FLAGS.num_train_steps)
        optimizer = optimizer_from_flags(model, FLAGS.num_train_steps, num_warmup_steps)
    step = load_weights(state, FLAGS.init_checkpoint, model, optimizer)
    check_same_start(strategy, model, step)
    spec = feature_spec(FLAGS.max_seq_length, FLAGS.max_predictions_per_seq)
    tf.io.gfile.makedirs(state.own_dir)

    if FLAGS.do_train:
        state.claim()
        with bad_records_named(files, spec):
            step = train(
                model,
                OBJECTIVE,
                optimizer,
                strategy,
                train_batches(files, spec, FLAGS.train_batch_size, FLAGS.seed, step),
                state,
                Progress(state.own_dir, FLAGS.num_train_steps, FLAGS.train_batch_size),
                num_train_steps=FLAGS.num_train_steps,
                **loop_arguments(),
            )
    if FLAGS.do_eval:
        batches = eval_batches(eval_files, spec, FLAGS.eval_batch_size, repeat=True)
        batches = batches.take(FLAGS.max_eval_steps)
        with bad_records_named(eval_files, spec):
            scores = list(predict(model, sequence_scores, batches, strategy))
        write_eval_results(state.own_dir, evaluation_metrics(scores), step)
    wait_for_workers(strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["input_file", "bert_config_file", "output_dir"])
    app.run(main)
