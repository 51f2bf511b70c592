"""Shared by every test run: one thread a process, no hub, a cache of its own, fast tests first."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
_cache = tempfile.TemporaryDirectory(prefix="sketchbridge-test-cache-")
os.environ["SKETCHBRIDGE_CACHE"] = _cache.name

import pytest  # noqa: E402  the environment must be set before anything loads a thread pool


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast tests first, in their own order."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
