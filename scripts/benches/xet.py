"""
Xet: 1 GiB in, as random bytes and as bf16 weights; 8 and 64 uploads at once; ranges of xorbs and plain files out.

The client is raw: it sends xorbs that lie ready on disk. Beside the upload stands what sha256 and blake3 take for the
same bytes, one thread each, and beside the ranges what nginx takes to send them.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import lz4.frame
import numpy as np

from hubreg.formats.chunking import MerkleHash, Node, chunk_hash, hash_string, merkle_root, range_hash
from scripts.benches.content import MIB, Hub
from scripts.benches.processes import Apart, Server, hubreg, nginx
from scripts.benches.report import Report, ratio
from scripts.benches.wire import Wire, download, request

CHUNK = 64 << 10  # what clients make on the average
PER_XORB = 1000
CLIENTS = 8
GB = 1e9
MEMORY = {8: 250, 64: 400}  # uploads at once -> MB

_HASHES = {
    "sha256": "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')",
    "blake3": "import blake3, sys; blake3.blake3().update_mmap(sys.argv[1])",
}
_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
_BOOKEND = b"\xff" * 32 + bytes(16)


# what is sent


@dataclass(frozen=True, slots=True)
class Xorb:
    """A serialized xorb: `first`, and behind it the bytes of a file from `skip` on."""

    nodes: tuple[Node, ...]
    first: bytes
    file: Path
    skip: int

    @property
    def hash(self) -> bytes:
        return merkle_root(self.nodes)

    @property
    def size(self) -> int:
        return len(self.first) + self.file.stat().st_size - self.skip


@dataclass(frozen=True, slots=True)
class Content:
    """A file, plain on disk as well, and the xorbs and the shard of it."""

    plain: Path
    size: int
    xorbs: tuple[Xorb, ...]
    shard: bytes
    sha256: str
    name: str


def noise(seed: int) -> Iterator[bytes]:
    """Chunks that do not compress."""
    generator = np.random.default_rng(seed)
    while True:
        yield generator.bytes(CHUNK)


def weights(seed: int) -> Iterator[bytes]:
    """Chunks of what the parameters of a model look like in bf16."""
    generator = np.random.default_rng(seed)
    while True:
        values = generator.normal(0, 0.02, CHUNK // 2).astype("<f4")
        yield (values.view("<u4") >> 16).astype("<u2").tobytes()


def serialized(chunk: bytes, *, grouped: bool) -> bytes:
    """As clients send it: as it is, or, where that is smaller, regrouped and compressed."""
    scheme, payload = 0, chunk
    if grouped:
        packed = lz4.frame.compress(b"".join(chunk[number::4] for number in range(4)), store_size=False)
        if len(packed) < len(chunk):
            scheme, payload = 2, packed
    return (
        bytes([0, *len(payload).to_bytes(3, "little"), scheme, *len(chunk).to_bytes(3, "little")]) + payload
    )


def made(place: Path, chunks: Iterator[bytes], size: int, *, grouped: bool) -> Content:
    """A file of `size` bytes with its xorbs."""
    place.mkdir()
    plain, hashed, xorbs = place / "plain", hashlib.sha256(), []
    with open(plain, "wb") as whole:
        for start in range(0, size // CHUNK, PER_XORB):
            nodes, path = [], place / f"{start}.xorb"
            with open(path, "wb") as file:
                for _ in range(min(PER_XORB, size // CHUNK - start)):
                    chunk = next(chunks)
                    hashed.update(chunk)
                    whole.write(chunk)
                    file.write(serialized(chunk, grouped=grouped))
                    nodes.append(Node(chunk_hash(chunk), len(chunk)))
            xorbs.append(Xorb(tuple(nodes), b"", path, 0))
    return Content(plain, size, tuple(xorbs), *_shard(xorbs, hashed.hexdigest()))


def variant(xorb: Xorb, plain: Path, seed: int) -> Content:
    """A file of one xorb, that of `xorb` with another first chunk: many of them take little room."""
    first = next(noise(seed))
    with open(xorb.file, "rb") as file:
        skip = 8 + int.from_bytes(file.read(4)[1:4], "little")
    changed = Xorb(
        (Node(chunk_hash(first), CHUNK), *xorb.nodes[1:]), serialized(first, grouped=False), xorb.file, skip
    )
    size = CHUNK * len(xorb.nodes)
    hashed = hashlib.sha256(first)
    with open(plain, "rb") as file:
        file.seek(CHUNK)
        hashed.update(file.read(size - CHUNK))
    return Content(plain, size, (changed,), *_shard([changed], hashed.hexdigest()))


def _shard(xorbs: Sequence[Xorb], sha256: str) -> tuple[bytes, str, str]:
    """The shard of a file that consists of these xorbs, its sha256 and its Xet hash (XET 6.2)."""
    merkle = MerkleHash()
    terms, proofs, listed = [], [], []
    for xorb in xorbs:
        merkle.update(xorb.nodes)
        size, count = sum(node.size for node in xorb.nodes), len(xorb.nodes)
        terms.append(struct.pack("<32sIIII", xorb.hash, 0, size, 0, count))
        proofs.append(struct.pack("<32s16x", range_hash([node.hash for node in xorb.nodes])))
        listed.append(struct.pack("<32sIIII", xorb.hash, 0, count, size, xorb.size))
        at = 0
        for node in xorb.nodes:
            listed.append(struct.pack("<32sIIII", node.hash, at, node.size, 0, 0))
            at += node.size
    name = merkle.file_hash()
    digest = bytes.fromhex(sha256)
    reversed_digest = b"".join(digest[at : at + 8][::-1] for at in range(0, 32, 8))
    head = struct.pack("<32sQQ", _TAG, 2, 0) + struct.pack("<32sII8x", name, 0b11 << 30, len(xorbs))
    body = b"".join([head, *terms, *proofs, reversed_digest, bytes(16), _BOOKEND, *listed, _BOOKEND])
    return body, sha256, hash_string(name)


# sending it


@dataclass(frozen=True, slots=True)
class Cas:
    """Where a repo's content goes."""

    server: Server
    path: str
    token: str

    @classmethod
    def of(cls, hub: Hub, repo: str) -> Cas:
        facts, _ = hub.call("GET", f"/api/models/{repo}/xet-write-token/main")
        return cls(
            hub.server, "/" + facts["casUrl"].partition("//")[2].partition("/")[2], facts["accessToken"]
        )

    def post(self, path: str, body: bytes, file: Path | None = None, skip: int = 0) -> None:
        """POST bytes, and behind them those of a file."""
        length = len(body) + (file.stat().st_size - skip if file is not None else 0)
        head = (
            request("POST", self.path + path, self.token)[:-2] + f"content-length: {length}\r\n\r\n".encode()
        )
        with socket.create_connection((self.server.host, self.server.port)) as connection:
            connection.sendall(head + body)
            if file is not None:
                with open(file, "rb") as source:
                    connection.sendfile(source, skip)
            answer = connection.recv(65536)
            while b"\r\n\r\n" not in answer:
                answer += connection.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{path}: {answer!r}")

    def send(self, content: Content) -> None:
        for xorb in content.xorbs:
            self.post(f"/v1/xorbs/default/{hash_string(xorb.hash)}", xorb.first, xorb.file, xorb.skip)

    def finish(self, content: Content) -> None:
        self.post("/v1/shards", content.shard)


