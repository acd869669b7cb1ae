r"""Pre-trains BERT: masked language model and next sentence prediction (Devlin et al. 2019, section 3.1).

    python run_pretraining.py --input_file=/tmp/tf_examples.tfrecord --output_dir=/tmp/pretraining_output \
      --do_train=True --do_eval=True --bert_config_file=$BERT_BASE_DIR/bert_config.json \
      --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt --train_batch_size=32 --max_seq_length=128 \
      --max_predictions_per_seq=20 --num_train_steps=20 --num_warmup_steps=10 --learning_rate=2e-5
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import tensorflow as tf
from absl import flags, logging

from modeling.config import BertConfig
from modeling.heads import BertPretrainer
from pretraining.manifest_check import check_manifests, check_one_vocabulary
from pretraining.masking_flags import (
    define_masking_flags,
    masker_from_flags,
    refuse_masking_flags,
)
from pretraining.objective import (
    MASKED_LM_OBJECTIVE,
    OBJECTIVE,
    evaluation_metrics,
    sequence_scores,
)
from pretraining.phase_flags import define_phase2_flags
from pretraining.phases import Phase, Records, extra_steps, remaining
from pretraining.records import asks_next_sentence, check_first_records, schema_of
from tokenization.files import match_files
from training import dry_run
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
from training.preflight import MISSING, Preflight
from training.progress import Progress
from training.record_files import bad_records_named, scan_files
from training.results import write_eval_results
from training.schedule import Schedule
from training.strategy import check_batch_size
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
        "Records for --do_eval, held out of training, as long as those of the last phase (default: the "
        "records of the last phase).",
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
        "num_train_steps",
        100000,
        "Updates in all, with those before a resume; without those of a second phase.",
        lower_bound=1,
    )
    define_warmup_flags(num_warmup_steps=10000)
    flags.DEFINE_integer(
        "max_eval_steps", 100, "Batches of evaluation, wrapping around the records.", 1
    )
    define_phase2_flags()
    flags.DEFINE_string(
        "vocab_file",
        None,
        "Vocabulary that the records were made with; those without masks need it.",
    )
    define_masking_flags()
    dry_run.define_dry_run_flags()


def find_records(
    flag: str,
    config: BertConfig,
    max_seq_length: int,
    max_predictions_per_seq: int,
    prefix: str = "",
) -> Records:
    """Returns the records that the flag's globs match, after a look at lengths, first records and manifests."""
    paths = match_files(FLAGS[flag].value, flag)
    files = scan_files(paths, FLAGS.skip_corrupt_records)
    spec = schema_of(files, max_seq_length, max_predictions_per_seq)
    masker, vocab_size = None, config.vocab_size
    if "masked_lm_ids" not in spec:
        masker = masker_from_flags(flag, vocab_size, max_seq_length, max_predictions_per_seq)
        vocab_size = masker.vocab_size
    check_first_records(files, spec, vocab_size, prefix)
    check_manifests(
        files,
        {"max_seq_length": max_seq_length},
        config.vocab_size,
        FLAGS.vocab_file,
        FLAGS.init_checkpoint,
        prefix,
        FLAGS.skip_corrupt_records,
    )
    return Records(files, spec, masker, asks_next_sentence(files))


