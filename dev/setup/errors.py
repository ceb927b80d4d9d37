"""What a user can mend, said in one sentence."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


class SetupError(Exception):
    """A command cannot go on; the message is one sentence for the user."""


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what a user can mend into one sentence and exit code 1, an interruption into 130."""
    try:
        yield
    except SetupError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nInterrupted; run the command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None
