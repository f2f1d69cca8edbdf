"""What comes on standard input, read once."""

from __future__ import annotations

import sys
from functools import cache

# The name of what comes on standard input, of which at most so many bytes are read.
STDIN, _MOST_OF_STDIN = "-", 2**30


@cache
def stdin_bytes() -> bytes:
    """All that comes on standard input."""
    return sys.stdin.buffer.read(_MOST_OF_STDIN)
