"""The bytes of files: resolve, the resolve-cache behind it, raw, and the signed URLs of the CDN. HUB 6."""

from __future__ import annotations

import secrets
import threading
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from urllib.parse import quote, quote_plus, unquote

from tests.fakehub.access import PREFIX, at, opened, visible
from tests.fakehub.answers import TEXT, WARNING, Call, Refused, zipped
from tests.fakehub.content import Content, File, Plain
from tests.fakehub.repos import Commit, Kind, Repo
from tests.fakehub.wire import Answer, Headers
from tests.fakehub.world import World

FILEINFO = "application/vnd.xet-fileinfo+json"
PREFIXES: dict[str, Kind] = {"datasets": "dataset", "spaces": "space", "kernels": "kernel"}
PLURALS: dict[str, Kind] = {"models": "model", **PREFIXES}


@dataclass(frozen=True)
class Place:
    """A file of a repo at a commit, as it was asked for."""

    repo: Repo
    commit: Commit
    path: str
    file: File

    @property
    def disposition(self) -> str:
        """With the semicolon at the end, which the client's expression wants (HUB 6.2)."""
        name = self.path.rpartition("/")[2]
        plain = name.encode("ascii", "replace").decode().replace('"', "%22")
        return f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{plain}\";"


@dataclass(frozen=True)
class Grant:
    """A signed URL that was given out: the exact target, what is there, and until when."""

    target: str
    place: Place
    expires: float


class Signatures:
    """The signed URLs that work. The CDN looks them up; nothing in them can be changed."""

    def __init__(self) -> None:
        self._grants: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def sign(self, world: World, place: Place, user: str, now: float) -> str:
        """A URL for a file on the CDN, good for `world.url_seconds` (`resolve-head-xet-public-302`)."""
        signature = secrets.token_urlsafe(24)
        expires = now + world.url_seconds
        policy = urlsafe_b64encode(f'{{"Statement":[{{"Expires":{int(expires)}}}]}}'.encode()).decode()
        path = f"/xet-bridge-us/{place.repo.public_id}/{place.file.content.xet}"
        if not place.file.xet:  # a current LFS file that is not on Xet was not recorded (HUB 13.10)
            sha256 = place.file.content.sha256
            path = f"/repos/{sha256[:2]}/{sha256[2:4]}/{place.repo.public_id}/{sha256}"
        query = (
            f"X-Xet-Cas-Uid={user}&response-content-disposition={quote_plus(place.disposition, safe='*')}"
            f"&Expires={int(expires)}&Policy={policy}&Signature={signature}&Key-Pair-Id=K00000000STANDIN"
        )
        with self._lock:
            self._grants[signature] = Grant(f"{path}?{query}", place, expires)
        return f"{world.cdn_public_url}{path}?{query}"

    def find(self, signature: str) -> Grant | None:
        return self._grants.get(signature)

    def expire(self) -> None:
        """No URL that was given out so far works any more."""
        with self._lock:
            self._grants = {key: Grant(g.target, g.place, 0) for key, g in self._grants.items()}


