"""What the scripts print."""

from __future__ import annotations

import io

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
