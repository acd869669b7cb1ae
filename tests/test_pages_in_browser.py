"""The pages of reports as a browser shows them: on a phone and on a desktop, in the light and in the dark."""

import json
import os
import re
import select
import shutil

import numpy as np
import pytest
from test_data_report import MANIFEST, MASKS

from finetuning import findings
from finetuning.findings import (
    TaggedSentence,
    compare_classes,
    compare_label_sets,
    compare_numbers,
    compare_tags,
)
from finetuning.report import write_report
from finetuning.squad_decoding import Prediction
from finetuning.squad_examples import Answer, Paragraph, Question
from finetuning.squad_report import find_wrong_answers, write_error_report
from pretraining.data_report import write_report as write_data_report
from training.progress import ScalarWriter
from training.results import Run

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SIZES = {"phone": (360, 740), "desktop": (1280, 800)}

# What a reader sees: does the page scroll sideways, what is too small to read, what is not in the page's width.
LOOK = """(() => {
  const shown = [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length);
  const size = e => {
    const svg = e.closest('svg');
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    return parseFloat(getComputedStyle(e).fontSize) * scale;
  };
  const leaves = shown.filter(e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim()));
  const inWide = e => e.closest('.wide');
  return {
    sideways: document.documentElement.scrollWidth - WIDTH,
    small: leaves.filter(e => size(e) < 10).map(e => e.outerHTML.slice(0, 200)),
    outside: shown.filter(e => !inWide(e) && e.getBoundingClientRect().right > WIDTH + 1)
      .map(e => e.outerHTML.slice(0, 200)),
    charts: [...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().width),
    lines: [...document.querySelectorAll('svg polyline')]
      .filter(e => getComputedStyle(e).stroke != 'none').map(e => e.getBoundingClientRect().width),
    background: getComputedStyle(document.body).backgroundColor,
  };
})()"""


