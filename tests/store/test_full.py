"""Which errors say that the disk is full."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from hubreg.store.full import is_full


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_what_the_system_says(number: int, full: bool) -> None:
    """No space, and no more of it for this user; nothing else, and also where it is the cause of something else."""
    error = OSError(number, "")
    other = LookupError()
    other.__cause__ = error
    assert [is_full(error), is_full(other)] == [full, full]


def test_what_sqlite_says(tmp_path: Path) -> None:
    """By its number, which other failures of the same class do not have."""
    connection = sqlite3.connect(tmp_path / "rows.db", isolation_level=None)
    connection.execute("PRAGMA max_page_count = 2")
    connection.execute("CREATE TABLE one (two BLOB)")
    with pytest.raises(sqlite3.OperationalError) as full:
        connection.execute("INSERT INTO one VALUES (zeroblob(100000))")
    with pytest.raises(sqlite3.OperationalError) as missing:
        connection.execute("SELECT * FROM two")
    connection.close()
    assert [is_full(full.value), is_full(missing.value), is_full(sqlite3.OperationalError())] == [
        True,
        False,
        False,
    ]
