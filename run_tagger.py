r"""Fine-tunes BERT to tag words: named entities, parts of speech (Devlin et al. 2019, section 5.3).

    python run_tagger.py --do_train=true --do_eval=true --do_predict=true --train_file=$NER_DIR/train.txt \
      --dev_file=$NER_DIR/valid.txt --test_file=$NER_DIR/test.txt --vocab_file=$BERT_BASE_DIR/vocab.txt \
      --do_lower_case=false --bert_config_file=$BERT_BASE_DIR/bert_config.json \
      --init_checkpoint=$BERT_BASE_DIR/bert_model.ckpt --max_seq_length=128 --length_buckets=32,64 \
      --learning_rate=5e-5 --num_train_epochs=3.0 --output_dir=/tmp/ner_output/
"""

from training import app  # isort: skip  (first: it silences TensorFlow's start-up)

import os
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from absl import flags, logging

from finetuning.findings import TaggedSentence, compare_tags
from finetuning.length_records import LengthRecords, predict_by_length, write_by_length
from finetuning.report import write_report
from finetuning.sweep_flags import planned_runs, print_plan, run_planned
from finetuning.tagging_features import Feature, encode_file, feature_rows, feature_spec
from finetuning.tagging_files import TagFile, by_sentence, read_tag_file, with_tags
from finetuning.tagging_metrics import entity_scores, metric_names, tagging_results
from finetuning.tagging_objective import OBJECTIVE, collect_words, tag_scores
from finetuning.tagset import (
    SCHEMES,
    Tagset,
    check_tags,
    count_invalid,
    tag_numbers,
    tagset_of_run,
    write_tagset,
)
from finetuning.task_training import (
    begin,
    define_fine_tuning_flags,
    make_model,
    plan_trainings,
    train_on,
)
from modeling.config import BertConfig
from modeling.flops import tagger_flops
from modeling.heads import BertTokenClassifier
from tokenization.files import write_text
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


class Split(NamedTuple):
    """A file and its windows."""

    file: TagFile
    features: list[Feature]


def define_flags() -> None:
    """Defines the flags of this script."""
    define_fine_tuning_flags(max_seq_length=128)
    define_data_flags(
        "a word a line with columns, or CoNLL-U if its name ends in .conllu",
        "test_predictions with its ending: the file with the tags in one more column, in CoNLL-U in their column",
        "Windows",
    )
    flags.DEFINE_integer(
        "word_column", None, "Column of the words from 0 (default: 0, in CoNLL-U 1)."
    )
    flags.DEFINE_integer(
        "tag_column", None, "Column of the tags from 0; -1 is the last (default: -1, in CoNLL-U 3)."
    )
    flags.DEFINE_enum(
        "tag_scheme",
        "auto",
        ["auto", *SCHEMES],
        "How tags mark entities; 'plain' if they do not; 'auto' finds it in train_file.",
    )
    flags.DEFINE_bool(
        "document_context",
        False,
        "Windows go over the ends of sentences up to those of documents, which -DOCSTART- or # newdoc mark.",
    )


def read_inputs(config: BertConfig, check: Callable = call) -> tuple[dict[str, Split], Tagset]:
    """Returns what is wanted of the files, and the tags, after all checks that need no model.

    A `check` that collects errors goes on after them.
    """
    length = check(sequence_length, config)
    check(check_length_buckets)
    check(planned_runs)
    tokenizer = check(read_tokenizer, config)
    paths = check(wanted_files)
    if paths is MISSING:
        return {}, MISSING
    columns = (FLAGS.word_column, FLAGS.tag_column)
    files = {
        split: check(read_tag_file, path, *columns, split != "predict")
        for split, path in paths.items()
    }
    scheme = None if FLAGS.tag_scheme == "auto" else FLAGS.tag_scheme
    run = (FLAGS.output_dir, FLAGS.init_checkpoint)
    tagset = check(tagset_of_run, files.get("train"), scheme, *run)
    if "eval" in files:
        check(check_tags, files["eval"], tagset)
    check(lambda tagset: check_evaluation_flags(metric_names(tagset.scheme)), tagset)
    how = (tokenizer, length, FLAGS.document_context)
    splits = {split: Split(file, check(encode_file, file, *how)) for split, file in files.items()}
    return splits, tagset


def write_windows(output_dir: str, name: str, split: Split, tagset: Tagset) -> LengthRecords:
    """Writes the records of a file."""
    rows = feature_rows(split.features, tag_numbers(split.file, tagset))
    lengths = length_buckets(count_tokens(split.features), name)
    return write_by_length(output_dir, name, rows, lengths)


def count_tokens(features: list[Feature]) -> list[int]:
    """Returns the number of tokens of each window."""
    return [len(feature.input_ids) for feature in features]


