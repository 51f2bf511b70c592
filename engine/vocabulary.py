"""The words of prompts, and which of them a prior does not know. Standard library only; addon/vocabulary.py is a link to this file."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable

from .errors import InputError

STOP_WORDS = frozenset((
    "a", "an", "the", "of", "on", "in", "at", "to", "with", "and", "or", "for", "from", "by", "as", "is", "are", "its", "it",
    "this", "that", "some", "one", "two", "three", "photo", "photograph", "picture", "image", "render", "view",
))  # fmt: skip
"""Words that say nothing about what is to be seen."""


JOINERS = "\u200c\u200d"
"""Signs without width that stand within words."""

MOST_LETTERS, MOST_WORDS = 200, 12
"""Of a prompt, in a note."""

LEAST_LETTERS, ALIKE = 4, 0.8
"""Of a word that may be a known one misspelt, and how alike they are then (difflib's ratio)."""


def refuse_silent(prompt: str) -> None:
    """InputError for a prompt that says nothing: not one letter, number or sign of any script in it."""
    if not any(unicodedata.category(letter)[0] in "LNS" for letter in prompt):
        raise InputError(
            "empty_prompt",
            "The prompt is empty; expected a few words that say what is to be seen.",
            'Write a prompt such as "a red tulip".',
        )


def refuse_unreadable(what: str, text: str) -> None:
    """InputError for a text with bytes that are no letters, as a command line hands them on; `what` names it."""
    found = next((letter for letter in text if unicodedata.category(letter) == "Cs"), None)
    if found is not None:
        raise InputError(
            "bad_setting",
            f"The {what} holds bytes that are no text, the first at letter {text.index(found) + 1}; expected UTF-8.",
            f"Write the {what} anew, in a terminal or file whose encoding is UTF-8.",
        )


def shortened(text: str) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}... ({len(text):,} letters)"


def content_words(text: str) -> list[str]:
    """Lower-case words of any script that say something, without endings of the plural, each once.

    >>> content_words("A photo of two red Tulips, front view")
    ['red', 'tulip', 'front']
    """
    composed = unicodedata.normalize("NFC", text.lower())
    parts = "".join(letter if _of_a_word(letter) else " " for letter in composed).split()
    words = [word for word in parts if any(letter.isalnum() for letter in word)]
    return list(dict.fromkeys(singular(word) for word in words if word not in STOP_WORDS))


def _of_a_word(letter: str) -> bool:
    """Vowel signs and accents belong to words as their letters do."""
    return letter.isalnum() or letter in JOINERS or unicodedata.category(letter)[0] == "M"


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


def named(missing: Iterable[str], known: Collection[str]) -> str:
    """Unknown words for a note, each with the known one that it may be misspelt of.

    >>> named(["wodden", "owl"], ["wooden", "bowl"])
    'wodden (wooden?), owl'
    """
    told = []
    for word in missing:
        alike = difflib.get_close_matches(word, known, 1, ALIKE) if LEAST_LETTERS <= len(word) <= MOST_LETTERS else []
        told.append(f"{word} ({alike[0]}?)" if alike else shortened(word))
    return ", ".join(told)


def domain_note(prompt: str, known: Collection[str], kinds: Iterable[str]) -> str | None:
    """A warning for the user if the prompt has words outside of what a narrow prior was trained on, or none at all, else None."""
    missing, shown = unknown_words(prompt, known), ", ".join(sorted(kinds))
    if not content_words(prompt):
        return f"The model finds no word in the prompt that says what is to be seen. It knows: {shown}."
    if not missing:
        return None
    more = f" and {len(missing) - MOST_WORDS:,} more words" if len(missing) > MOST_WORDS else ""
    return f"The model does not know: {named(missing[:MOST_WORDS], known)}{more}. It knows: {shown}."
