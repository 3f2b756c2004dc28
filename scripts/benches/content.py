"""What is put into a server before it is measured, by the calls that clients make."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.benches.processes import Server

MIB = 1 << 20
PIECE = random.Random(1).randbytes(MIB)


class Bulk:
    """A large file that is nowhere: one random MiB again and again, behind a first one that makes it another file."""

    def __init__(self, size: int, seed: int = 0) -> None:
        if size % MIB:
            raise ValueError("whole MiB only")
        self.size, self._first = size, random.Random(1000 + seed).randbytes(MIB)

    def pieces(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Its bytes from `start` to `end`, by the MiB."""
        for at in range(start, self.size if end is None else end, MIB):
            yield PIECE if at else self._first

    @cached_property
    def sha256(self) -> str:
        hashed = hashlib.sha256()
        for piece in self.pieces():
            hashed.update(piece)
        return hashed.hexdigest()

    def write(self, path: Path) -> None:
        with open(path, "wb") as file:
            for piece in self.pieces():
                file.write(piece)


class Hub:
    """A client of one hubreg, as its administrator."""

    def __init__(self, server: Server, place: Path) -> None:
        self.server = server
        self.token = (place / "data" / "admin-token").read_text().strip()
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=600)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        auth: bool = True,
    ) -> tuple[Any, http.client.HTTPResponse]:
        """The answer's JSON (None where it has none) and the answer. Whatever is refused ends the bench."""
        sent = dict(headers or {})
        if auth:
            sent["Authorization"] = f"Bearer {self.token}"
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self._connection.request(method, path, body=body, headers=sent)
        response = self._connection.getresponse()
        data = response.read()
        if response.status >= 400:
            raise SystemExit(f"{method} {path}: {response.status} {data[:500]!r}")
        return (json.loads(data) if data[:1] in (b"{", b"[") else None), response

    def create(self, name: str, *, private: bool = True) -> str:
        """A model repo of the administrator's; its id."""
        self.call("POST", "/api/repos/create", {"name": name, "private": private})
        return f"admin/{name}"

    def commit(self, repo: str, files: Mapping[str, bytes], large: Mapping[str, Bulk] | None = None) -> str:
        """Commit files to `main`; the commit's id."""
        lines: list[dict[str, object]] = [{"key": "header", "value": {"summary": "bench"}}]
        for path, content in files.items():
            encoded = base64.b64encode(content).decode()
            lines.append({"key": "file", "value": {"path": path, "content": encoded, "encoding": "base64"}})
        for path, bulk in (large or {}).items():
            value = {"path": path, "algo": "sha256", "oid": bulk.sha256, "size": bulk.size}
            lines.append({"key": "lfsFile", "value": value})
        body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        answer, _ = self.call(
            "POST", f"/api/models/{repo}/commit/main", body, {"Content-Type": "application/x-ndjson"}
        )
        return str(answer["commitOid"])

    def send(self, repo: str, bulk: Bulk, transfers: tuple[str, ...] = ("basic",)) -> str:
        """Upload a large file by LFS as clients do, from memory; the transfer that the server chose."""
        asked = {
            "operation": "upload", "hash_algo": "sha256", "transfers": list(transfers),
            "objects": [{"oid": bulk.sha256, "size": bulk.size}],
        }  # fmt: skip
        batch, _ = self.call(
            "POST",
            f"/{repo}.git/info/lfs/objects/batch",
            asked,
            {"Content-Type": "application/vnd.git-lfs+json"},
        )
        actions = batch["objects"][0]["actions"]
        upload = actions["upload"]
        if batch["transfer"] == "multipart":
            self._send_parts(bulk, upload["href"], upload["header"])
        else:
            self._put(upload["href"], bulk, 0, bulk.size)
        self.call("POST", _local(actions["verify"]["href"]), {"oid": bulk.sha256, "size": bulk.size})
        return str(batch["transfer"])

    def _send_parts(self, bulk: Bulk, complete: str, header: dict[str, str]) -> None:
        size = int(header["chunk_size"])
        urls = [url for number, url in sorted(header.items()) if number.isdigit()]
        parts = []
        for number, url in enumerate(urls, 1):
            start = (number - 1) * size
            etag = self._put(url, bulk, start, min(start + size, bulk.size))
            parts.append({"partNumber": number, "etag": etag})
        self.call("POST", _local(complete), {"oid": bulk.sha256, "parts": parts}, auth=False)

    def _put(self, url: str, bulk: Bulk, start: int, end: int) -> str:
        headers = {"Content-Length": str(end - start)}
        _, response = self.call("PUT", _local(url), bulk.pieces(start, end), headers, auth=False)
        return response.headers["ETag"]


def _local(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"
