"""
Where everything is in a data directory:

    DATA/
        server.lock         held by the server that runs here
        hubreg.db           rows (SQLite, WAL)
        hubreg.lock         whose turn it is to write rows
        upkeep.lock         held by the process that does what is done beside the requests
        secret              32 random bytes that sign URLs (0600)
        admin-token         the first administrator's token (0600)
        blobs/ab/{sha256}   content, by its name
        xorbs/ab/{hash}-{tag}  chunks that came by Xet, as they came; which tag counts, a row says
        incoming/{random}   content on its way in; whatever a dead process left is swept at start
        incoming/{id}.parts a multipart upload; swept when it has expired
        incoming/{id}.done  the sha256 that its parts were found to have, once they are put together
        flights/{key}.part  content on its way from upstream, with holes; the next start goes on with it
        flights/{key}.state how far it has come
        flights/{key}.wrong upstream sent something else under that name lately

Paths are made here and nowhere else. The directories of `blobs/` and `xorbs/` are made once, so that publishing is
durable with one sync of one directory.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from hubreg.errors import Unusable
from hubreg.model import Sha256
from hubreg.store.disk import Disk

_FANOUT = {f"{n:02x}" for n in range(256)}
_SECRET_BYTES = 32


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
    def upkeep_lock(self) -> Path:
        return self.root / "upkeep.lock"

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
    def xorbs(self) -> Path:
        return self.root / "xorbs"

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    def blob(self, digest: Sha256) -> Path:
        return self.root / "blobs" / digest[:2] / digest

    def xorb(self, hash_: str, tag: str) -> Path:
        return self.root / "xorbs" / hash_[:2] / f"{hash_}-{tag}"

    def temporary(self) -> Path:
        return self.root / "incoming" / secrets.token_hex(16)

    def parts(self, upload_id: str) -> Path:
        return self.root / "incoming" / f"{upload_id}.parts"

    def done(self, upload_id: str) -> Path:
        return self.root / "incoming" / f"{upload_id}.done"

    @property
    def flights(self) -> Path:
        return self.root / "flights"

    def flight(self, key: str, what: str) -> Path:
        return self.root / "flights" / f"{key}.{what}"

    def prepare(self) -> None:
        """Make what is missing, durably. Raises `Unusable` where that cannot be done."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.incoming.mkdir(mode=0o700, exist_ok=True)
            self.flights.mkdir(mode=0o700, exist_ok=True)
            for parent in (self.blobs, self.xorbs):
                parent.mkdir(mode=0o700, exist_ok=True)
                for name in _FANOUT - set(os.listdir(parent)):
                    (parent / name).mkdir(mode=0o700, exist_ok=True)
            # Each time: whoever made them may have been killed before this.
            for directory in (self.blobs, self.xorbs, self.root, self.root.parent):
                Disk().sync_directory(directory)
        except OSError as error:
            raise Unusable(
                f"The data directory {self.root} cannot be used: {error.strerror}.",
                hint="Name another with --data, or give this user the right to write there.",
            ) from error

    def write_private(self, path: Path, content: bytes, disk: Disk | None = None) -> None:
        """A small file that only this user may read: wholly there and durable, or as it was."""
        disk = disk or Disk()
        temporary = self._write_temporary(content, disk)
        disk.rename(temporary, path)
        disk.sync_directory(path.parent)

    def read_secret(self, disk: Disk | None = None) -> bytes:
        """The key that signs URLs; made at the first call, and one key even when several make it at once."""
        if not self.secret.exists():
            disk = disk or Disk()
            temporary = self._write_temporary(secrets.token_bytes(_SECRET_BYTES), disk)
            try:
                disk.link(temporary, self.secret)
            except FileExistsError:
                pass  # somebody was first
            except OSError:  # no links on this file system
                disk.rename(temporary, self.secret)
            disk.remove(temporary)
            disk.sync_directory(self.root)
        key = self.secret.read_bytes()
        if len(key) < _SECRET_BYTES:
            raise Unusable(
                f"{self.secret} is no key: it has {len(key)} bytes, not {_SECRET_BYTES}.",
                hint="Restore it from a backup, or delete it: upload URLs that are under way end.",
            )
        return key

    def _write_temporary(self, content: bytes, disk: Disk) -> Path:
        path = self.temporary()
        handle = disk.create(path)
        try:
            disk.write(handle, memoryview(content), 0)
            disk.sync(handle)
        except BaseException:
            disk.remove(path)
            raise
        finally:
            disk.close(handle)
        return path
