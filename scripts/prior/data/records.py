"""What is known about one rendered picture. No dependency, so that Blender can use it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One rendered picture: its file and what is seen in it.

    file        name inside the data folder.
    caption     the subject with its article, "a red tulip flower".
    background  "on a grass field".
    view        front, side, back or overhead.
    kind        the kind's name, one word.
    """

    file: str
    caption: str
    background: str
    view: str
    kind: str
