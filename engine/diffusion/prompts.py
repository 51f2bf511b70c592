"""Prompts: what is added to them and what is taken away.

The source prompt of the calibrated direction describes what the current image still looks like:
the base prompt with the paper's ten descriptors and without words that ask for quality (arXiv 2406.09417, section 4).
"""

from __future__ import annotations

import re
import reprlib

from engine.errors import InputError
from engine.views import VIEWS
from engine.vocabulary import refuse_silent, refuse_unreadable

DESCRIPTORS = "oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
"""The paper's description of the distribution that SDS reaches."""

PAINTING = "painting"
"""The domain word of the painting-to-real source prompt."""

NEGATIVE = "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
"""NFSD's description of a faulty image (Katzir et al. 2023, section 4)."""

QUALITY_PHRASES = (
    "high quality",
    "best quality",
    "high resolution",
    "high-resolution",
    "highly detailed",
    "very detailed",
    "detailed",
    "high detail",
    "photorealistic",
    "photo-realistic",
    "hyperrealistic",
    "realistic",
    "sharp focus",
    "in focus",
    "masterpiece",
    "4k",
    "8k",
    "hd",
    "uhd",
    "hdr",
    "dslr",
    "sharp",
    "studio lighting",
)
"""Phrases between commas that ask for quality; the source prompt goes without them."""


def check_prompt(prompt: str) -> str:
    """The prompt with its white space tidied; InputError for one that says nothing or is no text."""
    if not isinstance(prompt, str):
        raise InputError("bad_setting", f"The prompt must be text, got {reprlib.repr(prompt)}.", 'Write a prompt such as "a red tulip".')
    refuse_silent(prompt)
    refuse_unreadable("prompt", prompt)
    return " ".join(prompt.split()).strip(" ,")


def phrases(text: str) -> list[str]:
    """The parts between commas, tidied, without empty ones."""
    return [part for part in (" ".join(piece.split()) for piece in text.split(",")) if part]


def join(*texts: str) -> str:
    """Texts joined by commas; a phrase that is already there is not said twice."""
    return ", ".join(dict.fromkeys(phrase for text in texts for phrase in phrases(text)))


def without_quality(prompt: str) -> str:
    """The prompt without the phrases that ask for quality; the prompt itself if nothing else is in it."""
    kept = [phrase for phrase in phrases(prompt) if phrase.lower() not in QUALITY_PHRASES]
    return ", ".join(kept) or prompt


def target_prompt(prompt: str, view: str = "") -> str:
    """y_tgt: the prompt and, in 3D, the words for where the camera stands ("front view")."""
    return join(prompt, view)


def source_prompt(prompt: str, view: str = "", descriptors: str = DESCRIPTORS) -> str:
    """y_src: the prompt without quality words, the view, then the descriptors of what it looks like now.

    >>> source_prompt("a rose, high quality", "back view", "blurry, noisy")
    'a rose, back view, blurry, noisy'
    """
    return join(without_quality(prompt), view, descriptors)


def painting_source(prompt: str) -> str:
    """y_src of painting to real: the prompt and ", painting"."""
    return join(without_quality(prompt), PAINTING)


def view_of(prompt: str) -> str | None:
    """ "front", "side", "back" or "overhead" if the prompt has that view word followed by "view", else None."""
    found = re.search(rf"\b({'|'.join(VIEWS)})\s+view\b", prompt.lower())
    return found.group(1) if found else None


def from_the_front(view: str) -> str:
    """A view's words with the view from the front in place of its own.

    >>> from_the_front("on a white background, side view")
    'on a white background, front view'
    """
    return re.sub(rf"\b({'|'.join(VIEWS)})(\s+view)\b", r"front\2", view)