def read_phases(config: BertConfig) -> list[Phase]:
    """Returns the phases of training, after a check of all their records."""
    steps = FLAGS.num_train_steps
    if not FLAGS.phase2_input_file:
        return [read_phase(config, "", run_schedule(steps), 0, steps)]
    more = FLAGS.phase2_num_train_steps or max(1, steps // 9)
    first = second = run_schedule(steps + more)
    if FLAGS.phase2_learning_rate is not None:
        first = run_schedule(steps)
        num_warmup_steps = warmup_steps(more, "phase2_")
        if num_warmup_steps is None:
            num_warmup_steps = more * first.num_warmup_steps // steps
        second = Schedule(FLAGS.phase2_learning_rate, more, num_warmup_steps, first_step=steps)
    return [
        read_phase(config, "", first, 0, steps),
        read_phase(config, "phase2_", second, steps, steps + more),
    ]


def run_schedule(num_train_steps: int) -> Schedule:
    """Returns the learning rate by the flags that are not of the second phase."""
    return Schedule(FLAGS.learning_rate, num_train_steps, warmup_steps(num_train_steps))


def read_phase(
    config: BertConfig, prefix: str, schedule: Schedule, first_step: int, last_step: int
) -> Phase:
    """Returns the phase that the flags with this prefix describe."""

    def setting(name):
        value = FLAGS[prefix + name].value
        return FLAGS[name].value if value is None else value

    config.check_seq_length(setting("max_seq_length"), f"{prefix}max_seq_length")
    lengths = setting("max_seq_length"), setting("max_predictions_per_seq")
    return Phase(
        find_records(f"{prefix}input_file", config, *lengths, prefix),
        setting("train_batch_size"),
        setting("gradient_accumulation_steps"),
        schedule,
        first_step,
        last_step,
    )


def train_phase(phases, phase: Phase, model, optimizer, strategy, state, step: int) -> int:
    """Trains from `step` to the end of one of the phases, and returns the number of updates made."""
    records = phase.records
    optimizer.schedule = phase.schedule._replace(decay_power=optimizer.schedule.decay_power)
    progress = Progress(
        state.own_dir,
        phases[-1].last_step,
        phase.batch_size,
        lambda length: records.flops(model.bert.config).training(),
        extra_steps(phases, phase),
    )
    arguments = {
        **loop_arguments(),
        "gradient_accumulation_steps": phase.gradient_accumulation_steps,
    }
    done = step - phase.first_step
    logging.info(
        "Training on %ss of length %d up to step %d, %d in a batch",
        records.unit,
        records.max_seq_length,
        phase.last_step,
        phase.batch_size,
    )
    batches = train_batches(
        records.files,
        records.spec,
        phase.batch_size,
        FLAGS.seed,
        done,
        augmentation=records.augmentation,
    )
    with bad_records_named(records.files, records.spec):
        return train(
            model,
            OBJECTIVE if records.next_sentence else MASKED_LM_OBJECTIVE,
            optimizer,
            strategy,
            batches,
            state,
            progress,
            num_train_steps=phase.last_step,
            **arguments,
        )


def find_eval_records(phases: list[Phase], config: BertConfig) -> Records:
    """Returns the records of evaluation, which are as long as those of the last phase; checks all together."""
    found = last = phases[-1].records
    if FLAGS.eval_input_file:
        prefix = "phase2_" if FLAGS.phase2_input_file else ""
        lengths = last.max_seq_length, last.predictions
        found = find_records("eval_input_file", config, *lengths, prefix)
    every = [*(phase.records for phase in phases), found]
    check_one_vocabulary([file for records in every for file in records.files])
    if not any(records.masker for records in every):
        refuse_masking_flags()
    return found


def check_something_to_do() -> None:
    """Raises ValueError unless there is."""
    if not (FLAGS.do_train or FLAGS.do_eval):
        raise ValueError("nothing to do: give --do_train=true, --do_eval=true or both")


def check_batches(phases: list[Phase], strategy: tf.distribute.Strategy) -> None:
    """Raises ValueError unless the batches of a second phase divide evenly."""
    for phase in phases[1:]:
        check_batch_size(
            "phase2_train_batch_size",
            phase.batch_size,
            strategy,
            phase.gradient_accumulation_steps,
        )


def warmup_steps_within(phase: Phase) -> int:
    """Returns how many updates of the phase are warm-up; one schedule may be that of both phases."""
    end = phase.schedule.first_step + phase.schedule.num_warmup_steps
    return max(0, min(end, phase.last_step) - phase.first_step)


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    check(check_something_to_do)
    strategy = dry_run.checked_strategy(check, "eval_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    phases = check(read_phases, config)
    check(find_eval_records, phases, config)
    check(check_batches, phases, strategy)
    model = dry_run.checked_model(check, strategy, BertPretrainer, config, FLAGS.rematerialize)
    trainings = [
        dry_run.Training(
            phase.records.max_seq_length,
            sum(file.count for file in phase.records.files),
            phase.records.predictions * config.vocab_size,
            phase.records.flops(config),
            phase.batch_size,
            phase.gradient_accumulation_steps,
            phase.last_step - phase.first_step,
            warmup_steps_within(phase),
            phase.records.unit,
        )
        for phase in (phases if FLAGS.do_train and phases is not MISSING else [])
    ]
    dry_run.finish(check, config, model, strategy, trainings)


def main() -> None:
    """Checks, then trains, then evaluates."""
    if FLAGS.dry_run:
        return rehearse()
    check_something_to_do()
    strategy = strategy_from_flags("eval_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    phases = read_phases(config)
    eval_records = find_eval_records(phases, config)
    check_batches(phases, strategy)
    state = run_state_from_flags(strategy)
    with strategy.scope():
        model = BertPretrainer(config, rematerialize=FLAGS.rematerialize)
        schedule = phases[0].schedule
        optimizer = optimizer_from_flags(model, schedule.num_train_steps, schedule.num_warmup_steps)
    step = load_weights(state, FLAGS.init_checkpoint, model, optimizer)
    check_same_start(strategy, model, step)
    state.make_own_dir()

    if FLAGS.do_train:
        state.claim()
        for phase in remaining(phases, step):
            step = train_phase(phases, phase, model, optimizer, strategy, state, step)
    if FLAGS.do_eval:
        files, spec = eval_records.files, eval_records.spec
        batches = eval_batches(
            files, spec, FLAGS.eval_batch_size, True, eval_records.augmentation
        ).take(FLAGS.max_eval_steps)
        with bad_records_named(files, spec):
            scores = list(predict(model, sequence_scores, batches, strategy))
        write_eval_results(state.own_dir, evaluation_metrics(scores), step)
    wait_for_workers(strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["input_file", "bert_config_file", "output_dir"])
    app.run(main)
