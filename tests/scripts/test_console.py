"""What the scripts print."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import ROOT
from scripts.setup.console import StatusLine, table


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_table_aligns_its_columns():
    assert table([["name", "n"], ["a", "10"], ["longer", "2"]]).splitlines() == ["name     n", "------  --", "a       10", "longer   2"]


def test_status_line_is_rewritten_on_a_terminal_and_cleared_for_a_line_that_stays():
    stream = Terminal()
    status = StatusLine(stream)
    status.update("one")
    status.update("two")
    status.say("stays")
    assert stream.getvalue() == "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Kstays\n"


def test_status_line_is_sparse_where_nobody_can_rewrite_a_line():
    stream = io.StringIO()
    status = StatusLine(stream, sparse_seconds=1000)
    for step in range(50):
        status.update(f"step {step}")
    status.say("done")
    assert stream.getvalue() == "step 0\ndone\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_a_console_that_lacks_the_letters_of_a_name_shows_their_codes(encoding: str, tmp_path: Path):
    """Windows' consoles and pipes: a Cyrillic name came out as a traceback after the work was done."""
    (tmp_path / "эскиз 模型.obj").write_text("v 0 0 0\n")
    engine = shlex.join([sys.executable, "-m", "engine"])
    surroundings = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}

    def told(*command: str) -> tuple[int, str]:
        ended = subprocess.run([sys.executable, *command], cwd=tmp_path, env=surroundings, capture_output=True, check=False)
        return ended.returncode, (ended.stdout + ended.stderr).decode(encoding)

    name = "эскиз 模型" if encoding == "utf-8" else r"\u044d\u0441\u043a\u0438\u0437 \u6a21\u578b"
    for command in (
        ("-m", "engine", "refine", "эскиз 模型.obj", "--prompt", "a toy", "--out", "out"),
        ("-m", "engine", "refine", "эскиз 模型.xyz", "--prompt", "a toy", "--out", "out"),
        (str(ROOT / "scripts" / "convert_folder.py"), ".", "--out", str(tmp_path.parent / f"out {encoding}"), "--engine", engine),
    ):
        code, text = told(*command)
        assert code in (1, 2) and name in text and "Traceback" not in text, text
