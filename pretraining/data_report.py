"""The manifest of records as a page: what they were made of, what was left out, and how their rows look."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tokenization.files import write_text
from training.charts import STYLE, bar_chart
from training.pages import apart, escape, number, page, section, table, tiles

MAX_BARS = 64

_SHARES = {
    "padding_share": "padding",
    "masked_share": "masked tokens",
    "hidden_share": "of these [MASK]",
    "random_share": "of these random",
    "kept_share": "of these kept",
    "unknown_share": "[UNK]",
}


def write_report(path: str, manifest: Mapping) -> None:
    """Writes the page; nothing in it is fetched from elsewhere.

    Args:
      path: of the HTML file; it appears when it is whole.
      manifest: what `manifest.write` or `manifest.read` returned.

    Raises:
      OSError: it cannot be written.
    """
    write_text(path, page("Pre-training records", "".join(_sections(manifest)), STYLE))


def _sections(manifest: Mapping) -> Iterator[str]:
    statistics, summary = manifest["statistics"], manifest["summary"]
    counted = {name: statistics[name] for name in ("rows", "sequences", "tokens")}
    shares = _SHARES | {"label_1_share": _label(manifest["recipe"]["objective"])}
    yield tiles(counted | {"tokens a sequence": summary["mean_length"]})
    yield tiles({name: _percent(summary[key]) for key, name in shares.items() if key in summary})
    yield section("Rows", f'<div class="charts">{"".join(_charts(statistics))}</div>\n')
    yield section("Text", _files(manifest["inputs"], "SHA-256", "sha256"))
    yield section("What was read, and what was left out", _pairs(manifest["counts"]))
    vocabulary = manifest["vocabulary"]
    yield section(
        "Vocabulary",
        f"<p>{number(vocabulary['size'])} tokens</p>\n",
        _files([vocabulary], "SHA-256", "sha256"),
    )
    yield section("Flags", _pairs(manifest["recipe"] | manifest["settings"]))
    yield section("Record files", _files(manifest["shards"], "Records", "records"))
    yield section("Versions", _pairs(manifest["versions"]))


def _label(objective: str) -> str:
    return "swapped" if objective == "sentence_order" else "random next sentences"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _pairs(values: Mapping[str, object]) -> str:
    return table((), [(escape(name), apart(value)) for name, value in values.items()])


def _files(files: Sequence[Mapping], header: str, key: str) -> str:
    rows = [(apart(f["file"]), number(f["bytes"]), f"<code>{escape(f[key])}</code>") for f in files]
    return table(("File", "Bytes", header), rows)


def _charts(statistics: Mapping) -> Iterator[str]:
    lengths = np.array(statistics["lengths"])
    yield _histogram("Lengths of sequences", lengths, "tokens")
    if any(statistics["b_lengths"][1:]):
        yield _histogram("Lengths of second segments", statistics["b_lengths"], "tokens")
    if len(statistics["sequences_per_row"]) > 2:
        yield _histogram("Sequences in a row", statistics["sequences_per_row"], "sequences")
    if "masked" in statistics:
        yield _histogram("Masked tokens in a row", statistics["masked_per_row"], "tokens")
        runs = np.trim_zeros(statistics["masked_runs"], "b")
        yield _histogram("Lengths of runs of masked tokens", runs, "tokens")
        longer = lengths[::-1].cumsum()[::-1][1:]  # sequences that have a token at each position
        shares = _binned(statistics["masked_positions"]) / np.maximum(_binned(longer), 1)
        yield bar_chart("Masked tokens by place", 100 * shares, _width(longer), "position", "%")


def _histogram(title: str, counts: Sequence[int], x_label: str) -> str:
    binned = _binned(counts)
    return bar_chart(title, 100 * binned / max(binned.sum(), 1), _width(counts), x_label, "%")


def _width(counts: Sequence[int]) -> int:
    return -(-len(counts) // MAX_BARS)


def _binned(counts: Sequence[int]) -> np.ndarray:
    """Returns sums of neighbours, as many as a chart can show: float [at most MAX_BARS]."""
    return np.add.reduceat(np.array(counts, float), np.arange(0, len(counts), _width(counts)))
