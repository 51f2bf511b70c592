"""Asks the engine's own doctor what works on its machine. No bpy."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from .engine_process import EngineError

EXAMINE_SECONDS = 60.0


def examine(command: Sequence[str]) -> tuple[str, bool]:
    """The doctor's findings as text, and whether everything is in order. EngineError where it cannot be asked."""
    words = doctor_command(command)
    shown = " ".join(words)
    try:
        answer = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=EXAMINE_SECONDS, check=False)
    except (OSError, ValueError) as error:
        raise EngineError(f"'{shown}' cannot be started: {error}.", "Correct Engine Command in the add-on's preferences.") from error
    except subprocess.TimeoutExpired as error:
        fix = "Run it in a terminal to see what it waits for."
        raise EngineError(f"'{shown}' did not answer within {EXAMINE_SECONDS:.0f} s.", fix) from error
    text = (answer.stdout.strip() or answer.stderr.strip())[-6000:]
    if not text:
        raise EngineError(f"'{shown}' said nothing (exit status {answer.returncode}).", "Run it in a terminal.")
    return text, answer.returncode == 0


def doctor_command(command: Sequence[str]) -> list[str]:
    """`... sketchbridge engine` -> `... sketchbridge doctor`; `python -m engine [--job ...]` -> `python -m engine doctor`."""
    words = list(command)
    if "-m" in words:
        return [*words[: words.index("-m") + 2], "doctor"]
    if words and words[-1] == "engine":
        words.pop()
    return [*words, "doctor"]