def _upload(_: Connection, cas: Cas, contents: Sequence[Content]) -> None:
    for content in contents:
        cas.send(content)
        cas.finish(content)


# measuring


@dataclass(frozen=True, slots=True)
class Taken:
    """CPU s/GB of content, for the xorbs and for the shard; and what both rates are of."""

    xorbs: float
    shard: float
    rate: float  # GB/s

    @property
    def cost(self) -> float:
        return self.xorbs + self.shard


def measure(place: Path, *, quick: bool, rounds: int | None) -> Report:
    size = (64 if quick else 1024) * MIB
    rounds = rounds or (1 if quick else 3)
    kinds: dict[str, tuple[Callable[[int], Iterator[bytes]], bool, float]] = {
        "random": (noise, False, 4.0),
        "bf16": (weights, True, 5.5),
    }
    contents = {
        kind: made(place / kind, make(7), size, grouped=grouped) for kind, (make, grouped, _) in kinds.items()
    }
    report = Report(f"xet: {size // MIB} MiB, one worker, median of {rounds} rounds")
    for kind, content in contents.items():
        _uploads(report, place / "taken", kind, content, kinds[kind][2], rounds)
    for at_once, limit in MEMORY.items():
        for kind, content in contents.items():
            peak = _crowd(place / "crowd", content, at_once) / 1e6
            report.at_most(f"memory, {at_once} uploads of {kind} at once", peak, limit, " MB")
    for kind, content in contents.items():
        _downloads(report, place / "out", kind, content, rounds)
    return report


def _uploads(report: Report, place: Path, kind: str, content: Content, limit: float, rounds: int) -> None:
    found: list[Taken] = []
    hashing: dict[str, list[float]] = {name: [] for name in _HASHES}
    for _ in range(rounds):
        for name, program in _HASHES.items():
            hashing[name].append(_by_tool(program, content.plain))
        found.append(_taken(place, content))
    sums = [sum(pair) for pair in zip(*hashing.values(), strict=True)]
    report.fact(
        f"sha256 + blake3 of {kind}",
        " + ".join(f"{median(costs):.2f}" for costs in hashing.values()) + " CPU s/GB",
    )
    xorbs, shard, rate = (
        median(getattr(turn, name) for turn in found) for name in ("xorbs", "shard", "rate")
    )
    times = ratio([turn.cost for turn in found], sums)
    shown = f"{times:.2f} x: xorbs {xorbs:.2f} + shard {shard:.2f} CPU s/GB, {rate:.2f} GB/s"
    report.at_most(f"upload of {kind} / both", times, limit, " x", shown)


