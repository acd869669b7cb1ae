"""`run_classifier.py` beyond the tasks of the original: GLUE's regression, and anyone's data."""

import csv
import json

import numpy as np
import pytest
from tiny_runs import (
    WITHOUT_DROPOUT,
    change_config,
    classifier_flags,
    custom_flags,
    refusal,
    results,
    run,
    sentence,
    succeed,
    write_csv,
    write_words,
)


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_regression_of_glue_is_trained_evaluated_and_submitted(files):
    rng = np.random.default_rng(5)
    for split, count in (("train", 17), ("dev", 7), ("test", 5)):
        lines = ["index" + "\t." * 6 + "\tsentence1\tsentence2" + "\tscore" * (split != "test")]
        for index in range(count):
            score = f"\t{index % 6}.{index % 10}" if index % 6 < 5 else "\t5.000"
            texts = f"{index}" + "\t." * 6 + f"\t{sentence(rng)}\t{sentence(rng)}"
            lines.append(texts + score * (split != "test"))
        (files / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    flags = classifier_flags(files, task_name="STS-B", do_eval="true", do_predict="true")
    succeed("run_classifier.py", **flags)
    metrics = results(files / "run")
    assert metrics.keys() == {"eval_loss", "eval_pearson", "eval_spearman", "global_step", "loss"}
    found = json.loads((files / "run/results.json").read_text())
    assert found["task"] == "sts-b" and found["metrics"].keys() == metrics.keys() - {"global_step"}
    assert (files / "run/report.html").exists()
    values = [float(line) for line in (files / "run/test_results.tsv").read_text().splitlines()]
    submitted = (files / "run/STS-B.tsv").read_text().splitlines()
    assert submitted[0] == "index\tprediction" and len(submitted) == 6
    for index, (line, value) in enumerate(zip(submitted[1:], values, strict=True)):
        number, prediction = line.split("\t")
        assert int(number) == index
        assert float(prediction) == pytest.approx(min(max(value, 0.0), 5.0))


def test_own_data_need_no_training_file_to_be_predicted(files):
    rng = np.random.default_rng(7)
    words = {"fast": "good", "slowly": "bad", "never": "bad"}
    rows = [
        [f'{sentence(rng)}, "{word}"', label] for word, label in words.items() for _ in range(7)
    ]
    write_csv(files / "train.csv", ["text", "label"], rows)
    write_csv(files / "test.csv", ["text"], [[row[0]] for row in rows[:5]])
    flags = custom_flags(files, class_weights="balanced", dev_file=files / "train.csv")
    succeed("run_classifier.py", **flags, do_eval="true")
    assert results(files / "run").keys() == {
        *("eval_accuracy", "eval_f1_macro", "eval_loss", "global_step", "loss")
    }
    (files / "train.csv").unlink()
    flags = custom_flags(files, do_train="false", do_predict="true", test_file=files / "test.csv")
    succeed("run_classifier.py", **{**flags, "train_file": None}, predict_format="full")
    found = rows_of(files / "run/test_predictions.csv")
    assert [row["text_a"] for row in found] == [row[0] for row in rows[:5]]
    lines = (files / "run/test_results.tsv").read_text().splitlines()
    for row, line in zip(found, lines, strict=True):
        bad, good = map(float, line.split("\t"))
        assert (float(row["probability_bad"]), float(row["probability_good"])) == (bad, good)
        assert row["label"] == ("good" if good > bad else "bad")


def test_any_number_of_labels_is_learnt_from_json_lines(files):
    lines = [
        {
            "id": n,
            "a": f"the {'red' * (n % 2)} boat",
            "b": "runs",
            "tags": ["red"] * (n % 2) + ["x"] * (n % 3 > 1),
        }
        for n in range(19)
    ]
    path = files / "all.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    flags = custom_flags(
        files, label_kind="multi", label_column="tags", text_columns="a,b", id_column="id"
    )
    flags |= dict(
        train_file=path, dev_file=path, test_file=path, num_train_epochs=60.0, learning_rate=1e-2
    )
    succeed("run_classifier.py", **flags, do_eval="true", do_predict="true", predict_format="full")
    metrics = results(files / "run")
    assert {"eval_f1_micro", "eval_f1_macro", "eval_exact_match"} <= metrics.keys()
    found = rows_of(files / "run/test_predictions.csv")
    assert [row["id"] for row in found] == [str(n) for n in range(19)]
    right = ["red" in row["label"].split("|") for row in found]
    assert right == [n % 2 == 1 for n in range(19)]


