"""Paths as a user types them."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import InputError


def user_path(text: str) -> Path:
    """The path, with `~` as the user's home folder, whether anything is there or not. InputError for one that cannot be looked at: a home
    that nobody has, a name too long, a folder closed to this user."""
    try:
        path = Path(text).expanduser()
        closed = path.exists() and path.is_dir() and not os.access(path, os.R_OK | os.X_OK)
        reason = "this user may not look into it" if closed else ""
    except RuntimeError:
        path, reason = Path(text), f"there is no home folder of '{Path(text).parts[0]}'"
    except OSError as error:
        path, reason = Path(text), str(error.strerror or error).lower()
    if reason:
        shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}..."
        raise InputError("cannot_read", f"'{shown}' cannot be read: {reason}.", "Check the path, and the permissions of its folders.")
    return path
