"""The one `UserData` of this extension, read when it is first asked for."""

from __future__ import annotations

import functools

from . import preferences
from .user_data import UserData


@functools.cache
def data() -> UserData:
    """What is remembered of the user."""
    return UserData(preferences.own_folder("remembered") / "remembered.json")
