"""Pages to read: self-contained HTML in one style, on a phone as on a desktop, in the light as in the dark.

Text that comes from data goes through `escape`, whatever it holds; all other arguments are HTML.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral

_UNPRINTABLE = re.compile(r"[^\t\n\r -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: object) -> str:
    """Makes any text harmless in HTML; characters that no page may hold become U+FFFD."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", str(text)))


def apart(text: object) -> str:
    """Returns an escaped text whose direction of writing is its own and none of its surroundings'."""
    return f"<bdi>{escape(text)}</bdi>"


def number(value: float) -> str:
    """Returns a number as people read it: whole ones with commas, others to six digits."""
    return f"{value:,}" if isinstance(value, Integral) else f"{value:.6g}"


def tiles(values: Mapping[str, float | str]) -> str:
    """Returns names and their numbers, or texts, side by side."""
    each = "".join(
        f"<div><dt>{escape(name)}<dd>{escape(value if isinstance(value, str) else number(value))}</div>\n"
        for name, value in values.items()
    )
    return f'<dl class="results">\n{each}</dl>\n'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Returns a table of a style's kind, which scrolls by itself where the page is too narrow for it.

    Args:
      header: empty for none.
    """
    head = f"<tr>{''.join(f'<th>{cell}' for cell in header)}\n" if header else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}\n" for row in rows)
    return f'<div class="wide"><table class="{kind}">\n{head}{body}</table></div>\n'


def section(title: str, *parts: str) -> str:
    """Returns a part of the page under its heading; nothing if there is nothing in it."""
    body = "".join(parts)
    return f"<section>\n<h2>{title}</h2>\n{body}</section>\n" if body else ""


def page(title: str, body: str, style: str = "") -> str:
    """Returns a whole page; nothing in it runs, and nothing is fetched from elsewhere.

    Args:
      title: plain text.
      body: below the title.
      style: CSS of this kind of page, after that of all pages.
    """
    return _PAGE.format(title=escape(title), style=_STYLE + style, body=body)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}</body>
</html>
"""

_STYLE = """\
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1b1f24; --faint: #5b6470; --line: #d8dde3;
  --right: #bfe8c8; --right-line: #1a7f37; --wrong: #ffd8a8; --wrong-line: #b35900; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --card: #1e2226; --text: #e4e7ea; --faint: #9aa4af;
  --line: #363c43; --right: #1d4a2a; --right-line: #4ac26b; --wrong: #5c3a10; --wrong-line: #f0a040; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.15rem; line-height: 1.35; margin: .2rem 0; }
section { margin: 1.5rem 0; }
p { margin: .5rem 0; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .8rem .15rem 0; text-align: start; vertical-align: top; overflow-wrap: normal; }
.wide { overflow-x: auto; }
article, .results div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
article { margin: 1rem 0; padding: 1rem; } article > :last-child { margin-bottom: 0; }
code, small, .source, summary { color: var(--faint); font-size: .875rem; }
.source { margin: 0; } summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: .75rem 0; }
dt { color: var(--faint); } dd { margin: 0; }
.results { grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .5rem; }
.results div { padding: .4rem .6rem; } .results dt { font-size: .8rem; } .results dd { font-weight: 600; }
mark { color: inherit; border-radius: .15rem; padding: 0 .1rem; }
@media (max-width: 30rem) { body { padding: .6rem; } article { padding: .7rem; }
  td, th { padding-inline-end: .45rem; font-size: .8rem; } }
"""