def test_length_buckets_change_nothing_but_the_padding(files):
    change_config(files / "bert_config.json", **WITHOUT_DROPOUT, initializer_range=0.5)
    rng = np.random.default_rng(13)
    write_words(files / "train.csv", rng, [12, 13, 17] * 7)  # all of one bucket: the same batches
    write_words(files / "dev.csv", rng, [19, 3, 23, 11, 12, 17, 5])
    write_words(files / "test.csv", rng, [18, 4, 13, 20, 11])
    flags = custom_flags(files, dev_file=files / "dev.csv", test_file=files / "test.csv")
    flags |= dict(do_eval="true", do_predict="true", learning_rate=1e-3, eval_batch_size=3)
    flags["train_batch_size"] = 3
    succeed("run_classifier.py", **flags)
    bucketed = {**flags, "output_dir": files / "bucketed", "length_buckets": "11,17"}
    _, stderr = succeed("run_classifier.py", **bucketed)
    assert "predict: 5 records, 22.4% of their positions are padding" in stderr
    assert {path.name for path in (files / "bucketed").glob("*.tf_record")} == {
        *("train.17.tf_record", "predict.11.tf_record", "predict.17.tf_record"),
        *("predict.23.tf_record", "eval.11.tf_record", "eval.17.tf_record", "eval.23.tf_record"),
    }
    assert results(files / "bucketed") == pytest.approx(results(files / "run"), rel=1e-5)
    padded, cut = (np.loadtxt(files / run / "test_results.tsv") for run in ("run", "bucketed"))
    assert np.diff(np.sort(padded[:, 0])).min() > 1e-3
    np.testing.assert_allclose(cut, padded, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("buckets, mean", [("11,16", 15.4), ("auto", 15.8)])
def test_a_dry_run_plans_with_the_length_buckets(files, buckets, mean):
    write_words(files / "train.csv", np.random.default_rng(17), [3, 11, 12, 13, 23] * 4)
    flags = custom_flags(files, length_buckets=buckets, num_train_epochs=4.0, dry_run="true")
    stdout, _ = succeed("run_classifier.py", **{**flags, "train_batch_size": 1})
    assert f"{20 * 4 * mean:,.0f}, {mean} in a sequence, padding included" in stdout


BAD_FLAGS = {
    "own data for a task": (dict(task_name="rte", data_dir="."), "rte has no use for --train_file"),
    "a task's data for own": (dict(data_dir="."), "custom has no use for --data_dir"),
    "a language": (dict(xnli_language="de"), "custom has no use for --xnli_language"),
    "no file": (dict(do_eval="true"), "--do_eval needs --dev_file"),
    "three texts": (dict(text_columns="a,b,c"), "--text_columns=a,b,c: name one or two columns"),
    "no folder": (dict(task_name="rte", train_file=None), "rte needs --data_dir"),
    "no column": (dict(label_column="stars"), "there is no column 'stars'"),
    "one class": (dict(label_column="same"), "all labels are 1: there is nothing to learn"),
    "a label more": (
        dict(do_eval="true", dev_file="dev.csv"),
        "dev.csv, line 2: label 'maybe' is none of no, yes",
    ),
    "a bucket": (dict(length_buckets="31"), "--length_buckets=31: '31' is not a length from 1 to"),
    "weights": (dict(class_weights="1,2,3"), "--class_weights=1,2,3"),
}


@pytest.mark.parametrize("case", BAD_FLAGS)
def test_bad_flags_and_files_are_one_line_before_any_work(files, case):
    write_csv(files / "train.csv", ["text", "label", "same"], [["a", "yes", 1], ["b", "no", 1]])
    write_csv(files / "dev.csv", ["text", "label"], [["a", "maybe"]])
    changes, expected = BAD_FLAGS[case]
    if "dev_file" in changes:
        changes = {**changes, "dev_file": files / "dev.csv"}
    before = sorted(files.rglob("*"))
    assert expected in refusal("run_classifier.py", **custom_flags(files, **changes))
    assert sorted(files.rglob("*")) == before


@pytest.mark.slow
def test_a_dry_run_of_own_data_lists_all_problems_at_once(files):
    write_csv(files / "train.csv", ["text", "label"], [["a", "yes"], ["b", "no"]])
    write_csv(files / "dev.csv", ["text"], [["a"]])
    flags = custom_flags(files, dev_file=files / "dev.csv", do_eval="true", vocab_file="nowhere")
    flags["train_batch_size"] = 2
    status, _, stderr = run("run_classifier.py", **flags, dry_run="true")
    assert status == 1
    assert "2 problems" in stderr and "no column 'label'" in stderr and "nowhere" in stderr


@pytest.mark.slow
def test_xnli_is_trained_in_one_language_and_evaluated_in_another(files):
    rng = np.random.default_rng(11)
    labels = ("neutral", "entailment", "contradictory")
    rows = [f"{sentence(rng)}\t{sentence(rng)}\t{labels[n % 3]}" for n in range(11)]
    (files / "multinli").mkdir()
    path = files / "multinli/multinli.train.en.tsv"
    path.write_text("\n".join(["premise\thypo\tlabel", *rows]) + "\n")
    for split, count in (("dev", 5), ("test", 3)):
        lines = ["language\tgold_label\t.\t.\t.\t.\tsentence1\tsentence2"]
        for n in range(count):
            texts = f"\t.\t.\t.\t.\t{sentence(rng)}\t{sentence(rng)}"
            lines += [f"en\tneutral{texts}", f"de\t{labels[n % 2]}{texts}"]
        (files / f"xnli.{split}.tsv").write_text("\n".join(lines) + "\n")
    flags = classifier_flags(files, task_name="XNLI")
    succeed("run_classifier.py", **flags, xnli_language="en")
    flags = {**flags, "do_train": "false", "do_eval": "true", "do_predict": "true"}
    _, stderr = succeed("run_classifier.py", **flags, xnli_language="de")
    assert "xnli.dev.tsv: 5 rows in other languages are left out" in stderr
    assert results(files / "run")["global_step"] == int(11 / 8)
    probabilities = np.loadtxt(files / "run/test_results.tsv")
    gold = np.array([2, 1, 2])  # of neutral, entailment, neutral
    measured = dict(
        line.split(" = ") for line in (files / "run/test_metrics.txt").read_text().splitlines()
    )
    assert measured.keys() == {"global_step", "test_accuracy", "test_loss"}
    losses = -np.log(probabilities[np.arange(3), gold])
    assert float(measured["test_loss"]) == pytest.approx(losses.mean(), rel=1e-5)
    assert float(measured["test_accuracy"]) == pytest.approx(
        np.mean(probabilities.argmax(1) == gold)
    )
