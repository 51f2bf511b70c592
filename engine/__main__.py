"""`python -m engine`: the child process of a host on standard input and output; with a command, the `sketchbridge` command.

`--job MODULE:FUNCTION` runs another function with run_job's signature: a smaller job for tests, or one of a user's own.
"""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Exit status of the process; `arguments` without the program's name, None for those of the process."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait starve each other on a busy machine
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] != "--job":
        from engine.cli import main as command

        return command(arguments)
    if len(arguments) not in (0, 2):
        print("usage: python -m engine [--job MODULE:FUNCTION]", file=sys.stderr)
        return 2
    from engine import lifeline

    lifeline.end_with_parent()
    from engine import server

    wire = server.take_wire()
    return server.serve(*wire, *arguments[1:])


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # threads of native libraries must not keep a finished engine alive
