"""What a process sets up before anything else: memory, threads, logging."""

import contextlib
import ctypes
import logging
import os
import sys
from pathlib import Path

import cv2
import structlog

from services.runtime.tracing import add_trace_ids

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_large_blocks() -> None:
    """Makes glibc keep freed megabyte blocks: else each frame pays its page faults anew, at 2 to 5 times the cost.

    All threads share one arena, or each of a pool keeps what it freed from the others: a fifth of all memory.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    except (OSError, AttributeError):  # not glibc: musl, macOS, Windows
        pass


def stay_in_own_thread() -> None:
    """Makes OpenCV work in the thread that calls it: crops are too small for more, which wait at others' expense."""
    cv2.setNumThreads(1)


def return_freed_memory() -> None:
    """Gives the system what glibc keeps since keep_large_blocks: after work that needs much more than what follows."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def leave_real_time() -> None:
    """Takes all threads of this process back to ordinary scheduling; Linux.

    SVT-AV1 gives its own threads and its caller's the highest real-time priority where root runs it: nothing else, not
    even a health check, gets a turn while it encodes, and every process started from that thread is as greedy.
    """
    with contextlib.suppress(FileNotFoundError):
        for thread in [int(task.name) for task in Path("/proc/self/task").iterdir()]:
            with contextlib.suppress(ProcessLookupError):
                if os.sched_getscheduler(thread) in (os.SCHED_FIFO, os.SCHED_RR):
                    os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def set_up_logging(stage: str) -> None:
    """One line per event on standard error: readable on a terminal, JSON elsewhere or with SYNCLINE_LOG=json."""
    style = os.environ.get("SYNCLINE_LOG", "console" if sys.stderr.isatty() else "json")
    renderer = structlog.dev.ConsoleRenderer() if style == "console" else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_trace_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(stage=stage)