class Browser:
    """A headless Chromium, spoken to in the DevTools protocol over a pipe: a JSON object and a zero byte each way."""

    def __init__(self, profile):
        (command_end, self._commands), (self._answers, answer_end) = os.pipe(), os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self._process = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *flags, f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                # The browser reads from file descriptor 3 and writes to 4.
                (os.POSIX_SPAWN_DUP2, command_end, 3),
                (os.POSIX_SPAWN_DUP2, answer_end, 4),
            ],
        )
        os.close(command_end)
        os.close(answer_end)
        self._number, self._session, self._buffer, self.events = 0, {}, b"", []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """Returns the result of a command; what the browser tells meanwhile goes to `events`."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._next()).get("id") != self._number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def wait_for(self, method):
        while not any(event["method"] == method for event in self.events):
            self.events.append(self._next())

    def _next(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], 60)
            assert ready, "the browser has not answered for a minute"
            data = os.read(self._answers, 1 << 16)
            assert data, "the browser has gone"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def look(self, path, size, scheme="light"):
        """Opens a page; returns what `LOOK` finds, and all complaints of the browser."""
        width, height = SIZES[size]
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=size == "phone",
        )
        dark = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=dark)
        self.events = []
        self.call("Page.navigate", url=f"file://{path}")
        self.wait_for("Page.loadEventFired")
        expression = LOOK.replace(
            "WIDTH", str(width)
        )  # a phone's innerWidth grows with what is in it
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        complaints = [
            event["params"]
            for event in self.events
            if event["method"]
            in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
        ]
        return found["result"]["value"], complaints

    def close(self):
        self._session = {}
        self.call("Browser.close")
        os.close(self._commands)
        os.waitpid(self._process, 0)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("needs Chromium to open the pages (Debian's package chromium)")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


RUN = Run(
    ["python", "run_classifier.py", *["--flag=" + "value" * 30] * 5], {"seed": 7}, frozenset()
)


def write_curves(folder):
    for directory, names in ((folder, ("loss", "accuracy")), (folder / "eval", ("eval_loss",))):
        writer = ScalarWriter(str(directory))
        for step in (1, 300, 700):
            writer.write(step, {name: 3 / (step + 5) for name in names})


def findings_of(kind):
    rng = np.random.default_rng(5)
    words = ["wordswithoutanyspace" * 5, "<b>", "and", "العربية"]
    labels = [f"label {place} with a long name" for place in range(11)]
    tags = rng.choice(["O", "B-person", "I-person"], [13, 2, 17])
    if kind == "tags":
        return compare_tags(
            [TaggedSentence("s", words * 4 + ["x"], *pair) for pair in tags.tolist()]
        )
    if kind == "numbers":
        return compare_numbers(
            [findings.Answer("a", {}, *pair) for pair in rng.random((31, 2)).tolist()]
        )
    pairs = rng.choice(labels, (31, 2)).tolist()
    if kind == "classes":
        texts = {"sentence": " ".join(words)}
        return compare_classes([findings.Answer("a", texts, *pair) for pair in pairs], labels)
    return compare_label_sets([findings.Answer("a", {}, (a,), (a, b)) for a, b in pairs], labels)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["classes", "label sets", "numbers", "tags"])
def test_a_report_is_readable(browser, tmp_path, kind, size):
    write_curves(tmp_path)
    write_report(str(tmp_path), kind, {"eval_loss": 0.5}, 700, findings_of(kind), RUN)
    found, complaints = browser.look(tmp_path / "report.html", size)
    assert complaints == []
    assert found["small"] == []
    assert found["outside"] == []
    assert found["sideways"] <= 0
    assert len(found["charts"]) == (3 if kind == "numbers" else 2)
    assert min(found["charts"]) > 250
    assert min(found["lines"]) > 100


@pytest.mark.parametrize("size", SIZES)
def test_an_error_sheet_is_readable(browser, tmp_path, size):
    context = "العربية " + "wordswithoutanyspace" * 9 + " <b> five."
    nbest = [{"text": "five", "probability": 0.5, "start_logit": 1.5, "end_logit": -2.25}] * 20
    answer = Prediction(nbest, -1.5, "five", (context.index("five"), len(context) - 1))
    asked = Question("q" * 99, "How many" * 30, (Answer("<b>", context.index("<b>")),), False, True)
    wrong = find_wrong_answers(
        [Paragraph(context, (asked,), "f", "title")], {asked.qas_id: answer}, 0
    )
    write_error_report(str(tmp_path), wrong, {"exact_match": 0.0, "total": 1}, 0.0)
    found, complaints = browser.look(tmp_path / "error_report.html", size)
    assert (complaints, found["small"], found["outside"]) == ([], [], [])
    assert found["sideways"] <= 0


@pytest.mark.parametrize("size", SIZES)
def test_a_page_about_records_is_readable(browser, tmp_path, size):
    many = {"lengths": [*range(513)], "masked_positions": [*range(512)]}
    path = tmp_path / "report.html"
    write_data_report(str(path), MANIFEST | {"statistics": MANIFEST["statistics"] | MASKS | many})
    found, complaints = browser.look(path, size)
    assert (complaints, found["small"], found["outside"]) == ([], [], [])
    assert found["sideways"] <= 0
    assert len(found["charts"]) == 4 and min(found["charts"]) > 250


def test_a_report_is_dark_where_the_reader_wants_it(browser, tmp_path):
    write_report(str(tmp_path), "task", {}, 700, findings_of("classes"), RUN)
    backgrounds = [
        browser.look(tmp_path / "report.html", "phone", scheme)[0]["background"]
        for scheme in ("light", "dark")
    ]
    light, dark = [sum(map(int, re.findall("[0-9]+", text))) for text in backgrounds]
    assert light > 600 and dark < 150


def test_the_browser_complains_of_what_a_page_may_not_do(browser, tmp_path):
    write_report(str(tmp_path), "task", {}, 700, findings_of("classes"), RUN)
    path = tmp_path / "report.html"
    path.write_text(path.read_text().replace("</h1>", "</h1><script>alert(1)</script>"))
    _, complaints = browser.look(path, "phone")
    assert "Content Security Policy" in str(complaints)
