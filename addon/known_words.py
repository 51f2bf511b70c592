"""What the embedded prior does not know of a prompt, told while it is typed. No bpy."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from . import vocabulary

_FILE = Path(__file__).with_name("kinds.json")
"""The embedded prior's own list of what it was trained on; a link to it in the source tree."""


def warning(prompt: str, model: str) -> str | None:
    """The words that a job with this model would not understand; None where there are none, or where only the engine can tell."""
    known = embedded()
    if model.strip() not in ("", "embedded") or not known["words"] or not prompt.strip():
        return None
    missing = vocabulary.unknown_words(prompt, known["words"])
    told = vocabulary.named(missing, known["words"])
    return f"The model does not know: {told}. What it knows is in the list beside the prompt." if missing else None


def examples(model: str) -> list[str]:
    """A prompt for each kind of thing that the model knows, as far as that can be told here: 'a tulip', 'an apple'."""
    kinds = embedded()["kinds"] if model.strip() in ("", "embedded") else []
    return [f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}" for kind in sorted(kinds)]


@functools.cache
def embedded() -> dict[str, list[str]]:
    """{"kinds": [...], "words": [...]}, both empty where the list cannot be read."""
    try:
        content = json.loads(_FILE.read_text(encoding="utf-8"))
        return {name: [str(word) for word in content[name]] for name in ("kinds", "words")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"kinds": [], "words": []}