class Files:
    """The file routes of the Hub."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures
        self._known: set[tuple[str, str, str]] = set()  # what X-Hub-Cache calls a HIT

    def resolve(self, call: Call, words: list[str]) -> Answer | None:
        """`/{prefix}{id}/resolve/{rev}/{path}` and `/raw/`, the words still quoted; None for another path."""
        kind: Kind = "model"
        if words[0] in PREFIXES:
            kind, words = PREFIXES[words[0]], words[1:]
        verb = next((place for place in (1, 2) if words[place : place + 1] in (["resolve"], ["raw"])), 0)
        if not verb or len(words) < verb + 3:
            return None
        name, revision = "/".join(map(unquote, words[:verb])), unquote(words[verb + 1])
        path = "/".join(map(unquote, words[verb + 2 :]))
        call.seen.kind, call.seen.file = words[verb], path
        repo = visible(call, kind, name)
        if call.world.redirect_resolve and repo.id != name:
            tail = "/".join(words[verb:])
            return call.redirect(307, f"/{PREFIX[kind]}{quote(repo.id)}/{tail}")
        place = self._place(call, opened(call, repo), at(repo, revision), path)
        return self._raw(call, place) if words[verb] == "raw" else self._resolved(call, place)

    def cached(self, call: Call, words: list[str]) -> Answer:
        """The second hop, `{type}/{ns}/{name}/{sha}/{path}`; its query is only a cache key (HUB 6.2)."""
        if words[0] not in PLURALS:
            raise Refused(404, "Not found")
        kind, sha = PLURALS[words[0]], words[3]
        path = "/".join(map(unquote, words[4:]))
        call.seen.kind, call.seen.file = "cached", path
        repo = opened(call, visible(call, kind, "/".join(map(unquote, words[1:3]))))
        if len(sha) != 40:
            raise Refused(404, f"Invalid rev id: {sha}", "RevisionNotFound")
        return self._body(call, self._place(call, repo, at(repo, sha), path))

    def _place(self, call: Call, repo: Repo, commit: Commit, path: str) -> Place:
        """Where the path is; its absence carries the commit (`resolve-head-missing-entry-404`)."""
        file = commit.files.get(path)
        if file is None:
            headers = [("x-repo-commit", commit.id), ("accept-ranges", "bytes")]
            headers += self._hub_cache(call, repo, commit, path)
            raise Refused(404, "Entry not found", "EntryNotFound", headers)
        return Place(repo, commit, path, file)

    def _hub_cache(self, call: Call, repo: Repo, commit: Commit, path: str) -> Headers:
        """HIT or MISS, on HEAD of resolve only (HUB 3.1)."""
        if call.request.method != "HEAD" or call.seen.kind != "resolve":
            return []
        key = (repo.id, commit.id, path)
        known = key in self._known
        self._known.add(key)
        return [("x-hub-cache", "HIT" if known else "MISS")]

    def _resolved(self, call: Call, place: Place) -> Answer:
        """Which answer it is: the table of HUB 6.1. A gated repo's files are taken to be like a private one's."""
        if FILEINFO in call.request.headers.get("accept", "") and place.file.xet_hash:
            return self._fileinfo(call, place)
        if place.file.large:
            return self._to_cdn(call, place)
        if place.repo.private or place.repo.gated or call.world.direct_public:
            return self._body(call, place)
        return self._to_cache(call, place)

    def _to_cache(self, call: Call, place: Place) -> Answer:
        """307, relative (`resolve-head-regular-public-307`)."""
        oid = place.file.oid
        route = f"/api/resolve-cache/{place.repo.kind}s/{quote(place.repo.id)}/{place.commit.id}/{quote(place.path)}"
        asked = quote(call.request.path, safe="")
        location = f"{route}?{asked}=&etag=%22{oid}%22"
        headers = [
            ("x-repo-commit", place.commit.id),
            ("x-linked-etag", f'"{oid}"'),
            ("accept-ranges", "bytes"),
            ("content-disposition", place.disposition),
            *_warning(call),
            *self._hub_cache(call, place.repo, place.commit, place.path),
        ]
        return call.redirect(307, location, headers, vary="Origin, Accept")

    def _to_cdn(self, call: Call, place: Place) -> Answer:
        """302, absolute and signed, without ETag and Content-Disposition (`resolve-head-xet-private-302`)."""
        user = call.user.public_id if call.user else "public"
        location = self._signatures.sign(call.world, place, user, call.now())
        headers = [
            ("x-repo-commit", place.commit.id),
            ("x-linked-size", str(place.file.size)),
            ("x-linked-etag", f'"{place.file.content.sha256}"'),
            ("accept-ranges", "bytes"),
            ("cache-control", "no-store"),
        ]
        if xet := place.file.xet_hash:
            refresh, reconstruction = _xet_urls(call, place)
            link = f'<{refresh}>; rel="xet-auth", <{reconstruction}>; rel="xet-reconstruction-info"'
            headers += [("x-xet-hash", xet), ("link", link)]
        headers += [*_warning(call), *self._hub_cache(call, place.repo, place.commit, place.path)]
        status = 307 if "ollama" in call.request.headers.get("user-agent", "").lower() else 302
        return call.redirect(status, location, headers, vary="Origin, Accept")

    def _fileinfo(self, call: Call, place: Place) -> Answer:
        """What `Vary: Accept` is for (HUB 6.2)."""
        refresh, reconstruction = _xet_urls(call, place)
        said = {
            "etag": f'"{place.file.content.sha256}"',
            "hash": place.file.xet_hash,
            "reconstructionUrl": reconstruction,
            "refreshUrl": refresh,
            "size": place.file.size,
        }
        return call.json(said, headers=[("x-repo-commit", place.commit.id)])

    def _body(self, call: Call, place: Place) -> Answer:
        """The bytes of a regular file, by the resolve-cache or at once (`resolve-get-regular-private-200`)."""
        content, etag = place.file.content, f'"{place.file.oid}"'
        headers = [("etag", etag), ("x-repo-commit", place.commit.id), ("accept-ranges", "bytes")]
        if etag in call.request.headers.get("if-none-match", ""):  # `resolve-cache-head-304`
            answer = call.finish(304, None, 0, headers, Plain(b""))
            answer.set("content-length", None)
            return answer
        headers += [
            ("content-disposition", place.disposition),
            ("content-security-policy", "default-src 'none'; sandbox"),
            *(_warning(call) if call.seen.kind == "resolve" else []),
            *self._hub_cache(call, place.repo, place.commit, place.path),
        ]
        type_ = media_type(content)
        if call.gzip_accepted and content.size >= call.world.gzip_from and type_ == TEXT:
            packed = Plain(zipped(content.read()))
            answer = call.gzipped(200, type_, packed, headers)  # a Range is ignored (HUB 3.4)
        else:
            answer = _ranged(call, type_, content, headers)
        answer.is_file = True
        return answer

    def _raw(self, call: Call, place: Place) -> Answer:
        """The git blob itself, a pointer for a large file; no 304 here (HUB 6.4)."""
        content = Plain(place.file.pointer) if place.file.large else place.file.content
        headers = [
            ("etag", f'"{place.file.oid}"'),
            ("x-repo-commit", place.commit.id),
            ("accept-ranges", "bytes"),
        ]
        answer = _ranged(call, media_type(content), content, headers)
        answer.is_file = True
        return answer


def _warning(call: Call) -> Headers:
    return [] if call.user else [("x-hf-warning", WARNING)]


def _xet_urls(call: Call, place: Place) -> tuple[str, str]:
    repo = f"{place.repo.kind}s/{place.repo.id}"
    refresh = f"{call.world.public_url}/api/{repo}/xet-read-token/{place.commit.id}"
    return refresh, f"{call.world.cas_url}/v1/reconstructions/{place.file.xet_hash}"


def media_type(content: Content) -> str:
    """Text is text/plain, whatever it is: nothing that a browser would run (HUB 6.2)."""
    return "application/octet-stream" if b"\0" in content.read(0, 1024) else TEXT


def _ranged(call: Call, type_: str, content: Content, headers: Headers) -> Answer:
    """200, 206 or 416 from the app: expected, not recorded (HUB 13.11)."""
    wanted = parse_range(call.request.headers.get("range"), content.size)
    if wanted is None:
        return call.finish(200, type_, content.size, headers, content)
    start, end = wanted
    if start >= end:
        unsatisfied = [*headers, ("content-range", f"bytes */{content.size}")]
        return call.finish(416, type_, 0, unsatisfied, Plain(b""))
    partly = [*headers, ("content-range", f"bytes {start}-{end - 1}/{content.size}")]
    answer = call.finish(206, type_, end - start, partly, content)
    answer.start, answer.end = start, end
    return answer


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of the one range that is asked for; start >= end where there is nothing. None: the whole."""
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    first, dash, last = header.removeprefix("bytes=").strip().partition("-")
    if not dash or not (first + last).isdecimal():
        return None
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
