"""A mouse and a keyboard of the X server, as a person's hand moves them.

XTEST by ctypes: a process for each move takes long on a busy machine.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

NAMES = {"RET": "Return", "ESC": "Escape", "LEFT_CTRL": "Control_L", "LEFT_SHIFT": "Shift_L", " ": "space"}
"""X's names of keys that Blender, or a text, calls otherwise; letters and digits are their own."""


@functools.cache
def _server() -> tuple[Any, Any, ctypes.c_void_p]:
    x11, test = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XStringToKeysym.restype = ctypes.c_ulong
    x11.XKeysymToKeycode.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
    x11.XSync.argtypes = [ctypes.c_void_p, ctypes.c_int]
    test.XTestFakeMotionEvent.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_ulong]
    for press in (test.XTestFakeButtonEvent, test.XTestFakeKeyEvent):
        press.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_ulong]
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    if not display:
        raise RuntimeError("There is no X server: start Blender by xvfb-run.")
    return x11, test, display


def move(x: int, y: int) -> None:
    """The mouse to pixels from the screen's upper left corner."""
    x11, test, display = _server()
    test.XTestFakeMotionEvent(display, -1, x, y, 0)
    x11.XSync(display, 0)


def button(down: bool) -> None:
    """The left button."""
    x11, test, display = _server()
    test.XTestFakeButtonEvent(display, 1, down, 0)
    x11.XSync(display, 0)


def key(name: str, down: bool) -> None:
    """A key by Blender's name of it, or a letter or digit. ValueError for one that the keyboard does not have."""
    x11, test, display = _server()
    named = NAMES.get(name, name.lower())
    code = x11.XKeysymToKeycode(display, x11.XStringToKeysym(named.encode()))
    if not code:
        raise ValueError(f"the keyboard has no {name!r}")
    test.XTestFakeKeyEvent(display, code, down, 0)
    x11.XSync(display, 0)
