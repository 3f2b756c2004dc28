"""The data directory: made, private, and its two small secret files."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen

import pytest

from hubreg.errors import Unusable
from hubreg.store.disk import Disk
from hubreg.store.layout import Layout


@pytest.fixture
def umask() -> Iterator[None]:
    """Everything that is made is open to everybody, unless its maker says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_new_directory_is_for_this_user_alone(tmp_path: Path) -> None:
    """All directories are made, closed to others, and once more changes nothing."""
    layout = Layout(tmp_path / "deep" / "data")
    for _ in range(2):
        layout.prepare()
        assert len(list(layout.blobs.iterdir())) == 256
        for directory in (layout.root, layout.incoming, layout.blobs, *layout.blobs.iterdir()):
            assert directory.stat().st_mode & 0o777 == 0o700


def test_what_is_missing_is_made(tmp_path: Path) -> None:
    """A start that was cut short, or a directory that somebody deleted, is made good."""
    layout = Layout(tmp_path)
    layout.prepare()
    for name in ("00", "7f", "ff"):
        (layout.blobs / name).rmdir()
    layout.incoming.rmdir()
    layout.prepare()
    assert len(list(layout.blobs.iterdir())) == 256
    assert layout.incoming.is_dir()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in its place is said in a sentence that names it."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(Unusable, match="data cannot be used: File exists"):
        Layout(tmp_path / "data").prepare()


@pytest.mark.usefixtures("umask")
def test_a_private_file(layout: Layout) -> None:
    """It is readable for this user alone, replaces what was there, and leaves nothing else."""
    layout.write_private(layout.admin_token, b"one")
    layout.write_private(layout.admin_token, b"two")
    assert layout.admin_token.read_bytes() == b"two"
    assert layout.admin_token.stat().st_mode & 0o777 == 0o600
    assert list(layout.incoming.iterdir()) == []


class FullDisk(Disk):
    def write(self, handle: int, data: memoryview, offset: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_private_file_that_cannot_be_written(layout: Layout) -> None:
    """What was there before stays, and no half of the new one."""
    layout.write_private(layout.admin_token, b"one")
    with pytest.raises(OSError, match="No space left"):
        layout.write_private(layout.admin_token, b"two", FullDisk())
    assert layout.admin_token.read_bytes() == b"one"
    assert list(layout.incoming.iterdir()) == []


@pytest.mark.usefixtures("umask")
def test_the_secret_is_made_once(layout: Layout) -> None:
    """32 bytes, the same at every call, for this user alone; another directory has another one."""
    secret = layout.read_secret()
    assert len(secret) == 32
    assert layout.read_secret() == secret
    assert layout.secret.stat().st_mode & 0o777 == 0o600
    assert list(layout.incoming.iterdir()) == []
    other = Layout(layout.root / "other")
    other.prepare()
    assert other.read_secret() != secret


def test_several_who_make_the_secret_at_once_get_one(layout: Layout) -> None:
    """Threads and processes that find none agree on the one that was first."""
    program = (
        "import sys; from pathlib import Path; from hubreg.store.layout import Layout;"
        "sys.exit(Layout(Path(sys.argv[1])).read_secret() != Path(sys.argv[1], 'secret').read_bytes())"
    )
    processes = [Popen([sys.executable, "-c", program, str(layout.root)]) for _ in range(3)]
    with ThreadPoolExecutor(8) as threads:
        secrets = list(threads.map(lambda _: layout.read_secret(), range(50)))
    assert set(secrets) == {layout.secret.read_bytes()}
    assert [process.wait() for process in processes] == [0, 0, 0]


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_secret_that_is_none_is_refused(layout: Layout, content: bytes) -> None:
    """An empty file, left by a broken restore, would let anybody sign."""
    layout.secret.write_bytes(content)
    with pytest.raises(Unusable, match="is no key"):
        layout.read_secret()
