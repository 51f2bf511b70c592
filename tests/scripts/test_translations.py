"""Every label that the panel and the preferences show has its translation, and nothing else is in the table."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dream_fields import DreamNumbers
from engine.fields import Door, shown
from engine.job_fields import Hyperparameters, JobSettings

ADDON = Path(__file__).resolve().parents[2] / "addon"
LABELS = json.loads((ADDON / "labels.json").read_text(encoding="utf-8"))
LANGUAGES = {"de", "fr", "es", "ja", "zh"}


def constants(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be: a constant, or either of a choice."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from constants(node.body)
        yield from constants(node.orelse)


def labels_in(path: Path) -> Iterator[str]:
    """`bl_label`, `text=` of what is drawn, `name=` of properties, the words of a question."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "bl_label" for target in node.targets):
            yield from constants(node.value)
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for keyword in node.keywords:
                of_property = keyword.arg == "name" and called.endswith("Property")
                if called != "undo_push" and (of_property or keyword.arg in ("text", "placeholder", "title", "message", "confirm_text")):
                    yield from constants(keyword.value)


def wanted() -> set[str]:
    found = {label for path in ADDON.glob("*.py") if not path.is_symlink() for label in labels_in(path)}
    for described in (JobSettings, Hyperparameters, DreamNumbers):
        for field in shown(described, Door.PANEL):
            found |= {field.spec.label, *(choice.label for choice in field.spec.choices)}
    return {label for label in found if any(letter.isalpha() for letter in label)}


def test_every_label_is_translated_into_every_language() -> None:
    assert len(wanted()) > 60
    assert sorted(wanted() - LABELS.keys()) == []
    lacking = {label: sorted(LANGUAGES - {language for language, text in texts.items() if text.strip()}) for label, texts in LABELS.items()}
    assert {label: languages for label, languages in lacking.items() if languages} == {}


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_translations_are_not_the_english_words(language: str) -> None:
    """But for names and for words that both languages have."""
    same = [label for label, texts in LABELS.items() if texts[language] == label]
    assert len(same) < 0.25 * len(LABELS)
    shortest = [label for label, texts in LABELS.items() if len(texts[language]) > 2.2 * len(label) + 12]
    assert shortest == [], "too long for its button"
