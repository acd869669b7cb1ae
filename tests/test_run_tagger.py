"""run_tagger.py as a user runs it."""

import json

import numpy as np
import pytest
from tiny_runs import (
    WORDS,
    finish,
    model_flags,
    names,
    refusal,
    results,
    run,
    start,
    succeed,
    write_model,
)

from modeling.checkpoint import read_names_and_shapes

NAMES, PLACES = WORDS[2:5], WORDS[5:7]
ODD = "\u200d"  # of which the tokenizer leaves nothing


def sentence(rng, size):
    """Returns words with their tags: some are names, some are places of two words."""
    rows = []
    while len(rows) < size:
        kind = rng.integers(4)
        if kind == 0:
            rows.append((rng.choice(NAMES), "B-name"))
        elif kind == 1:
            rows += [(PLACES[0], "B-place"), (PLACES[1], "I-place")]
        else:
            rows.append((rng.choice(WORDS[7:]), "O"))
    return rows


def write(path, sentences, before=""):
    blocks = ["".join(f"{word}\tX\t{tag}\n" for word, tag in rows) for rows in sentences]
    path.write_text(before + "\n".join(blocks))
    return path


def make_files(tmp_path):
    """Makes a model, and sentences to train on, to evaluate on and to tag, all tiny; one is longer than a window."""
    rng = np.random.default_rng(11)
    write_model(tmp_path)
    for name, number in (("train", 37), ("dev", 11), ("test", 7)):
        sentences = [sentence(rng, int(rng.integers(1, 9))) for _ in range(number)]
        sentences.append(sentence(rng, 31))
        sentences.append([(ODD, "O"), ("house", "O")])
        write(tmp_path / f"{name}.conll", sentences)
    return tmp_path


