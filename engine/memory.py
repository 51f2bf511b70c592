"""Memory: what a failure to get it means for the user, and what a job will need of it. Loads nothing heavy."""

from __future__ import annotations

import errno

from engine.errors import JobError

_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "std::bad_alloc",
)
"""How torch's allocator, the loader of native libraries and native code say it in errors of no type of their own."""


def out_of_memory(error: BaseException | None) -> JobError | None:
    """The sentence for an error, or what caused it, that says that memory is used up; None for every other error."""
    while error is not None:
        if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in str(error):  # torch's, without importing torch here
            return JobError(
                "out_of_memory",
                "The GPU's memory is used up.",
                "Close other programs that use the GPU, choose a lower preset, or set the device to cpu.",
            )
        said = any(words in str(error).lower() for words in _WORDS)
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or said:
            return JobError(
                "out_of_memory", "The machine's memory is used up.", "Close other programs, or choose a lower preset or texture size."
            )
        error = error.__cause__ or error.__context__
    return None
