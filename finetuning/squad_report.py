"""The error sheet: the wrong answers of a SQuAD model, the worst first, as a page to read and as a table."""

import collections
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from finetuning.squad_decoding import Prediction
from finetuning.squad_examples import Paragraph, Question
from finetuning.squad_metrics import Score, score_v1, score_v2
from tokenization.files import write_text
from training.pages import apart, escape, page, table, tiles

MAX_SHOWN = 200  # questions on the page; the table has all
KINDS = {
    "wrong span": "shares a word with a gold answer",
    "no overlap": "shares no word with a gold answer",
    "should be unanswerable": "answered, but there is no gold answer",
    "should be answered": "not answered, but there is a gold answer",
}

_COLUMNS = (
    *("kind", "exact_match", "f1", "probability", "null_odds", "threshold"),
    *("id", "title", "question", "gold_answers", "prediction", "nbest", "context"),
)

# A stretch of context without anything marked in it is cut if it is longer than this many characters, down to
# so many beside what is marked.
_LONGEST_STRETCH, _MARGIN = 4000, 500
_TO_ESCAPE = re.compile("[\\\\\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class WrongAnswer(NamedTuple):
    """A question that exact match calls wrong."""

    kind: str  # one of KINDS
    paragraph: Paragraph
    question: Question
    prediction: Prediction
    text: str  # the answer
    probability: float  # that the model gave to it
    score: Score


def find_wrong_answers(
    paragraphs: Iterable[Paragraph],
    predictions: Mapping[str, Prediction],
    null_score_diff_threshold: float,
) -> list[WrongAnswer]:
    """Returns the wrong answers by rising F1, of equal ones the most confident first.

    Args:
      paragraphs: with gold answers, see `squad_metrics.gold_answers`.
      predictions: by the question's id.
      null_score_diff_threshold: see `Prediction.text`.
    """
    wrong = []
    for paragraph in paragraphs:
        for question in paragraph.questions:
            prediction = predictions[question.qas_id]
            text = prediction.text(null_score_diff_threshold)
            score = _score(question, prediction, text)
            if score.exact < 1:
                kind = _kind(question, text, score)
                probability = next(
                    entry["probability"] for entry in prediction.nbest if entry["text"] == text
                )
                wrong.append(
                    WrongAnswer(kind, paragraph, question, prediction, text, probability, score)
                )
    return sorted(wrong, key=lambda answer: (answer.score.f1, -answer.probability))


def _score(question: Question, prediction: Prediction, text: str) -> Score:
    score = score_v1 if prediction.null_odds is None else score_v2
    return score(text, [answer.text for answer in question.answers])


def _kind(question: Question, text: str, score: Score) -> str:
    if not question.answers:
        return "should be unanswerable"
    if not text:
        return "should be answered"
    return "wrong span" if score.f1 else "no overlap"


def write_error_report(
    output_dir: str,
    wrong: Sequence[WrongAnswer],
    results: Mapping[str, float],
    null_score_diff_threshold: float,
) -> None:
    """Writes `error_report.tsv` with all wrong answers and `error_report.html` with the first `MAX_SHOWN` of them.

    Args:
      output_dir: exists.
      wrong: worst first.
      results: the scores of the whole set, by name, for the head of the page.
      null_score_diff_threshold: at which the answers were taken; no matter under SQuAD 1.1.
    """
    path = os.path.join(output_dir, "error_report")
    write_text(f"{path}.tsv", _table(wrong, null_score_diff_threshold))
    write_text(f"{path}.html", _page(wrong, results, null_score_diff_threshold))


def _table(wrong: Sequence[WrongAnswer], threshold: float) -> str:
    r"""Returns the rows with a header, quoted where a field holds a quotation mark; no field spans lines.

    Backslashes, control characters and all that ends a line are written as escapes: \\, \t, \n, \x0b, \u2028. The
    column `nbest` is JSON.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, dialect="excel-tab", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(answer, threshold) for answer in wrong)
    return file.getvalue()


def _row(answer: WrongAnswer, threshold: float) -> dict[str, object]:
    odds = answer.prediction.null_odds
    texts = {
        "id": answer.question.qas_id,
        "title": answer.paragraph.title,
        "question": answer.question.text,
        "gold_answers": " | ".join(_gold_texts(answer.question)),
        "prediction": answer.text,
        "context": "".join(text for _, text in _stretches(answer)),
    }
    return {
        "kind": answer.kind,
        "exact_match": answer.score.exact,
        "f1": answer.score.f1,
        "probability": answer.probability,
        "null_odds": "" if odds is None else odds,
        "threshold": "" if odds is None else threshold,
        "nbest": json.dumps(answer.prediction.nbest),
        **{name: _on_one_line(text) for name, text in texts.items()},
    }


def _on_one_line(text: str) -> str:
    return _TO_ESCAPE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def _gold_texts(question: Question) -> list[str]:
    return list(dict.fromkeys(answer.text for answer in question.answers))


def _page(wrong: Sequence[WrongAnswer], results: Mapping[str, float], threshold: float) -> str:
    shown = wrong[:MAX_SHOWN]
    number = f"{len(wrong):,} of {results['total']:,} questions are answered wrongly."
    if len(shown) < len(wrong):
        number += (
            f" These are the {len(shown):,} worst, the other {len(wrong) - len(shown):,} are left out here; "
            "error_report.tsv has all."
        )
    counts = collections.Counter(answer.kind for answer in wrong)
    kinds = [(f"{counts[kind]:,}", kind, KINDS[kind]) for kind in KINDS if counts[kind]]
    articles = [_article(place, answer, threshold) for place, answer in enumerate(shown, 1)]
    header = f"<p>{number}</p>\n{tiles(results)}{table((), kinds)}{_LEGEND}"
    return page("Wrong answers", f"<header>\n{header}</header>\n{''.join(articles)}", _STYLE)


def _article(place: int, answer: WrongAnswer, threshold: float) -> str:
    question, prediction = answer.question, answer.prediction
    golds = "<br>".join(map(_text, _gold_texts(question) or [""]))
    scores = f"exact match {answer.score.exact:.0f}, F1 {answer.score.f1:.3f}"
    if prediction.null_odds is not None:
        scores += f", null odds {prediction.null_odds:.4g} (threshold {threshold:.4g})"
    return (
        f'<article id="q{place}">\n'
        f'<p class="kind"><b>{place}</b> {answer.kind}</p>\n'
        f'<h2 dir="auto">{escape(question.text)}</h2>\n'
        f'<p class="source">{apart(answer.paragraph.title)} <code>{escape(question.qas_id)}</code></p>\n'
        f"<dl>\n<dt>Gold<dd>{golds}\n"
        f"<dt>Predicted<dd>{_text(answer.text)}<small> (probability {answer.probability:.3f})</small>\n"
        f"<dt>Scores<dd>{scores}\n</dl>\n"
        f'<p class="context" dir="auto">{_context(answer)}</p>\n'
        f"{_nbest(answer)}</article>\n"
    )


def _nbest(answer: WrongAnswer) -> str:
    rows = []
    for place, entry in enumerate(answer.prediction.nbest, 1):
        text, right = entry["text"], _score(answer.question, answer.prediction, entry["text"]).exact
        rows.append(
            f"<tr{' class=chosen' if text == answer.text else ''}><td>{place}<td>{_text(text)}{' ✓' if right else ''}"
            f"<td>{entry['probability']:.4f}<td>{entry['start_logit']:.2f}<td>{entry['end_logit']:.2f}\n"
        )
    return (
        f"<details><summary>Best answers: {len(rows)}</summary>\n<table class='nbest'>"
        "<tr><th><th>Answer (✓ right)<th>Proba&shy;bility<th>Start logit<th>End logit\n"
        f"{''.join(rows)}</table></details>\n"
    )


def _text(text: str) -> str:
    return apart(text) if text else "<i>no answer</i>"


def _context(answer: WrongAnswer) -> str:
    parts = []
    for names, text in _stretches(answer):
        if names == "left out":
            parts.append(f" <i><bdi>{text}</bdi></i> ")
        else:
            parts.append(f'<mark class="{names}">{escape(text)}</mark>' if names else escape(text))
    return "".join(parts)


def _stretches(answer: WrongAnswer) -> Iterator[tuple[str, str]]:
    """Yields the context in pieces, each with "gold", "predicted", "gold predicted", "left out" or "" for the rest."""
    context = answer.paragraph.context
    golds = [
        (start, start + len(text))
        for text, start in answer.question.answers
        if text and start >= 0 and context.startswith(text, start)
    ]
    predicted = [answer.prediction.span] if answer.text and answer.prediction.span else []
    cuts = sorted({0, len(context), *(place for span in golds + predicted for place in span)})
    for start, end in pairwise(cuts):
        names = [
            name
            for name, spans in (("gold", golds), ("predicted", predicted))
            if any(first <= start and end <= last for first, last in spans)
        ]
        if names or end - start <= _LONGEST_STRETCH:
            yield " ".join(names), context[start:end]
        else:
            yield from _shortened(context[start:end], start > 0, end < len(context))


def _shortened(text: str, after_mark: bool, before_mark: bool) -> Iterator[tuple[str, str]]:
    head = _MARGIN if after_mark or not before_mark else 0
    tail = len(text) - (_MARGIN if before_mark else 0)
    yield "", text[:head]
    yield "left out", f"[{tail - head:,} characters left out]"
    yield "", text[tail:]


_LEGEND = """\
<p>In a context: <mark class="gold">gold answer</mark> <mark class="predicted">predicted answer</mark>
<mark class="gold predicted">both</mark></p>
"""

_STYLE = """\
header td:first-child { text-align: end; }
.kind { color: var(--faint); font-size: .875rem; margin: 0; }
.context { white-space: pre-wrap; border-inline-start: 3px solid var(--line); padding-inline-start: .75rem; }
mark { background: var(--right); border-bottom: 2px solid var(--right-line); }
mark.predicted { background: var(--wrong); border-bottom: 2px dashed var(--wrong-line); }
mark.gold.predicted { background: linear-gradient(var(--right) 50%, var(--wrong) 50%);
  border-bottom: 2px solid var(--right-line); }
.nbest { font-size: .875rem; margin-top: .5rem; width: 100%; }
.nbest td, .nbest th { border-top: 1px solid var(--line); } .nbest td:nth-child(2) { overflow-wrap: anywhere; }
.chosen { background: color-mix(in srgb, var(--wrong) 45%, transparent); }
"""