@pytest.fixture
def files(tmp_path):
    return make_files(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that trained, evaluated and tagged; its files, and what it said. Nothing in it may be changed."""
    files = make_files(tmp_path_factory.mktemp("trained"))
    wanted = dict.fromkeys(("do_train", "do_eval", "do_predict"), "true")
    flags = flags_of(files, **wanted, num_train_epochs=17.0, learning_rate=1e-2)
    return files, *succeed("run_tagger.py", **flags, length_buckets="5,9")


def flags_of(files, **changes):
    flags = dict(
        train_file=files / "train.conll",
        dev_file=files / "dev.conll",
        test_file=files / "test.conll",
        max_seq_length=13,
        train_batch_size=4,
        num_train_epochs=1.0,
    )
    return model_flags(files) | flags | changes


def tags_of(lines):
    return [line.split("\t")[-1] for line in lines if line]


def test_training_evaluation_and_tags_in_one_run(trained):
    files, stdout, stderr = trained
    scores = results(files / "run")
    assert set(scores) == {
        *("eval_accuracy", "eval_f1", "eval_loss", "eval_precision", "eval_recall", "global_step")
    }
    assert scores["eval_f1"] > 0.8  # it learns what is to be learnt
    assert stdout.startswith((files / "run/eval_results.txt").read_text())
    assert "cut into several, 1 words without a piece" in stderr
    found = read_names_and_shapes(str(files / f"run/model.ckpt-{scores['global_step']:.0f}"))
    assert {"output_weights", "output_bias", "bert/pooler/dense/bias"} < set(found)
    assert json.loads((files / "run/results.json").read_text())
    assert "<html" in (files / "run/report.html").read_text()


def test_predictions_are_a_column_beside_an_unchanged_file(trained):
    files, *_ = trained
    given = (files / "test.conll").read_text().splitlines()
    made = (files / "run/test_predictions.conll").read_text().splitlines()
    assert [line.rpartition("\t")[0] for line in made] == given
    said, right = (np.array(tags_of(made)), np.array(tags_of(given)))
    assert np.mean(said == right) > 0.8


def test_evaluation_and_prediction_need_neither_the_training_file_nor_its_buckets(trained):
    files, *_ = trained
    wanted = dict(do_eval="true", do_predict="true", train_file=None)
    output = files.parent / "alone"
    succeed(
        "run_tagger.py",
        **flags_of(files, **wanted, init_checkpoint=files / "run", output_dir=output),
    )
    assert (output / "predict.tf_record").exists()
    name = "test_predictions.conll"
    assert (output / name).read_bytes() == (files / "run" / name).read_bytes()
    ours, theirs = results(output), results(files / "run")
    assert ours.pop("global_step") == 0 < theirs.pop("global_step")
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
def test_the_same_command_again_trains_no_more(files):
    flags = flags_of(files, do_train="true", do_predict="true")
    succeed("run_tagger.py", **flags)
    before = (files / "run/test_predictions.conll").read_bytes()
    _, stderr = succeed("run_tagger.py", **flags)
    assert "Training is complete" in stderr
    assert (files / "run/test_predictions.conll").read_bytes() == before


@pytest.mark.slow
def test_parts_of_speech_in_conllu(files):
    def conllu(name):
        rows = [line.split("\t") for line in (files / f"{name}.conll").read_text().split("\n")]
        number, lines = 0, ["# newdoc"]
        for row in rows:
            number = number + 1 if len(row) > 1 else 0
            tag = row[-1].removeprefix("B-").removeprefix("I-").upper()
            lines.append(f"{number}\t{row[0]}\t_\t{tag}{6 * (chr(9) + '_')}" if number else "")
        path = files / f"{name}.conllu"
        path.write_text("\n".join(lines))
        return path

    paths = {f"{name}_file": conllu(name) for name in ("train", "dev", "test")}
    succeed(
        "run_tagger.py",
        **flags_of(files, **paths, do_train="true", do_eval="true", do_predict="true"),
        document_context="true",
    )
    assert set(results(files / "run")) == {"eval_accuracy", "eval_loss", "global_step"}
    given = [line.split("\t") for line in paths["test_file"].read_text().splitlines()]
    made = (files / "run/test_predictions.conllu").read_text().splitlines()
    assert len(made) == len(given)
    for row, line in zip(given, made, strict=True):
        new = line.split("\t")
        assert [*new[:3], *new[4:]] == [*row[:3], *row[4:]]
        assert len(row) < 4 or new[3] in {"NAME", "PLACE", "O"}


@pytest.mark.slow
def test_a_dry_run_counts_windows_of_all_lengths_and_writes_nothing(files):
    words = [("red", "B-NAME"), *[("red", "O")] * 7]
    write(files / "train.conll", [words[:length] for length in (3, 8) * 7])
    flags = flags_of(files, do_train="true", dry_run="true", length_buckets="auto")
    stdout, _ = succeed("run_tagger.py", **{**flags, "train_batch_size": 1})
    assert ", 10.5 in a sequence, padding included" in stdout  # 8 and 13
    assert "No problem found" in stdout and not (files / "run").exists()


def test_a_dry_run_lists_all_problems_together(files):
    write(files / "dev.conll", [[("red", "PER")]])
    status, _, stderr = run(
        "run_tagger.py",
        **flags_of(
            files, do_train="true", do_eval="true", do_predict="true", dry_run="true",
            max_seq_length=31, test_file="nowhere", vocab_file="nowhere.txt",
        ),
    )  # fmt: skip
    problems = stderr.split("error: ")[1].splitlines()
    assert status == 1 and problems[0] == "4 problems found by --dry_run:"
    for problem, word in zip(
        problems[1:], ("--max_seq_length=31", "nowhere.txt", "nowhere", "'PER'"), strict=True
    ):
        assert word in problem
    assert "Traceback" not in stderr


def damage(files):
    (files / "train.conll").open("a").write("\nred\tX\n")


def other_tags(files):
    succeed("run_tagger.py", **flags_of(files, do_train="true"))
    write(files / "train.conll", [[("red", "B-colour"), ("a", "O")]] * 5)


def unlike_tags(files):
    write(files / "train.conll", [[("red", "B-colour"), ("a", "PER")]] * 5)


BAD_INPUT = {
    "nothing to do": ({}, None, "--do_train"),
    "no file": (dict(do_train="true", train_file=None), None, "--do_train needs --train_file"),
    "no such file": (dict(do_train="true", train_file="nowhere"), None, "nowhere does not exist"),
    "a ragged line": (dict(do_train="true"), damage, "train.conll, line 2"),
    "tags of another kind": (dict(do_train="true"), unlike_tags, "line 2: tag 'PER'"),
    "other tags than the run's": (dict(do_train="true"), other_tags, "other tags than"),
    "no tags": (dict(do_predict="true"), None, "tags.json"),
    "no documents": (
        dict(do_train="true", document_context="true"),
        None,
        "marks no documents",
    ),
    "no length": (dict(do_train="true", length_buckets="17"), None, "--length_buckets=17"),
    "no column": (dict(do_train="true", word_column=5), None, "--word_column=5"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line(files, case):
    changes, prepare, expected = BAD_INPUT[case]
    if prepare:
        prepare(files)
    before = sorted(files.rglob("*"))
    assert expected in refusal("run_tagger.py", **flags_of(files, **changes))
    assert sorted(files.rglob("*")) == before


@pytest.mark.slow
def test_two_workers_tag_as_one_process_does_with_their_weights(files, tmp_path):
    flags = flags_of(files, do_train="true", do_eval="true", do_predict="true", length_buckets="7")
    together, alone = ({**flags, "output_dir": tmp_path / name} for name in ("together", "alone"))
    (status, stderr), (other, _) = finish(start("run_tagger.py", tmp_path, together, together))
    assert (status, other) == (0, 0), stderr
    succeed(
        "run_tagger.py", **{**alone, "do_train": "false", "init_checkpoint": tmp_path / "together"}
    )
    tagged = [tmp_path / name / "test_predictions.conll" for name in ("together", "alone")]
    assert tagged[0].read_text() == tagged[1].read_text()
    assert results(tmp_path / "together")["eval_f1"] == results(tmp_path / "alone")["eval_f1"]
    assert not names(tmp_path / "scratch1")
