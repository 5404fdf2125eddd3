"""Starts a tool server, and stops it when the process that wanted it is gone.

`python guard.py COMMAND [ARGUMENT ...]` starts the command in a process group of its own. The
command inherits the standard streams, so nothing is copied here. The operating system closes
standard input when the process on its other side ends, even if that was killed. A server that
ignores this, or is stuck in a tool, is killed. With the server, or after it, everything ends that
it has started in its process group.

The guard itself is a second process: libraries kill the one that they have started.

This is a script that imports nothing of this package, so that it starts within milliseconds.
"""

import _thread
import contextlib
import os
import select
import signal
import sys
import time

_PATIENCE = 1.0
"""Seconds for the server to end by itself; then the same time after SIGTERM."""
_NOT_STARTED = 127


def main() -> None:
    """Start the guard, and exit with its status."""
    guard = os.fork()
    if guard == 0:
        _run(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda kind, frame: os.kill(guard, kind))
    _leave_output()
    os._exit(_wait(guard))


def _run(command: list[str]) -> None:
    """Run the command, and exit with its status."""
    try:
        # Python ignores these signals, and the server would inherit that.
        restored = [signal.SIGPIPE, signal.SIGXFSZ]
        server = os.posix_spawnp(command[0], command, os.environ, setpgroup=0, setsigdef=restored)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
        os._exit(_NOT_STARTED)
    signal.signal(signal.SIGTERM, lambda kind, frame: _kill_group(server, signal.SIGKILL))
    _leave_output()
    _thread.start_new_thread(_watch_input, (server,))
    status = _wait(server)
    _kill_group(server, signal.SIGKILL)
    os._exit(status)


def _leave_output() -> None:
    """Close the server's output here, so that it ends when the server ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)


def _wait(process: int) -> int:
    """Wait for a process; returns its exit status."""
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status) % 256


def _watch_input(server: int) -> None:
    ends = select.POLLHUP | select.POLLERR | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)
    poller = select.poll()
    poller.register(0, ends)
    while not any(seen & ends for _, seen in poller.poll()):
        time.sleep(0.2)  # some systems wake up for data, too, which the server reads
    time.sleep(_PATIENCE)
    _kill_group(server, signal.SIGTERM)
    time.sleep(_PATIENCE)
    _kill_group(server, signal.SIGKILL)


def _kill_group(leader: int, kind: int) -> None:
    with contextlib.suppress(OSError):  # all of its processes may have ended
        os.killpg(leader, kind)


if __name__ == "__main__":
    main()
