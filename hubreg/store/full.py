"""A disk that is full: how the system says it, and how SQLite does."""

from __future__ import annotations

import errno
import sqlite3

_ERRNO = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: BaseException | None) -> bool:
    """Whether this error, or one that led to it, says that there is no room for what was written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _ERRNO:
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            return True
        error = error.__cause__
    return False
