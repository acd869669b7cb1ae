"""The report of an evaluation: a table on the console, `results.json` for programs, `report.html` for people."""

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from absl import logging

from finetuning.findings import Answer, Findings, LabelScore, TaggedSentence
from tokenization.files import write_text
from training.charts import STYLE, heat_map, line_chart, scatter
from training.pages import apart, escape, number, page, section, table, tiles
from training.progress import NOT_SCORES, read_scalars
from training.results import Run, write_results_json

MAX_SHOWN = 100  # errors on the page
MAX_LABELS = 20  # in the confusion matrix, and on the console
MAX_CHARACTERS, MAX_WORDS = 2000, 300  # of a text, of a tagged sentence

# The settings that people ask for first; the page shows them whether they were given or not.
_MAIN_FLAGS = (
    *("init_checkpoint", "learning_rate", "train_batch_size", "num_train_epochs"),
    *("max_seq_length", "seed"),
)
_NO_CURVE = {"input_wait_share", "sequences_per_second", "tokens_per_second", "skipped_steps"}
_LABEL_HEADER = ("label", "precision", "recall", "F1", "count")


def write_report(
    output_dir: str,
    task: str,
    results: Mapping[str, float],
    step: int,
    findings: Findings,
    run: Run,
) -> None:
    """Writes `report.html` and `results.json`, and logs the scores of the labels.

    Args:
      output_dir: of the run; the curves come from its `metrics.jsonl` and that of `eval/`.
      task: its name.
      results: of the evaluation, as in `eval_results.txt`.
      step: updates that the evaluated model has had.
      findings: see `finetuning.findings`.
      run: see `training.common_flags.run_from_flags`.
    """
    write_results_json(output_dir, task, results, step, run, _for_json(findings))
    if findings.label_scores:
        logging.info("Scores by label:\n%s", console_table(findings.label_scores))
    body = "".join(
        (
            f"<header>\n<p>{_summary(findings, step)}</p>\n{tiles(dict(sorted(results.items())))}</header>\n",
            section("Labels", _label_table(findings.label_scores), _confusion(findings)),
            section("Numbers", _scatter(findings.points)),
            section("Training", _curves(output_dir)),
            section("The worst errors", _errors(findings.errors)),
            section("The run", _run(run)),
        )
    )
    path = os.path.join(output_dir, "report.html")
    write_text(path, page(task, body, STYLE + _STYLE))
    logging.info("***** Report, in %s *****", path)


