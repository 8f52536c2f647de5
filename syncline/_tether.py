"""Runs a command that ends with the process that started it, however that ends: _tether.py PARENT COMMAND...

A script of its own, because setting this between fork and exec is not safe in a process with threads. Linux only;
elsewhere it just runs the command. PARENT is the starting process's id.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before it could be watched
            sys.exit(1)
    os.execv(command[0], command)  # the setting survives this


if __name__ == "__main__":
    main()
