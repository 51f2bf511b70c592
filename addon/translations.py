"""The add-on's labels in other languages, for Blender's own translation system; one table, labels.json."""

from __future__ import annotations

import json
from pathlib import Path

import bpy

LOCALES = {"de": ("de_DE", "de"), "fr": ("fr_FR", "fr"), "es": ("es", "es_ES"), "ja": ("ja_JP", "ja"), "zh": ("zh_HANS", "zh_CN")}
"""A language of the table, and what versions of Blender call it."""
_CONTEXTS = ("*", "Operator")
"""Blender looks the names of operators up in a context of their own."""


def register() -> None:
    """Known to Blender from now on; it shows them where the user has translated the interface."""
    bpy.app.translations.register(__package__, _table())


def unregister() -> None:
    """Known no more."""
    bpy.app.translations.unregister(__package__)


def _table() -> dict[str, dict[tuple[str, str], str]]:
    labels = json.loads(Path(__file__).with_name("labels.json").read_text(encoding="utf-8"))
    return {
        locale: {(context, label): texts[language] for label, texts in labels.items() for context in _CONTEXTS}
        for language, locales in LOCALES.items()
        for locale in locales
    }
