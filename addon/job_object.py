"""Windows: a job object whose processes the system ends with the host. Elsewhere nothing; there the engine looks itself (lifeline)."""

from __future__ import annotations

import ctypes
import subprocess
import sys

KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMIT_INFORMATION = 9


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("process_time", ctypes.c_int64), ("job_time", ctypes.c_int64), ("flags", ctypes.c_uint32),
        ("minimum_working_set", ctypes.c_size_t), ("maximum_working_set", ctypes.c_size_t), ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t), ("priority_class", ctypes.c_uint32), ("scheduling_class", ctypes.c_uint32),
    )  # fmt: skip


class _ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION; its IO_COUNTERS are six 64-bit numbers."""

    _fields_ = (
        ("basic", _BasicLimits), ("io", ctypes.c_uint64 * 6), ("process_memory", ctypes.c_size_t), ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t), ("peak_job_memory", ctypes.c_size_t),
    )  # fmt: skip


def end_with_this_process(child: subprocess.Popen[bytes]) -> int | None:
    """Put `child` and all that it will start into a job that ends when this process ends, however it does.

    Returns the job's handle, which must stay open as long as the child may run; None where there is no such thing, or no room for it:
    the child then still notices the end of its input.
    """
    if sys.platform != "win32":
        return None
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = ctypes.c_void_p
    kernel.CreateJobObjectW.argtypes = (ctypes.c_void_p, ctypes.c_wchar_p)
    kernel.SetInformationJobObject.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32)
    kernel.AssignProcessToJobObject.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
    job = kernel.CreateJobObjectW(None, None)
    if not job:
        return None
    limits = _ExtendedLimits()
    limits.basic.flags = KILL_ON_JOB_CLOSE
    set_limits = kernel.SetInformationJobObject(job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits))
    if not set_limits or not kernel.AssignProcessToJobObject(job, int(child._handle)):  # type: ignore[attr-defined]
        kernel.CloseHandle(job)
        return None
    return int(job)


def close(job: int | None) -> None:
    """End what still runs in the job and give its handle back."""
    if job is not None and sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
        kernel.CloseHandle(job)
