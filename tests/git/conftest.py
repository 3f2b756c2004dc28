"""A live hubreg on loopback, the use cases on the same data, and C git, which is the judge."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hubreg.app import App, build
from hubreg.config import Config
from hubreg.model import Actor, RepoType
from hubreg.store.repos import Repo

LISTENING = re.compile(r"hubreg is listening on (http://127\.0\.0\.1:\d+)")
GIT_SECONDS = 60
CONFIGURATION = """
[user]
    name = Ann Author
    email = ann@example.org
[init]
    defaultBranch = main
[gc]
    auto = 0
[transfer]
    unpackLimit = 1
[advice]
    detachedHead = false
"""


@dataclass(frozen=True, slots=True)
class Git:
    """C git in one directory, with a home and a configuration of its own."""

    home: Path
    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Git:
        """A directory that holds a `home` and whatever git makes in `folder/work`."""
        (folder / "home").mkdir(parents=True, exist_ok=True)
        (folder / "work").mkdir(exist_ok=True)
        (folder / "home" / ".gitconfig").write_text(CONFIGURATION)
        return cls(folder / "home", folder / "work")

    def inside(self, name: str) -> Git:
        return Git(self.home, self.folder / name)

    def run(
        self, *words: str | Path, input_: bytes | None = None, date: int | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "LC_ALL": "C.UTF-8",
        }
        if date is not None:
            environment["GIT_AUTHOR_DATE"] = environment["GIT_COMMITTER_DATE"] = f"{date} +0000"
        return subprocess.run(
            ["git", *map(str, words)],
            cwd=self.folder,
            env=environment,
            input=input_,
            capture_output=True,
            timeout=GIT_SECONDS,
        )

    def __call__(self, *words: str | Path, input_: bytes | None = None, date: int | None = None) -> str:
        """Run git; what it printed. It must succeed."""
        done = self.run(*words, input_=input_, date=date)
        assert done.returncode == 0, (
            f"git {' '.join(map(str, words))}: {done.stderr.decode(errors='replace')}"
        )
        return done.stdout.decode().rstrip("\n")

    def fails(self, *words: str | Path) -> str:
        """Run git, which must refuse; what it said."""
        done = self.run(*words)
        assert done.returncode != 0, f"git {' '.join(map(str, words))} succeeded: {done.stderr!r}"
        return done.stderr.decode()

    def commit(self, message: str, files: dict[str, bytes | None], date: int | None = None) -> str:
        """Write (None: delete) files and commit them; the commit."""
        for path, content in files.items():
            place = self.folder / path
            if content is None:
                place.unlink()
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "-m", message, date=date)
        return self("rev-parse", "HEAD")

    def lines(self, *words: str | Path) -> list[str]:
        return self(*words).splitlines()


@dataclass(frozen=True, slots=True)
class Live:
    """The server, and what its command line made: `ann` writes, `reader` is hers and reads, `bob` is a stranger."""

    url: str
    data: Path
    ann: str
    reader: str
    bob: str
    process: subprocess.Popen[str]

    def address(self, repo: str, token: str | None = None) -> str:
        """A repo's URL for git, with credentials as git keeps them."""
        return f"{self.url.replace('//', f'//user:{token}@') if token else self.url}/{repo}"

    def memory(self) -> int:
        """The most that the server has had in memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) << 10


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    data, executable = folder / "data", Path(sys.executable).with_name("hubreg")
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [executable, "serve", "--data", data, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    found = next(filter(None, map(LISTENING.search, process.stdout)), None)
    assert found, (folder / "log").read_text()

    def command(*words: str) -> str:
        done = subprocess.run(
            [executable, *words, "--data", data], capture_output=True, text=True, check=True
        )
        return done.stdout

    def token(user: str, role: str) -> str:
        printed = command("token", "create", user, "--role", role, "--name", f"{user}-{role}")
        match = re.search(r"hf_[A-Za-z0-9]{34,}", printed)
        assert match
        return match[0]

    for name in ("ann", "bob"):
        command("user", "add", name)
    yield Live(found[1], data, token("ann", "write"), token("ann", "read"), token("bob", "write"), process)
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    process.wait(30)
    assert '"level":"error"' not in (folder / "log").read_text()


@dataclass(frozen=True, slots=True)
class Hub:
    """The use cases on the server's data, as `ann`."""

    app: App
    ann: Actor

    async def repo(self, name: str, *, private: bool = False) -> Repo:
        return await self.app.repos.create(self.ann, RepoType.MODEL, None, name, private=private)

    async def again(self, repo: Repo) -> Repo:
        return await self.app.repos.find(self.ann, repo.ref.type, repo.ref.full)


@pytest.fixture
async def hub(live: Live) -> AsyncIterator[Hub]:
    async with build(Config(data=live.data)) as app:
        yield Hub(app, await app.credentials.actor(f"Bearer {live.ann}"))


@pytest.fixture
def git(tmp_path: Path) -> Git:
    return Git.at(tmp_path)
