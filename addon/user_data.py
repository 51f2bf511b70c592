"""What the extension remembers of a user between sessions: prompts, models, how long jobs took. No bpy.

One small JSON file in the extension's own folder. What cannot be read or written is let be: nothing of this is needed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import write_atomically
from .job_fields import DREAM, JobSettings

PROMPTS_KEPT, MODELS_KEPT, TIMES_KEPT = 30, 12, 40
LONGEST_PROMPT = 400


class UserData:
    """The file's content; every change is written at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._content: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            read = json.loads(file.read_text(encoding="utf-8"))
            self._content = read if isinstance(read, dict) else {}

    @property
    def prompts(self) -> Sequence[str]:
        """The newest first."""
        return self._texts("prompts")

    @property
    def models(self) -> Sequence[str]:
        """Models other than the embedded one that jobs were started with, the newest first."""
        return self._texts("models")

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Prompt and model of a job that begins."""
        self._put_first("prompts", str(settings.get("prompt", ""))[:LONGEST_PROMPT], PROMPTS_KEPT)
        if settings.get("model", "embedded") != "embedded":
            self._put_first("models", str(settings["model"]), MODELS_KEPT)
        self._write()

    def forget_prompts(self) -> None:
        """Empty the history of prompts."""
        self._content["prompts"] = []
        self._write()

    def remember_time(self, settings: Mapping[str, Any], seconds: float) -> None:
        """What a job of these settings took, by its steps."""
        steps = steps_of(settings)
        if steps > 0 and seconds > 0:
            times = self._times()
            times.pop(_kind(settings), None)
            self._content["times"] = dict([*times.items(), (_kind(settings), [seconds, steps])][-TIMES_KEPT:])
            self._write()

    def estimate(self, settings: Mapping[str, Any]) -> float | None:
        """Seconds that such a job took the last time, scaled to its steps; None where there was none."""
        held = self._times().get(_kind(settings))
        try:
            return None if held is None else float(held[0]) * (0.2 + 0.8 * steps_of(settings) / float(held[1]))
        except (TypeError, ValueError, IndexError, ZeroDivisionError):
            return None

    def _texts(self, name: str) -> list[str]:
        held = self._content.get(name)
        return [text for text in held if isinstance(text, str)] if isinstance(held, list) else []

    def _times(self) -> dict[str, Any]:
        held = self._content.get("times")
        return held if isinstance(held, dict) else {}

    def _put_first(self, name: str, text: str, kept: int) -> None:
        text = text.strip()
        if text:
            self._content[name] = [text, *(other for other in self._texts(name) if other != text)][:kept]

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            write_atomically(self._file, json.dumps(self._content, indent=1, ensure_ascii=False).encode())


def steps_of(settings: Mapping[str, Any]) -> int:
    """Optimization steps of a job, both stages; of a dream those of its cloud too."""
    job = JobSettings.from_dict({**settings, "prompt": "x"})
    numbers, dream = job.resolve(), job.resolve_dream()
    of_cloud = dream.dream_steps + dream.dream_steps2 if job.mode == DREAM else 0
    return numbers.stage1_steps + numbers.stage2_steps + of_cloud


def _kind(settings: Mapping[str, Any]) -> str:
    """Jobs that take about as long, steps aside."""
    return " ".join(str(settings.get(name, "")) for name in ("mode", "preset", "device", "model"))