def tag_words(
    records: LengthRecords, split: Split, tagset: Tagset, batch_size: int, model, strategy
) -> tuple[list[list[str]], np.ndarray]:
    """Returns the best tags of each sentence, and the loss of each word, float32 in nats."""
    batches = predict_by_length(model, tag_scores, records, feature_spec, batch_size, strategy)
    numbers, losses = collect_words(batches, split.features)
    tags = by_sentence(split.file, [tagset.tags[number] for number in numbers])
    invalid = count_invalid(tags, tagset.scheme)
    if invalid:
        logging.info(
            "%s: %d predicted tags cannot stand where they are in %s",
            split.file.path,
            invalid,
            tagset.scheme,
        )
    return tags, losses


def measure(split: Split, tagset: Tagset, tags: list[list[str]], losses: np.ndarray) -> dict:
    """Returns the metrics of a file with these tags and losses, as from `tag_words`."""
    gold = [sentence.tags for sentence in split.file.sentences]
    known = tag_numbers(split.file, tagset) >= 0
    return tagging_results(gold, tags, losses[known], tagset.scheme)


def report(output_dir: str, split: Split, tagset: Tagset, tags, results, step: int) -> None:
    """Writes eval_results.txt and the report."""
    write_eval_results(output_dir, results, step)
    sentences = split.file.sentences
    compared = [
        TaggedSentence(f"line {sentence.lines[0] + 1}", sentence.words, sentence.tags, predicted)
        for sentence, predicted in zip(sentences, tags, strict=True)
    ]
    gold = [sentence.tags for sentence in sentences]
    scores = None if tagset.scheme == "plain" else entity_scores(gold, tags, tagset.scheme)
    findings = compare_tags(compared, scores)
    write_report(output_dir, "tagging", results, step, findings, run_from_flags())


def write_predictions(output_dir: str, file: TagFile, tags: list[list[str]]) -> None:
    """Writes the file with these tags."""
    path = os.path.join(output_dir, f"test_predictions{os.path.splitext(file.path)[1]}")
    write_text(path, with_tags(file, tags))
    logging.info("***** %s is tagged, in %s *****", file.path, path)


def rehearse() -> None:
    """Makes all checks, and says what the run will take."""
    check = Preflight()
    strategy = dry_run.checked_strategy(check, "eval_batch_size", "predict_batch_size")
    config = check(BertConfig.from_json_file, FLAGS.bert_config_file)
    splits, tagset = read_inputs(config, check)
    num_tags = check(lambda tagset: len(tagset.tags), tagset)
    model = dry_run.checked_model(
        check, strategy, make_model, BertTokenClassifier, config, num_tags
    )
    trainings = []
    if "train" in splits:
        num_tokens = check(count_tokens, splits["train"].features)
        counts = check(count_by_length, num_tokens, check(length_buckets, num_tokens, "train"))
        logits = check(lambda counts, num_tags: max(counts) * num_tags, counts, num_tags)
        flops = check(partial, tagger_flops, config, num_labels=num_tags)
        trainings = plan_trainings(check, strategy, config, counts, logits, flops)
    dry_run.finish(check, config, model, strategy, trainings)
    print_plan()


def count_windows(splits: dict[str, Split]) -> int:
    """Returns the number of records to train on."""
    return len(splits["train"].features) if "train" in splits else 0


def run_once(
    config: BertConfig, splits: dict[str, Split], tagset: Tagset, strategy
) -> dict[str, float]:
    """Trains, evaluates and tags as the flags ask, and returns the results: the evaluation's, and the step."""

    def make():
        return make_model(BertTokenClassifier, config, len(tagset.tags)), OBJECTIVE

    state = run_state_from_flags(strategy)
    start = begin(state, strategy, count_windows(splits), make)
    step, results = start.step, {}

    @cache
    def records(name):
        return write_windows(state.own_dir, name, splits[name], tagset)

    def tag(name):
        batch_size = FLAGS[f"{name}_batch_size"].value
        return tag_words(records(name), splits[name], tagset, batch_size, start.model, strategy)

    if FLAGS.do_train:
        write_tagset(state.own_dir, tagset)
        flops = partial(tagger_flops, config, num_labels=len(tagset.tags))
        evaluation = (
            lambda: measure(splits["eval"], tagset, *tag("eval")),
            metric_names(tagset.scheme),
        )
        step = train_on(start, records("train"), feature_spec, flops, *evaluation)
    step = load_chosen(state, start.model, strategy, step)
    if FLAGS.do_eval:
        tags, losses = tag("eval")
        results = measure(splits["eval"], tagset, tags, losses)
        report(state.own_dir, splits["eval"], tagset, tags, results, step)
    if FLAGS.do_predict:
        tags, _ = tag("predict")
        write_predictions(state.own_dir, splits["predict"].file, tags)
    return results | {"global_step": step}


def main() -> None:
    """Checks, then does what the flags ask."""
    if FLAGS.dry_run:
        return rehearse()
    strategy = strategy_from_flags("eval_batch_size", "predict_batch_size")
    config = BertConfig.from_json_file(FLAGS.bert_config_file)
    splits, tagset = read_inputs(config)
    make = partial(run_once, config, splits, tagset, strategy)
    metric = metric_names(tagset.scheme)[0]
    run_planned(make, partial(count_windows, splits), "tagging", metric, strategy)


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["vocab_file", "bert_config_file", "output_dir"])
    app.run(main)
