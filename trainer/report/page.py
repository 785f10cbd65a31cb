"""Puts HTML together: tables, figures, sections and the page around them."""

import html
from collections.abc import Iterable, Sequence

_STYLE = """\
:root {
  color-scheme: light dark;
  --ground: #fff; --card: #f6f7f9; --text: #1d2430; --quiet: #5a6472;
  --faint: #d9dee5; --series-1: #0b6bcb; --series-2: #c2410c;
  --series-3: #15803d; --series-4: #7e22ce;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181f; --card: #1d232d; --text: #e6e9ee; --quiet: #a3adba;
    --faint: #333c49; --series-1: #5aa9ff; --series-2: #ff9a62;
    --series-3: #5fd38a; --series-4: #cf9bff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem;
  background: var(--ground); color: var(--text);
  font: 1rem/1.55 system-ui, sans-serif;
}
h1 { margin: 0; font-size: 1.8rem; line-height: 1.2; }
h2 { margin: 3rem 0 .5rem; font-size: 1.3rem; }
h3 { margin: 0 0 .5rem; font-size: 1rem; }
p { max-width: 46rem; margin: .5rem 0; }
.quiet { color: var(--quiet); }
.warning { border-left: .3rem solid var(--series-2); padding-left: .8rem; }
.grid {
  display: grid; gap: 1rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
}
.grid > * {
  margin: 0; padding: 1rem; border-radius: .5rem; background: var(--card);
  min-width: 0;
}
.figures { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.figures b { display: block; font-size: 1.7rem; line-height: 1.2; }
figure svg { display: block; width: 100%; height: auto; max-width: 36rem; }
figure svg text { font-family: system-ui, sans-serif !important; }
figcaption { color: var(--quiet); font-size: .9rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; width: 100%; }
th, td {
  padding: .3rem .6rem; border-bottom: 1px solid var(--faint);
  text-align: right; vertical-align: top;
}
th:first-child, td:first-child { text-align: left; }
.numbers td { white-space: nowrap; }
.words th, .words td { text-align: left; overflow-wrap: anywhere; }
.own td { font-weight: 600; }
ol, ul { padding-left: 1.3rem; margin: .3rem 0; }
pre {
  overflow-x: auto; padding: .8rem; border-radius: .5rem;
  background: var(--card); font-size: .85rem;
}
"""


def escape(text: object) -> str:
    """Escapes text for HTML: titles may hold anything."""
    return html.escape(str(text), quote=True)


def paragraph(text: str, kind: str = "") -> str:
    """Makes a paragraph of plain text."""
    attribute = f' class="{kind}"' if kind else ""
    return f"<p{attribute}>{escape(text)}</p>"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    own: str | None = None,
    kind: str = "",
) -> str:
    """Makes a table of plain text that scrolls where the page is narrow.

    Args:
        header: the names of the columns; none makes a table without them.
        rows: their cells.
        own: first cell of the row that stands out.
        kind: class of the table: "words" sets all columns as text, "numbers"
            breaks no line.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        ('<tr class="own">' if own and row[0] == own else "<tr>")
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if header else ""
    # Focusable, so that it scrolls without a mouse.
    return (
        f'<div class="scroll" tabindex="0"><table class="{kind}">{head}'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(svg: str, caption: str) -> str:
    """Makes a figure of a drawing, which carries its own description."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def grid(parts: Iterable[str], kind: str = "") -> str:
    """Sets parts, of HTML, side by side where there is room."""
    return f'<div class="grid {kind}">{"".join(parts)}</div>'


def card(title: str, content: str) -> str:
    """Makes a part of a grid, of HTML, with a title of plain text."""
    return f"<div><h3>{escape(title)}</h3>{content}</div>"


def figure_card(value: str, label: str) -> str:
    """Makes a part of a grid of one large figure."""
    return f"<div><b>{escape(value)}</b>{escape(label)}</div>"


def listing(items: Iterable[str], tag: str = "ul") -> str:
    """Makes a list of plain texts."""
    content = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<{tag}>{content}</{tag}>"


def code(text: str) -> str:
    """Makes a block of code."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def section(title: str, *parts: str) -> str:
    """Makes a section of parts of HTML."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def page(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """Makes the whole document, which needs no other file."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,'
        ' initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n"
        f"<body>\n<header><h1>{escape(title)}</h1>"
        f'<p class="quiet">{escape(subtitle)}</p></header>\n<main>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )
