"""The page of `lumosx explain --html`: one self-contained file, no script, readable in a light and a dark browser.

It is built as an element tree, never by pasting strings: a scene comes from strangers, and the serialiser
escapes all of its text. Hovering over anything of one subject marks everything of that subject; hovering over a
word says whose it is.
"""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from lumosx.cli.explanation import Explanation, extent_text, level_text, owners_colour, range_text
from lumosx.scene.palette import SUBJECT_COLOURS, colour_of, ink_on

Child = Element | str

POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the browser loads and runs nothing, whatever the text says

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --dim: #6e7781; --line: #d0d7de; --paper: #ffffff; --band: #f6f8fa;
  --plus: #01665e; --minus: #a6611a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --dim: #8b949e; --line: #30363d; --paper: #0d1117;
  --band: #161b22; --plus: #3fb6a8; --minus: #d99a5b; } }
* { box-sizing: border-box; }
body { max-width: 72rem; margin: 2.5rem auto; padding: 0 1.5rem; color: var(--ink); background: var(--paper);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
.summary, .severity-note { color: var(--dim); }
.prompt { font-size: 1.15rem; line-height: 1.9; overflow-wrap: anywhere; }
mark, .swatch { border-radius: .3em; padding: .1em .3em; }
.swatch { display: inline-block; width: 1.6em; height: 1em; vertical-align: -.15em; margin-right: .6em; padding: 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } thead th { color: var(--dim); } thead mark { display: block; text-align: center; }
tbody tr:hover { background: var(--band); }
.levels td { text-align: center; padding: .25rem .4rem; cursor: default; }
.levels td:hover { outline: 2px solid var(--ink); }
.levels th { padding: .25rem .4rem; }
.plus { color: var(--plus); font-weight: 700; } .minus { color: var(--minus); font-weight: 700; }
.zero { color: var(--dim); }
.messages { padding: 0; list-style: none; } .severity-warning { color: var(--minus); }
"""


def page(explanation: Explanation) -> str:
    """The whole page."""
    head = _tag("head", *_meta(), _tag("title", f"{explanation.scene.id}: lumosx explain"), _tag("style", _style()))
    body = _tag(
        "body",
        _tag("h1", explanation.scene.id),
        _tag("p", explanation.summary, css="summary"),
        _prompt(explanation),
        _tag("h2", "Entities"),
        _entities(explanation),
        _tag("h2", explanation.r2pe_title),
        _segments(explanation),
        _tag("h2", explanation.csam_title),
        _csam(explanation),
        _tag("h2", explanation.mcam_title),
        _mcam(explanation),
        *_messages(explanation),
    )
    document = _tag("html", head, body, lang="en")
    return "<!DOCTYPE html>\n" + tostring(document, encoding="unicode", method="html") + "\n"


def _tag(name: str, *children: Child, css: str = "", **attributes: str) -> Element:
    """An element with text and elements in it; `css` is its class."""
    element = Element(name, {"class": css, **attributes} if css else attributes)
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            element.append(child)
            last = child
        elif last is None:
            element.text = (element.text or "") + child
        else:
            last.tail = (last.tail or "") + child
    return element


def _meta() -> list[Element]:
    policy = {"http-equiv": "Content-Security-Policy", "content": POLICY}
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    return [Element("meta", {"charset": "utf-8"}), Element("meta", policy), Element("meta", viewport)]


def _style() -> str:
    """The style sheet, with one rule a subject that marks all of it while any of it is hovered over."""
    rules = [
        f"body:has(.s{number}:hover) .s{number} {{ box-shadow: 0 0 0 2px {colour}; }}"
        for number, colour in enumerate(SUBJECT_COLOURS)
    ]
    return STYLE + "\n".join(rules)


def _marked(text: str, colour: str, names: Iterable[str], subjects: Iterable[int | None]) -> Element:
    css = " ".join(f"s{subject}" for subject in sorted({s for s in subjects if s is not None}))
    style = f"background: {colour}; color: {ink_on(colour)}"
    return _tag("mark", text, css=css, style=style, title=", ".join(names))


def _prompt(explanation: Explanation) -> Element:
    parts: list[Child] = []
    for run in explanation.runs:
        names, subjects = [e.id for e in run.entities], [e.subject for e in run.entities]
        parts.append(_marked(run.text, owners_colour(run.entities), names, subjects) if names else run.text)
    return _tag("p", *parts, css="prompt")


def _table(header: Iterable[Child], rows: Iterable[Element], css: str = "") -> Element:
    head = _tag("thead", _tag("tr", *(_tag("th", cell, scope="col") for cell in header)))
    return _tag("div", _tag("table", head, _tag("tbody", *rows), css=css), css="scroll")


def _row(explanation: Explanation, name: str, cells: Iterable[Child], subject: int | None = None) -> Element:
    """A row whose first cell is an entity's or segment's name in its colour."""
    entity = next((e for e in explanation.scene.entities if e.id == name), None)
    colour = colour_of(entity.kind, entity.subject) if entity else "transparent"
    css = "swatch" if subject is None else f"swatch s{subject}"
    label = _tag("th", _tag("span", css=css, style=f"background: {colour}"), name, scope="row")
    return _tag("tr", label, *(cell if isinstance(cell, Element) else _tag("td", cell) for cell in cells))


def _entities(explanation: Explanation) -> Element:
    rows = []
    for entity in explanation.scene.entities:
        called = ", ".join(f"“{mention}”" for mention in explanation.mentions(entity)) or "-"
        cells = (called, f"{entity.strength:g}", "yes" if entity.image else "no")
        rows.append(_row(explanation, entity.id, cells, entity.subject))
    return _table(("entity", "called in the prompt", "strength", "picture"), rows)


def _segments(explanation: Explanation) -> Element:
    rows = []
    for row in explanation.tables.segments:
        cells = (range_text((row.start, row.stop)), *(extent_text(extent) for extent in (row.t, row.h, row.w)))
        rows.append(_row(explanation, row.name, cells, row.subject))
    return _table(("segment", "tokens", "t", "h", "w"), rows)


def _csam(explanation: Explanation) -> Element:
    rows = []
    for row, segment in zip(explanation.tables.csam, explanation.tables.segments, strict=True):
        cells = (range_text(row.queries), ", ".join(map(range_text, row.keys)), explanation.sight_text(row))
        rows.append(_row(explanation, row.name, cells, segment.subject))
    return _table(("segment", "queries", "see keys", "which are"), rows)


def _mcam(explanation: Explanation) -> Element:
    if not explanation.columns or not explanation.tables.mcam:
        return _tag("p", "no reference has words")
    words = [
        _marked(
            word.text, owners_colour(word.entities), [e.id for e in word.entities], [e.subject for e in word.entities]
        )
        for word in explanation.columns
    ]
    rows = []
    for row in explanation.tables.mcam:
        cells = [
            _level(level, f"{row.name}, “{word.text}” ({', '.join(e.id for e in word.entities)})")
            for level, word in zip(row.levels, explanation.columns, strict=True)
        ]
        rows.append(_row(explanation, row.name, cells, row.subject))
    return _table(("reference", *words), rows, css="levels")


def _level(level: float, title: str) -> Element:
    sign = "plus" if level > 0 else "minus" if level < 0 else "zero"
    return _tag("td", level_text(level).replace("-", "−"), css=sign, title=title)


def _messages(explanation: Explanation) -> list[Element]:
    lines = [_tag("li", str(m), css=f"severity-{m.severity}") for m in explanation.scene.check()]
    return [_tag("h2", "Messages"), _tag("ul", *lines, css="messages")] if lines else []
