"""
Where everything is in a data directory:

    DATA/
        server.lock         held by the server that runs here
        hubreg.db           rows (SQLite, WAL)
        hubreg.lock         whose turn it is to write rows
        secret              32 random bytes that sign URLs (0600)
        admin-token         the first administrator's token (0600)
        blobs/ab/{sha256}   content, by its name
        incoming/{random}   content on its way in; whatever a dead process left is swept at start
        incoming/{id}.parts a multipart upload; swept when it has expired

Paths are made here and nowhere else. The directories of `blobs/` are made once, so that publishing a blob is durable
with one sync of one directory.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from hubreg.errors import Unusable
from hubreg.model import Sha256

_FANOUT = [f"{n:02x}" for n in range(256)]


@dataclass(frozen=True, slots=True)
class Layout:
    root: Path

    @property
    def server_lock(self) -> Path:
        return self.root / "server.lock"

    @property
    def database(self) -> Path:
        return self.root / "hubreg.db"

    @property
    def secret(self) -> Path:
        return self.root / "secret"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin-token"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    def blob(self, digest: Sha256) -> Path:
        return self.root / "blobs" / digest[:2] / digest

    def temporary(self) -> Path:
        return self.root / "incoming" / secrets.token_hex(16)

    def parts(self, upload_id: str) -> Path:
        return self.root / "incoming" / f"{upload_id}.parts"

    def prepare(self) -> None:
        """Make what is missing, durably. Raises `Unusable` where that cannot be done."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.incoming.mkdir(mode=0o700, exist_ok=True)
            if not (self.blobs / _FANOUT[-1]).is_dir():
                self.blobs.mkdir(mode=0o700, exist_ok=True)
                for name in _FANOUT:
                    (self.blobs / name).mkdir(mode=0o700, exist_ok=True)
                for directory in (self.blobs, self.root, self.root.parent):
                    sync_directory(directory)
        except OSError as error:
            raise Unusable(
                f"The data directory {self.root} cannot be used: {error.strerror}.",
                hint="Name another with --data, or give this user the right to write there.",
            ) from error

    def write_private(self, path: Path, content: bytes) -> None:
        """A small file that only this user may read, wholly there or not at all."""
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
        sync_directory(path.parent)

    def read_secret(self) -> bytes:
        """The key that signs URLs; made at the first call."""
        try:
            return self.secret.read_bytes()
        except FileNotFoundError:
            self.write_private(self.secret, secrets.token_bytes(32))
            return self.secret.read_bytes()


def sync_directory(path: Path) -> None:
    # A new or renamed name is durable only once the directory that holds it has been synced.
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