def console_table(label_scores: Mapping[str, LabelScore]) -> str:
    """Returns the scores of the first labels as lines of aligned columns."""
    rows = [_LABEL_HEADER, *_score_rows(dict(islice(label_scores.items(), MAX_LABELS)))]
    lines = aligned([[_printable(cell) for cell in row] for row in rows])
    left_out = len(label_scores) - MAX_LABELS
    return "\n".join(lines + ([f"and {left_out:,} more in report.html"] if left_out > 0 else []))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the rows as lines of columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def _printable(text: str) -> str:
    """Escapes what would do something to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _score_rows(label_scores: Mapping[str, LabelScore]) -> list[list[str]]:
    return [
        [label, *("-" if value is None else f"{value:.3f}" for value in score[:3]), f"{score[3]:,}"]
        for label, score in label_scores.items()
    ]


def _for_json(findings: Findings) -> dict[str, object]:
    return {
        "num_examples": findings.num_examples,
        "num_errors": findings.num_errors,
        "baseline": findings.baseline,
        "labels": {label: score._asdict() for label, score in findings.label_scores.items()},
        "confusion": [[*pair, count] for pair, count in sorted(findings.confusion.items())],
    }


def _summary(findings: Findings, step: int) -> str:
    when = f"at step {step:,}" if step else "as it was loaded"
    if findings.num_words:
        share = findings.num_errors / findings.num_examples
        return (
            f"Evaluated {when} on {findings.num_words:,} words in {findings.num_examples:,} sentences, of which "
            f"{findings.num_errors:,} ({share:.1%}) have a wrong tag; the commonest tag is that of "
            f"{findings.baseline:.1%} of the words."
        )
    text = f"Evaluated {when} on {findings.num_examples:,} examples"
    if findings.num_errors is not None:
        share = findings.num_errors / findings.num_examples
        text += f", of which {findings.num_errors:,} ({share:.1%}) are wrong"
    if findings.baseline is not None:
        text += f"; the commonest label makes up {findings.baseline:.1%}"
    return text + "."


def _curves(output_dir: str) -> str:
    """Returns a chart for each quantity of the training, and for each one of several evaluations."""
    training = read_scalars(output_dir)
    quantities = {
        name: {"training": points} for name, points in training.items() if name not in _NO_CURVE
    }
    evaluation = read_scalars(os.path.join(output_dir, "eval"))
    for name in sorted(evaluation, key=lambda name: name.startswith("eval_")):
        quantity = name.removeprefix("eval_")
        if quantity in quantities or len(evaluation[name]) > 1:
            quantities.setdefault(quantity, {"training": []})["evaluation"] = evaluation[name]
    names = sorted(quantities, key=lambda name: (name in NOT_SCORES, "loss" not in name, name))
    charts = [line_chart(name, quantities[name], "step") for name in names]
    return f'<div class="charts">\n{"".join(charts)}</div>\n' if charts else ""


def _label_table(label_scores: Mapping[str, LabelScore]) -> str:
    rows = [[apart(row[0]), *row[1:]] for row in _score_rows(label_scores)]
    return table(_LABEL_HEADER, rows, "labels") if rows else ""


def _confusion(findings: Findings) -> str:
    if not findings.confusion:
        return ""
    order = {label: place for place, label in enumerate(findings.label_scores)}
    labels = sorted(
        {label for pair in findings.confusion for label in pair},
        key=lambda label: (order.get(label, len(order)), label),
    )
    note = ""
    if len(labels) > MAX_LABELS:
        note = (
            f"<p>These are the {MAX_LABELS} of {len(labels):,} labels with the most errors.</p>\n"
        )
        wrong = Counter()
        for (gold, predicted), count in findings.confusion.items():
            wrong.update({gold: count, predicted: count} if gold != predicted else {})
        most = {label for label, _ in wrong.most_common(MAX_LABELS)}
        labels = [label for label in labels if label in most]
    matrix = heat_map(findings.confusion, labels, labels, "gold ↓ predicted →")
    return f"<h3>What is taken for what</h3>\n{note}{matrix}"


def _scatter(points: Sequence[tuple[float, float]]) -> str:
    chart = scatter("gold and predicted numbers", points, "gold", "predicted")
    return f'<div class="charts">\n{chart}</div>\n' if chart else ""


def _errors(errors: Sequence[Answer | TaggedSentence]) -> str:
    shown = errors[:MAX_SHOWN]
    note = ""
    if len(shown) < len(errors):
        note = f"<p>{len(shown):,} of {len(errors):,}; the others are left out here.</p>\n"
    return note + "".join(
        _sentence(error) if isinstance(error, TaggedSentence) else _answer(error) for error in shown
    )


def _answer(answer: Answer) -> str:
    texts = "".join(
        f"<dt>{apart(name)}<dd dir=auto>{_shortened(text)}\n" for name, text in answer.texts.items()
    )
    return (
        f"<article>\n<p class=source>{apart(answer.id)}</p>\n<dl>\n"
        f"<dt>gold<dd>{_value(answer.gold, answer)}\n"
        f"<dt>predicted<dd>{_value(answer.predicted, answer)}\n"
        f"{texts}</dl>\n</article>\n"
    )


def _value(value: str | tuple[str, ...] | float, answer: Answer) -> str:
    """Returns labels with their probabilities, or a number."""
    if not isinstance(value, str | tuple):
        return number(value)
    labels = [value] if isinstance(value, str) else value
    return ", ".join(_label(label, answer.probabilities) for label in labels) or "<i>none</i>"


def _label(label: str, probabilities: Mapping[str, float]) -> str:
    sure = f" <small>({probabilities[label]:.3f})</small>" if label in probabilities else ""
    return apart(label) + sure


def _sentence(sentence: TaggedSentence) -> str:
    words = zip(sentence.words, sentence.gold, sentence.predicted, strict=True)
    shown = [_word(*each) for each in islice(words, MAX_WORDS)]
    if len(sentence.words) > MAX_WORDS:
        shown.append(f"<i>[{len(sentence.words) - MAX_WORDS:,} words left out]</i>")
    return f"<article>\n<p class=source>{apart(sentence.id)}</p>\n<p dir=auto>{' '.join(shown)}</p>\n</article>\n"


def _word(word: str, gold: str, predicted: str) -> str:
    if gold == predicted:
        return escape(word)
    return f"<mark>{escape(word)} <small>{apart(gold)} → {apart(predicted)}</small></mark>"


def _shortened(text: str) -> str:
    left_out = len(text) - MAX_CHARACTERS
    rest = f" <i>[{left_out:,} characters left out]</i>" if left_out > 0 else ""
    return escape(text[:MAX_CHARACTERS]) + rest


def _run(run: Run) -> str:
    first = [name for name in run.flags if name in run.given or name in _MAIN_FLAGS]
    others = [name for name in run.flags if name not in first]
    command = " \\\n  ".join([" ".join(run.command[:2]), *map(shlex.quote, run.command[2:])])
    return (
        f"<pre>{escape(command)}</pre>\n{_flags(run, first)}"
        f"<details><summary>{len(others)} more settings, as they are by default</summary>\n"
        f"{_flags(run, others)}</details>\n"
    )


def _flags(run: Run, names: Iterable[str]) -> str:
    return table(("setting", "value"), [(f"--{escape(n)}", escape(run.flags[n])) for n in names])


_STYLE = """\
.labels td:nth-child(n+2), .labels th:nth-child(n+2) { text-align: end; }
mark { background: var(--wrong); border-bottom: 2px solid var(--wrong-line); } mark small { color: inherit; }
pre { white-space: pre-wrap; background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .6rem; font-size: .875rem; }
h3 { font-size: 1rem; margin: .75rem 0 .2rem; }
"""
