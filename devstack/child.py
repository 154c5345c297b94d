"""The shim between the stack and a server: `python child.py PARENT SIGNAL USER COMMAND...`.

It drops root (when USER is not empty), asks the kernel to send SIGNAL to this process when the
parent dies, and becomes COMMAND. So not even a SIGKILL of the parent leaves a server behind.
It is run by its path, with the standard library only, so that it costs some 15 ms.

On Linux only: elsewhere the request is skipped, and the stack ends left-over servers at its next
start. The kernel watches the *thread* that started us, which is the one that runs the event loop.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def _die_with_parent(parent: int, signal_number: int) -> None:
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have died before the request: then no signal will ever come.
    if os.getppid() != parent:
        sys.exit("the parent process is gone")


def _become_user(name: str) -> None:
    import pwd

    entry = pwd.getpwnam(name)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def main() -> None:
    parent, signal_number, user, *command = sys.argv[1:]
    if user:
        # Before prctl: a change of user clears the request.
        _become_user(user)
    _die_with_parent(int(parent), int(signal_number))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
