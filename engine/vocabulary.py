"""The words of prompts, and which of them a prior does not know. Standard library only; addon/vocabulary.py is a link to this file."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

STOP_WORDS = frozenset((
    "a", "an", "the", "of", "on", "in", "at", "to", "with", "and", "or", "for", "from", "by", "as", "is", "are", "its", "it",
    "this", "that", "some", "one", "two", "three", "photo", "photograph", "picture", "image", "render", "view",
))  # fmt: skip
"""Words that say nothing about what is to be seen."""


def content_words(text: str) -> list[str]:
    """Lower-case words of any script that say something, without endings of the plural, each once.

    >>> content_words("A photo of two red Tulips, front view")
    ['red', 'tulip', 'front']
    """
    words = re.findall(r"[^\W_]+", text.lower())
    return list(dict.fromkeys(singular(word) for word in words if word not in STOP_WORDS))


def singular(word: str) -> str:
    """The word without a plural ending, near enough for matching: berries -> berry, boxes -> box, tulips -> tulip."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")):
        return word[:-1]
    return word


def unknown_words(prompt: str, known: Collection[str]) -> list[str]:
    """Content words of the prompt that are not among `known` (compared in the singular), in order."""
    vocabulary = {singular(word.lower()) for word in known}
    return [word for word in content_words(prompt) if word not in vocabulary]


def domain_note(prompt: str, known: Collection[str], kinds: Iterable[str]) -> str | None:
    """A warning for the user if the prompt has words outside of what a narrow prior was trained on, else None."""
    missing = unknown_words(prompt, known)
    if not missing:
        return None
    shown = ", ".join(sorted(kinds))
    return f"The model does not know: {', '.join(missing)}. It knows: {shown}."
