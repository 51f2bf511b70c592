"""Who hears of the export, and what all of it agrees on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.reporting import OnStep, unwatched

PADDING = 6
"""Texels around every chart."""


@dataclass(frozen=True)
class Watcher:
    """Who hears of the export.

    part  opens a part of it by name (`planned_seconds`) and gives the on_step that hears of its progress
    note  is told what the user should know
    """

    part: Callable[[str], OnStep] = lambda name: unwatched
    note: Callable[[str], None] = lambda text: None


NOBODY = Watcher()