def _taken(place: Path, content: Content) -> Taken:
    with hubreg(place) as server, Hub(server, place) as hub:
        cas = Cas.of(hub, hub.create("taken"))
        began, before = time.perf_counter(), server.cpu()
        cas.send(content)
        between = server.cpu()
        cas.finish(content)
        after, took = server.cpu(), time.perf_counter() - began
    shutil.rmtree(place)
    size = content.size / GB
    return Taken((between - before) / size, (after - between) / size, size / took)


def _by_tool(program: str, file: Path) -> float:
    """CPU s/GB of a program that hashes a file."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, str(file)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / file.stat().st_size * GB


def _crowd(place: Path, content: Content, at_once: int) -> int:
    """The most memory of the server while so many clients each send a xorb and its shard."""
    ready = [variant(content.xorbs[0], content.plain, 1000 + number) for number in range(at_once)]
    with hubreg(place) as server, Hub(server, place) as hub:
        cas = Cas.of(hub, hub.create("taken"))
        with ExitStack() as stack:
            clients = [stack.enter_context(Apart(_upload, cas, [one])) for one in ready]
            for client in clients:
                client.result()
        peak = server.peak()
    shutil.rmtree(place)
    return peak


def _downloads(report: Report, place: Path, kind: str, content: Content, rounds: int) -> None:
    with hubreg(place) as server, Hub(server, place) as hub:
        repo = hub.create("out")
        cas = Cas.of(hub, repo)
        cas.send(content)
        cas.finish(content)
        value = {"path": "w.bin", "algo": "sha256", "oid": content.sha256, "size": content.size}
        lines = (
            b'{"key":"header","value":{"summary":"x"}}\n'
            + json.dumps({"key": "lfsFile", "value": value}).encode()
        )
        commit, _ = hub.call(
            "POST", f"/api/models/{repo}/commit/main", lines, {"Content-Type": "application/x-ndjson"}
        )
        plain = request("GET", f"/{repo}/resolve/{commit['commitOid']}/w.bin", hub.token)
        costs = [_cost(server, plain, 1, content.size) for _ in range(rounds)]
        report.at_least(f"plain GET of {kind}, per core", 1000 / median(costs), 400, " MB/s")
        if kind == "random":
            _ranges(report, place, server, cas, content, rounds)
    shutil.rmtree(place)


def _ranges(report: Report, place: Path, server: Server, cas: Cas, content: Content, rounds: int) -> None:
    """The bytes of a xorb by its signed URL, and the same file from nginx."""
    found = _reconstruction(server, cas, content.name)
    name = next(iter(found["xorbs"]))
    url = found["xorbs"][name][0]["url"]
    last = found["xorbs"][name][0]["ranges"][0]["bytes"]["end"]
    part = f"range: bytes=0-{last}\r\n\r\n".encode()
    ours = request("GET", "/" + url.partition("//")[2].partition("/")[2])[:-2] + part
    [file] = (place / "data" / "xorbs" / name[:2]).glob(f"{name}-*")
    with nginx(place / "nginx", file.parent) as other:
        theirs = request("GET", f"/{file.name}")[:-2] + part
        pairs = [
            (_cost(server, ours, CLIENTS, last + 1, 8), _cost(other, theirs, CLIENTS, last + 1, 8))
            for _ in range(rounds)
        ]
    report.fact(
        "ranges of a xorb",
        " against nginx's ".join(f"{median(c):.3f}" for c in zip(*pairs, strict=True)) + " CPU s/GB",
    )
    report.at_most("ranges, hubreg / nginx", ratio(*zip(*pairs, strict=True)), 1.5, " x")


def _reconstruction(server: Server, cas: Cas, name: str) -> dict[str, Any]:
    with Wire(server) as wire:
        answer = wire.expect(request("GET", f"{cas.path}/v2/reconstructions/{name}", cas.token), 200)
    found: dict[str, Any] = json.loads(answer.body)
    return found


def _cost(server: Server, asked: bytes, clients: int, size: int, times: int = 1) -> float:
    """CPU s/GB of the server while clients fetch the same bytes at once."""
    before = server.cpu()
    for _ in range(times):
        with Apart(download, (server.host, server.port), asked, clients, size) as fetching:
            fetching.result()
    return (server.cpu() - before) / (times * clients * size) * GB
