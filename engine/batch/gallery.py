"""The gallery of a batch: static pages that open from the disk, each item with a slider between before and after, the failed ones first."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.batch.item import GALLERY, INDEX, Item, is_url
from engine.batch.outputs import AFTER, BEFORE
from engine.batch.store import Store
from engine.batch.summary import figures
from engine.batch.work import read_failure, read_record
from engine.words import duration

PER_PAGE = 48

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c33; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1400px; padding: 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .3rem; } header p { margin: .2rem 0 1rem; }
nav { margin: 1rem 0; }
nav > * { display: inline-block; padding: .15rem .5rem; border: 1px solid var(--line); border-radius: 4px; margin: 0 .2rem .2rem 0; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 1rem; align-items: start; }
article { border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
article > div { padding: .5rem .7rem .7rem; } h2 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; } small { opacity: .75; overflow-wrap: anywhere; }
.failed { border-color: var(--bad); } .failed h2 { color: var(--bad); }
figure { position: relative; margin: 0; aspect-ratio: 1; background: #fff; }
figure img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
figure img.after { clip-path: inset(0 0 0 var(--cut, 50%)); }
figure span, figure i { pointer-events: none; }
figure span { position: absolute; top: 6px; padding: 0 .4rem; background: #0009; color: #fff; border-radius: 3px; font-size: .75rem; }
figure .left { left: 6px; } figure .right { right: 6px; }
figure i { position: absolute; top: 0; bottom: 0; left: var(--cut, 50%); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 4px #000; }
figure input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
figure input:focus-visible ~ i { background: #f80; }
table { border-collapse: collapse; } td { padding-right: .8rem; } td:first-child { opacity: .75; }
"""

SCRIPT = """
addEventListener("input", event => {
  if (event.target.type === "range") event.target.closest("figure").style.setProperty("--cut", event.target.value + "%");
});
"""


def write_gallery(items: Sequence[Item], store: Store, failed: Iterable[int], missing: Iterable[int], jobs: Path) -> list[str]:
    """index.html and gallery/page-N.html in the store, from the records beside the results.

    failed   numbers of the items that come first
    missing  numbers of those that no run has made or tried yet; they come next
    jobs     the job file, which names the gallery; sketches are told relative to its folder

    Holds one page at a time. Returns the names of the pages.
    """
    bad, open_ = set(failed), set(missing)
    ordered = sorted(items, key=lambda item: 0 if item.number in bad else 1 if item.number in open_ else 2)
    pages = [ordered[start : start + PER_PAGE] for start in range(0, len(ordered), PER_PAGE)] or [[]]
    title = f"{jobs.stem}: {len(items)} items"
    said = f"{len(items) - len(bad) - len(open_)} done, {len(bad)} failed" + (f", {len(open_)} not made yet" if open_ else "")
    names = [INDEX, *(f"{GALLERY}/page-{number}.html" for number in range(2, len(pages) + 1))]
    for number, page in enumerate(pages):
        up = "" if number == 0 else "../"
        cards = [_card(item, read_record(store, item), read_failure(store, item), up, jobs.absolute().parent) for item in page]
        store.write(names[number], _page(title, said, cards, _pager(names, number, up)).encode())
    return names


def _page(title: str, said: str, cards: Sequence[str], pager: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body><header><h1>{html.escape(title)}</h1>"
        f"<p>{said}. Drag a picture's edge to compare; the arrow keys work too.</p></header>{pager}\n<main>\n" + "\n".join(cards)
        + f"\n</main>{pager}<script>{SCRIPT}</script></body></html>\n"
    )  # fmt: skip


def _pager(names: Sequence[str], here: int, up: str) -> str:
    """Links to the first and last pages and to those around this one."""
    if len(names) < 2:
        return ""
    wanted = sorted({0, len(names) - 1, *range(max(0, here - 4), min(len(names), here + 5))})
    links, before = [], -1
    for number in wanted:
        links += ["<span>…</span>"] if number > before + 1 else []
        links.append(f"<strong>{number + 1}</strong>" if number == here else f'<a href="{up}{names[number]}">{number + 1}</a>')
        before = number
    return f"<nav>{''.join(links)}</nav>"


def _card(item: Item, record: Mapping[str, Any] | None, failure: Mapping[str, Any] | None, up: str, base: Path) -> str:
    told = record or failure or {}
    source = item.source if is_url(item.source) or not Path(item.source).is_relative_to(base) else str(Path(item.source).relative_to(base))
    folder = f"{up}{quote(item.name)}"
    prompt = html.escape(str(item.settings.get("prompt", "")))
    facts = f"<small>{item.settings.get('mode')}, seed {item.settings.get('seed')}, {html.escape(source)}</small>"
    head = f"<h2>{html.escape(item.name)}</h2><p>{prompt}</p>"
    if record is None:
        problem = item.problem
        said = failure["message"] if failure else problem.message if problem else "Not made yet."
        fix = failure["fix"] if failure else problem.fix if problem else ""
        kind = ' class="failed"' if failure or problem else ""
        return f"<article{kind}><div>{head}<p>{html.escape(said)}</p><p><em>{html.escape(fix)}</em></p>{facts}</div></article>"
    mean, p95, genus = figures(told)
    rows = [("deviation", f"{mean} %, 95 % within {p95} %" if mean else ""), ("genus", _genus(genus, told)),
            ("time", duration(told.get("seconds")))]  # fmt: skip
    table = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows if value)
    files = [name for name in told.get("files", []) if name not in (BEFORE, AFTER)]
    links = " · ".join(f'<a href="{folder}/{quote(name)}">{html.escape(_short(name, item.stem))}</a>' for name in files)
    notes = "".join(f"<li>{html.escape(str(note))}</li>" for note in told.get("notes", []))
    more = f"<details><summary>notes</summary><ul>{notes}</ul></details>" if notes else ""
    pictures = _slider(folder, item.name) if {BEFORE, AFTER} <= set(told.get("files", [])) else ""
    return f"<article>{pictures}<div>{head}<table>{table}</table><p>{links}</p>{facts}{more}</div></article>"


def _short(name: str, stem: str) -> str:
    """What tells a file from the others of its item."""
    return name.removeprefix(stem).lstrip("._") or name


def _genus(genus: str, told: Mapping[str, Any]) -> str:
    start = told.get("genus_of_sketch")
    return f"{genus} (sketch {start})" if genus and start is not None else genus


def _slider(folder: str, name: str) -> str:
    label = html.escape(f"Compare {name} before and after", quote=True)
    return (
        f'<figure><img loading="lazy" alt="before" src="{folder}/{BEFORE}">'
        f'<img class="after" loading="lazy" alt="after" src="{folder}/{AFTER}">'
        f'<span class="left">before</span><span class="right">after</span>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{label}"><i></i></figure>'
    )
