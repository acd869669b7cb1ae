"""The page about records."""

import html.parser
import re

import pytest

from pretraining.data_report import write_report
from pretraining.recipe import Recipe

SHARES = {"padding_share": 0.125, "unknown_share": 0.01, "mean_length": 3.5}
MANIFEST = {
    "versions": {"tensorflow": "2.21.0"},
    "recipe": Recipe("vocab.txt", masking=None)._asdict(),
    "settings": {"on_bad_utf8": "skip"},
    "vocabulary": {"file": "vocab.txt", "bytes": 7, "sha256": "cafe", "size": 30522},
    "inputs": [{"file": "a<script>.txt", "bytes": 1234567, "sha256": "beef"}],
    "counts": {"documents": 13, "lines_without_tokens": 3},
    "summary": SHARES | {"sequences_per_row": 1.0},
    "shards": [{"file": "out-0", "records": 8, "bytes": 4321}],
    "statistics": {
        **{"rows": 8, "sequences": 8, "tokens": 28},
        "lengths": [0, 0, 0, 4, 4],
        "b_lengths": [8, 0, 0, 0, 0],
        "sequences_per_row": [0, 8],
    },
}
MASKS = {
    "masked": 8,
    "masked_per_row": [0, 8],
    "masked_runs": [0, 8],
    "masked_positions": [0, 2, 4, 2],
}


class Page(html.parser.HTMLParser):
    """What a page holds: its text, and (tag, attributes)."""

    def __init__(self, path):
        super().__init__()
        self.text, self.tags = [], []
        self.feed(path.read_text())

    def handle_data(self, data):
        self.text.append(data.strip())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def charts(self):
        """Title -> (values, percent) of its bars."""
        bars, title = {}, None
        for text in self.text:
            if text in ("Lengths of sequences", "Masked tokens by place"):
                title = text
            if title and (bar := re.fullmatch(r"(\d+(?: to \d+)?): ([\d.]+) %", text)):
                bars.setdefault(title, {})[bar[1]] = float(bar[2])
        return bars


@pytest.fixture
def page(tmp_path):
    def write(**statistics):
        path = tmp_path / "report.html"
        changed = MANIFEST["statistics"] | statistics
        write_report(str(path), MANIFEST | {"statistics": changed})
        return Page(path)

    return write


def test_it_shows_counts_shares_flags_and_files(page):
    shown = page().text
    for text in ("28", "12.5 %", "max_seq_length", "128", "lines_without_tokens", "1,234,567"):
        assert text in shown
    assert {"cafe", "beef", "out-0", "skip", "2.21.0"} <= set(shown)


def test_names_of_files_are_text_and_nothing_comes_from_elsewhere(page):
    made = page()
    assert "a<script>.txt" in made.text
    assert "script" not in {tag for tag, _ in made.tags}
    assert not [a for _, a in made.tags if {"src", "href"} & a.keys()]


def test_a_bar_stands_for_the_share_of_its_value(page):
    assert page().charts()["Lengths of sequences"] == {"0": 0, "1": 0, "2": 0, "3": 50, "4": 50}


def test_neighbours_share_a_bar_where_there_are_too_many(page):
    counts = [0] * 129
    counts[126], counts[128] = 3, 1
    bars = page(lengths=counts).charts()["Lengths of sequences"]
    assert (bars["126 to 128"], len(bars)) == (100, 43)


def test_masks_are_a_share_of_the_sequences_that_reach_the_position(page):
    bars = page(**MASKS).charts()["Masked tokens by place"]
    assert bars == {"0": 0, "1": 25, "2": 50, "3": 50}


def test_without_masks_no_chart_shows_them(page):
    assert not [text for text in page().text if "asked tokens" in text]


def test_segments_and_slots_are_shown_where_there_are_any(page):
    titles = {"Lengths of second segments", "Sequences in a row"}
    assert not titles & set(page().text)
    assert titles <= set(page(b_lengths=[0, 8, 0, 0, 0], sequences_per_row=[0, 2, 3]).text)
