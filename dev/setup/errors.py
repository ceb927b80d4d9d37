"""What a user can mend, said in one sentence."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator


class SetupError(Exception):
    """A command cannot go on; the message is one sentence for the user."""


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can mend into one sentence and exit code 1, an interruption into 130.

    SIGTERM and SIGHUP become an exit, so that whatever this process started is ended on the way out.
    """
    try:
        with exit_at_signals():
            yield
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nInterrupted; run the command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None


@contextlib.contextmanager
def exit_at_signals() -> Iterator[None]:
    """Raise SystemExit where this process is told to end; a signal that it was started to ignore stays ignored."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
