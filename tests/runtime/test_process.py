"""What a process sets up for itself."""

import subprocess
import sys

import pytest

_COUNT_THREADS = """
import threading
import cv2
from services.runtime.process import stay_in_own_thread

stay_in_own_thread()
counts = [cv2.getNumThreads()]
thread = threading.Thread(target=lambda: counts.append(cv2.getNumThreads()))
thread.start()
thread.join()
print(*counts)
"""

_FREE_64_MB = """
import ctypes
from pathlib import Path
from services.runtime.process import keep_large_blocks, return_freed_memory

def resident() -> int:
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])

ctypes.CDLL(None).malloc_trim  # there with glibc alone
keep_large_blocks()
block, after = bytearray(64 << 20), bytearray(1 << 20)
block[::4096] = bytes([1]) * len(block[::4096])
used = resident()
del block
kept = resident()
return_freed_memory()
print(used - kept, kept - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="how much memory a process holds is read from Linux")
def test_freed_memory_is_kept_until_it_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", _FREE_64_MB], capture_output=True, text=True, timeout=60)
    if "malloc_trim" in done.stderr:
        pytest.skip("this is not glibc")
    at_once, returned = map(int, done.stdout.split())
    assert at_once < 8 << 20
    assert returned > 56 << 20


def test_opencv_works_in_one_thread_whichever_calls_it() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNT_THREADS], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "1"]
