"""Words for the parts of a subject, and new looks for them: "a white house with a red roof and a wooden door".

No dependency beyond numpy, so that Blender and the engine can both use it.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from scripts.prior.data.palette import COLOURS, METALS, WOOD, dimmed, varied
from scripts.prior.data.workbench import Material, Part, with_article

PAINTS = tuple(name for name in COLOURS if name not in METALS)
WOODEN = "wooden"
WOODEN_SHARE, METAL_SHARE = 0.15, 0.08
SUBJECT_SHARE = 0.35
"""How often the subject's own colour is changed, where its caption names one."""


def look_words(material: Material) -> str:
    """What a caption calls a look: "wooden", a metal, or the nearest named colour."""
    if material.pattern == "wood":
        return WOODEN
    names = METALS if material.metallic > 0.5 else PAINTS
    # a cube root is near enough to how differences of light are seen
    seen = np.cbrt(np.array([COLOURS[name] for name in names])) - np.cbrt(np.array(material.colour))
    return names[int(np.argmin((seen**2).sum(axis=1)))]


def draw_look(old: Material, rng: random.Random, avoid: str = "") -> tuple[str, Material]:
    """Another look for a surface, with its words; an uneven surface stays uneven and keeps its relief."""
    choice = rng.random()
    if choice < WOODEN_SHARE and avoid != WOODEN:
        base = varied(WOOD, rng, 0.25)
        return WOODEN, Material(base, dimmed(base, 0.5), pattern="wood", scale=5.0, bump=0.1)
    if choice > 1 - METAL_SHARE:
        name = rng.choice(METALS)
        return name, Material(varied(COLOURS[name], rng, 0.08), roughness=rng.uniform(0.15, 0.4), metallic=1.0)
    name = rng.choice([name for name in PAINTS if name != avoid])
    base = varied(COLOURS[name], rng)
    uneven = old.second is not None and old.pattern in ("noise", "bricks")
    second = dimmed(base, 0.65) if uneven else None
    pattern = old.pattern if uneven else "noise"
    return name, replace(old, colour=base, second=second, pattern=pattern, metallic=0.0, transmission=0.0, glow=0.0)


def named_looks(parts: list[Part], caption: str) -> dict[str, str]:
    """The words of every named part that looks the same throughout, save those that the caption speaks of already."""
    looks: dict[str, set[str]] = {}
    for part in parts:
        if part.name and part.material.glow == 0 and part.name not in caption.split():
            looks.setdefault(part.name, set()).add(look_words(part.material))
    return {name: next(iter(words)) for name, words in looks.items() if len(words) == 1}


def repaint(parts: list[Part], caption: str, rng: random.Random) -> tuple[list[Part], str, list[str]]:
    """New looks for one to three of the named parts, and at times for the subject itself.

    Returns the parts, the caption with the subject's new colour, and the names of the parts that must be told.
    """
    if rng.random() < SUBJECT_SHARE:
        parts, caption = _repaint_subject(parts, caption, rng)
    names = sorted({part.name for part in parts if part.name and part.material.glow == 0} - set(caption.split()))
    chosen = rng.sample(names, min(len(names), rng.randint(1, 3)))
    looks: dict[str, Material] = {}
    for name in chosen:
        looks[name] = draw_look(next(part.material for part in parts if part.name == name), rng)[1]
    return [replace(part, material=looks.get(part.name, part.material)) for part in parts], caption, chosen


def _repaint_subject(parts: list[Part], caption: str, rng: random.Random) -> tuple[list[Part], str]:
    """Change the look that the caption's colour word stands for, wherever it is; as it was where no such word is found."""
    words = caption.split()[1:]
    if " and " in caption:  # striped and spotted ones stay
        return parts, caption
    for part in sorted(parts, key=lambda part: (bool(part.name), -np.ptp(part.mesh.vertices, axis=0).prod())):
        named = look_words(part.material)
        if named not in words:
            continue
        new, look = draw_look(part.material, rng, avoid=named)
        words[words.index(named)] = new
        return [replace(p, material=look) if p.material == part.material else p for p in parts], with_article(" ".join(words))
    return parts, caption


def with_parts(caption: str, looks: dict[str, str], told: list[str]) -> str:
    """The caption with the told parts: "a white house" -> "a white house with a red roof and brown windows"."""
    phrases = [_phrase(name, looks[name]) for name in told if name in looks]
    if not phrases:
        return caption
    listed = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    joint = "and" if " with " in caption else "with"
    return f"{caption} {joint} {listed}"


def _phrase(name: str, look: str) -> str:
    """ "roof", "red" -> "a red roof"; "leaves", "green" -> "green leaves"."""
    words = f"{look} {name}"
    return words if name.endswith("s") and not name.endswith("ss") else with_article(words)
