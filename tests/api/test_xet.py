"""Xet over HTTP: every route and spelling, what `resolve` and listings say, and what is answered to bad requests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from hubreg.app import App
from hubreg.formats.xorb import decode_chunks
from hubreg.hub import xet_tokens
from tests.api.conftest import ANYBODY, NDJSON, STRANGE, Connect, Hub, People, bearer, ndjson
from tests.xet_client import LZ4, File, Package, Term, Xorb, cut, package, sha256_of, shard, some

pytestmark = pytest.mark.anyio

CONTENT = some(900_000)
NO_HASH = "0" * 64
FILE_INFO = "application/vnd.xet-fileinfo+json"


class Cas(httpx.AsyncClient):
    """A client of the content-addressed side, with the token of one repo."""

    async def sends(self, sent: Package) -> httpx.Response:
        for xorb in sent.xorbs:
            response = await self.post(f"/v1/xorbs/default/{xorb.name}", content=xorb.body)
            assert response.status_code == 200, response.text
        return await self.post("/v1/shards", content=sent.shard)

    async def content(self, hash_: str, part: str | None = None) -> bytes:
        """A file, put together as version 2 says; `part` is the value of a Range header."""
        headers = {"Range": part} if part else {}
        found = (await self.get(f"/v2/reconstructions/{hash_}", headers=headers)).json()
        have: dict[tuple[str, int], bytes] = {}
        for xorb, entries in found["xorbs"].items():
            for entry in entries:
                for ranges in entry["ranges"]:
                    start, end = ranges["bytes"]["start"], ranges["bytes"]["end"]
                    got = await self.get(entry["url"], headers={"Range": f"bytes={start}-{end}", **ANYBODY})
                    assert got.status_code == 206
                    assert got.headers["Content-Range"].startswith(f"bytes {start}-{end}/")
                    chunks = decode_chunks(got.content)
                    assert len(chunks) == ranges["chunks"]["end"] - ranges["chunks"]["start"]
                    have.update(
                        {(xorb, ranges["chunks"]["start"] + at): bytes(c) for at, c in enumerate(chunks)}
                    )
        whole = b"".join(
            have[term["hash"], at]
            for term in found["terms"]
            for at in range(term["range"]["start"], term["range"]["end"])
        )
        assert len(whole) == sum(term["unpacked_length"] for term in found["terms"])
        return whole[found["offset_into_first_range"] :]


class Door:
    """Opens the content-addressed side for a repo."""

    def __init__(self, connect: Connect, api: Any) -> None:
        self.connect, self.api = connect, api
        self.opened: list[Cas] = []

    async def __call__(
        self, hub: Hub, repo: str = "models/ann/model", scope: str = "write", **query: Any
    ) -> Cas:
        token = await hub.get(f"/api/{repo}/xet-{scope}-token/main", params=query)
        assert token.status_code == 200, token.text
        facts = token.json()
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
        cas = Cas(transport=transport, base_url=facts["casUrl"], headers=bearer(facts["accessToken"]))
        self.opened.append(cas)
        return cas


@pytest.fixture
async def door(connect: Connect, api: Any) -> AsyncIterator[Door]:
    door = Door(connect, api)
    yield door
    for cas in door.opened:
        await cas.aclose()


async def commit(
    hub: Hub, sent: Package, path: str = "model.safetensors", api: str = "models/ann/model"
) -> str:
    """Commit a file that was sent; the commit."""
    value = {"path": path, "algo": "sha256", "oid": sent.sha256, "size": len(sent.content)}
    body = ndjson({"key": "header", "value": {"summary": "weights"}}, {"key": "lfsFile", "value": value})
    response = await hub.post(f"/api/{api}/commit/main", content=body, headers=NDJSON)
    assert response.status_code == 200, response.text
    return str(response.json()["commitOid"])


async def stored(hub: Hub, door: Door, sent: Package | None = None) -> tuple[Package, str]:
    """A file in `ann/model` that came by Xet, and its commit."""
    sent = sent or package(CONTENT, per_xorb=5, scheme=LZ4)
    await hub.made()
    cas = await door(hub)
    assert (await cas.sends(sent)).json() == {"result": 1}
    return sent, await commit(hub, sent)


# tokens


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_a_token_comes_in_both_forms(hub: Hub, scope: str) -> None:
    """Python reads the headers, hf_xet and JavaScript the body; both say the same, and leave a while."""
    await hub.made()
    response = await hub.get(f"/api/models/ann/model/xet-{scope}-token/main")
    facts = response.json()
    assert response.headers["X-Xet-Cas-Url"] == facts["casUrl"] == "http://hub.test/cas/e1"
    assert response.headers["X-Xet-Access-Token"] == facts["accessToken"]
    assert response.headers["X-Xet-Token-Expiration"] == str(facts["exp"])
    assert response.headers["Cache-Control"] == "no-store"
    assert 15 * 60 <= xet_tokens._SECONDS <= 60 * 60


async def test_tokens_of_every_type_of_repo(hub: Hub) -> None:
    """Datasets and Spaces have them too."""
    for type_, more in (("dataset", {}), ("space", {"sdk": "static"})):
        await hub.made("ann/thing", type_, **more)
        assert (await hub.get(f"/api/{type_}s/ann/thing/xet-write-token/main")).status_code == 200


async def test_who_gets_which_token(hub: Hub, connect: Connect, people: People) -> None:
    """Readers one to read; a stranger one to write only for a pull request; nobody one of what they may not know of."""
    await hub.made()
    await hub.made("acme/secret")
    bob, anybody = connect(people.bob), connect()
    read, write = "/api/models/ann/model/xet-read-token/", "/api/models/ann/model/xet-write-token/"
    for client, url, status in [
        (anybody, f"{read}main", 200),
        (bob, f"{read}main", 200),
        (bob, f"{write}main", 403),
        (bob, f"{write}main?create_pr=1", 200),
        (bob, f"{write}None", 200),
        (bob, f"{write}None?create_pr=1", 200),
        (bob, f"{write}refs%2Fpr%2F1", 404),  # there is no such one yet
        (anybody, f"{write}None?create_pr=1", 401),
        (connect(people.ann_reads), f"{write}main", 403),
        (hub, f"{read}nowhere", 404),
        (hub, f"{write}nowhere", 404),
        (bob, "/api/models/acme/secret/xet-read-token/main", 404),
        (anybody, "/api/models/acme/secret/xet-read-token/main", 401),
        (bob, "/api/models/acme/secret/xet-write-token/None", 404),
        (hub, "/api/models/ann/absent/xet-write-token/main", 404),
    ]:
        assert (await client.get(url)).status_code == status, url


async def test_an_unknown_token_of_the_hub_is_told_so(hub: Hub, connect: Connect) -> None:
    """Anonymous for reading what is public, as everywhere, and told so where a user is needed."""
    await hub.made()
    assert (await hub.get("/api/models/ann/model/xet-read-token/main", headers=STRANGE)).status_code == 200
    refused = await hub.get("/api/models/ann/model/xet-write-token/main", headers=STRANGE)
    assert (refused.status_code, refused.headers["X-Error-Message"]) == (
        401,
        "Invalid credentials in Authorization header",
    )


@pytest.mark.parametrize("token", ["", "nonsense", "read.x.1.2.3"])
async def test_the_other_side_wants_its_own_token(hub: Hub, door: Door, token: str) -> None:
    """No token, a wrong one, and the hub's own are refused with 401 by every route but those that are signed."""
    await hub.made()
    cas = await door(hub)
    headers = bearer(token) if token else ANYBODY
    for method, path in ROUTES:
        response = await cas.request(method, path, headers=headers)
        assert response.status_code == 401, (method, path)
        assert response.headers["Content-Type"].startswith("text/plain")
        assert "Xet token" in response.text


ROUTES = [  # no HEAD: it has no words to look at
    ("GET", f"/v1/chunks/default/{NO_HASH}"),
    ("POST", f"/v1/xorb-grants/default/{NO_HASH}"),
    ("POST", f"/v1/xorbs/default/{NO_HASH}"),
    ("POST", "/v1/shards"),
    ("POST", "/v2/shards"),
    ("GET", f"/v1/reconstructions/{NO_HASH}"),
    ("GET", f"/v2/reconstructions/{NO_HASH}"),
    ("GET", f"/v1/reconstructions?file_id={NO_HASH}"),
    ("GET", f"/v1/files/{NO_HASH}"),
]


async def test_a_token_for_reading_sends_nothing(hub: Hub, door: Door) -> None:
    """403 for whatever is about sending; there is nothing to be learned from the dedup query either."""
    await hub.made()
    cas = await door(hub, scope="read")
    for method, path in [
        ("GET", f"/v1/chunks/default/{NO_HASH}"),
        ("POST", f"/v1/xorb-grants/default/{NO_HASH}"),
        ("POST", f"/v1/xorbs/default/{NO_HASH}"),
        ("POST", "/v1/shards"),
        ("POST", "/v2/shards"),
    ]:
        assert (await cas.request(method, path)).status_code == 403, path


# sending


@pytest.mark.parametrize(
    "xorbs", ["/v1/xorbs/default", "/xorbs/default", "/xorb/default-merkledb", "/xorb/anything"]
)
async def test_xorbs_by_every_spelling(hub: Hub, door: Door, xorbs: str) -> None:
    """Old clients have other paths and another prefix. A xorb is new once."""
    await hub.made()
    cas = await door(hub)
    [xorb] = package(CONTENT).xorbs
    assert (await cas.head(f"{xorbs}/{xorb.name}")).status_code == 404
    assert (await cas.post(f"{xorbs}/{xorb.name}", content=xorb.body)).json() == {"was_inserted": True}
    assert (await cas.post(f"{xorbs}/{xorb.name}", content=xorb.body)).json() == {"was_inserted": False}
    assert (await cas.head(f"{xorbs}/{xorb.name}")).status_code == 200


@pytest.mark.parametrize("path", ["/v1/shards", "/shards", "/shard/default-merkledb/" + "ab" * 32])
async def test_shards_by_every_spelling(hub: Hub, door: Door, path: str) -> None:
    """The old answers: 1 where something is new, 0 where nothing is."""
    await hub.made()
    cas = await door(hub)
    sent = package(CONTENT)
    await cas.post(f"/v1/xorbs/default/{sent.xorbs[0].name}", content=sent.xorbs[0].body)
    assert (await cas.post(path, content=sent.shard)).json() == {"result": 1}
    assert (await cas.post(path, content=sent.shard)).json() == {"result": 0}


def told(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_shard_whose_progress_is_told(hub: Hub, door: Door) -> None:
    """Lines of JSON, of which exactly one is terminal: the result."""
    await hub.made()
    cas = await door(hub)
    sent = package(CONTENT)
    await cas.post(f"/v1/xorbs/default/{sent.xorbs[0].name}", content=sent.xorbs[0].body)
    response = await cas.post("/v2/shards", content=sent.shard)
    assert response.headers["Content-Type"] == "application/x-ndjson"
    lines = told(response)
    assert lines[0] == {"type": "validating", "verified": 0, "total": 0}
    assert lines[-2:] == [{"type": "committing", "stage": "syncing"}, {"type": "result", "result": 1}]
    assert [line["type"] for line in lines].count("result") == 1


async def test_a_bad_shard_publishes_nothing(hub: Hub, door: Door) -> None:
    """A 400 with a sentence, or a last line with it that says that trying again is vain; and nothing to commit."""
    await hub.made()
    cas = await door(hub)
    sent = package(CONTENT)
    await cas.post(f"/v1/xorbs/default/{sent.xorbs[0].name}", content=sent.xorbs[0].body)
    for body, sentence in [
        (sent.lying(sha256=sha256_of(b"other")).shard, "has sha256"),
        (shard([sent.file], [Xorb((b"never sent",))]), "is not here"),
        (b"nonsense", "cut short"),
    ]:
        old = await cas.post("/v1/shards", content=body)
        assert (old.status_code, sentence in old.text) == (400, True), old.text
        new = await cas.post("/v2/shards", content=body)
        assert (new.status_code, told(new)[-1]["type"], told(new)[-1]["retryable"]) == (200, "error", False)
        assert sentence in told(new)[-1]["message"]
    for path in ("/v1/shards", "/v2/shards"):
        assert (await cas.post(path, content=bytes(65 << 20))).status_code == 413
    for sha256 in (sent.sha256, sha256_of(b"other")):
        value = {"path": "a.bin", "algo": "sha256", "oid": sha256, "size": len(CONTENT)}
        lines = ndjson({"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": value})
        refused = await hub.post("/api/models/ann/model/commit/main", content=lines, headers=NDJSON)
        assert refused.status_code == 400


async def test_a_check_that_takes_long_tells_that_it_is_alive(
    hub: Hub, door: Door, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last word of progress is said again and again: clients give up after five minutes of silence."""
    monkeypatch.setattr("hubreg.api.cas._BEAT", 0.001)
    await hub.made()
    cas = await door(hub)
    sent = package(CONTENT)
    await cas.post(f"/v1/xorbs/default/{sent.xorbs[0].name}", content=sent.xorbs[0].body)
    body, lines, enough = [sent.shard], list[bytes](), asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not body:
            await asyncio.Event().wait()  # it stays, and says no more
        return {"type": "http.request", "body": body.pop(), "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        lines.append(message.get("body", b""))
        if sum(b"validating" in line for line in lines) == 5:
            enough.set()

    asked = cas.build_request("POST", "/v2/shards", content=sent.shard)
    async with asyncio.timeout(60):
        async with app.db.write():  # for which the check waits in the end
            request = asyncio.ensure_future(door.api(scope_of(asked), receive, send))
            await enough.wait()
        await request
    assert json.loads(b"".join(lines).splitlines()[-1]) == {"type": "result", "result": 1}


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_whoever_leaves_is_not_worked_for(hub: Hub, door: Door, app: App, version: str) -> None:
    """A check whose client has gone ends, in the middle: its place is another's. The next try is as good as new."""
    await hub.made()
    cas = await door(hub)
    sent = package(CONTENT)
    await cas.post(f"/v1/xorbs/default/{sent.xorbs[0].name}", content=sent.xorbs[0].body)
    asked = cas.build_request("POST", f"/{version}/shards", content=sent.shard)
    watched, gone = asyncio.Event(), asyncio.Event()
    body = [sent.shard]

    async def receive() -> dict[str, Any]:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        watched.set()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    told: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        async with app.db.write():  # for which the check waits in the end
            request = asyncio.ensure_future(door.api(scope_of(asked), receive, send))
            await watched.wait()
            assert not request.done()
            gone.set()
            await asyncio.gather(request, return_exceptions=True)
        assert not any(b'"result"' in message.get("body", b"") for message in told)
        assert list(app.layout.incoming.iterdir()) == []
        assert (await cas.post("/v1/shards", content=sent.shard)).json() == {"result": 1}


def scope_of(request: httpx.Request) -> dict[str, Any]:
    """A request as servers hand it to an application."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 1),
        "server": (request.url.host, 80),
        "state": {},
    }


async def test_grants_are_not_offered(hub: Hub, door: Door) -> None:
    """404 sends a client to the plain way; 200 saves it the sending where the xorb is here."""
    await hub.made()
    cas = await door(hub)
    [xorb] = package(CONTENT).xorbs
    asked = {"length": len(xorb.body), "checksum": {"algo": "crc64nvme", "value": "123"}}
    assert (await cas.post(f"/v1/xorb-grants/default/{xorb.name}", json=asked)).status_code == 404
    assert (await cas.post(f"/v1/xorb-commits/default/{xorb.name}/grant/1")).status_code == 404
    await cas.post(f"/v1/xorbs/default/{xorb.name}", content=xorb.body)
    assert (await cas.post(f"/v1/xorb-grants/default/{xorb.name}", json=asked)).status_code == 200


BAD_XORBS: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "cut short": (package(CONTENT).xorbs[0].body[:-1], 400),
    "too long": (package(CONTENT).xorbs[0].body + b"\0\0\0", 400),
    "nonsense": (b"\xff" * 1000, 400),
    "another's name": (package(b"other").xorbs[0].body, 400),
    "no LZ4": (bytes([0, 5, 0, 0, 1, 9, 0, 0]) + b"hello", 400),
    "a million tiny chunks": (package(b"x").xorbs[0].body * 1_000_000, 413),
    "larger than any xorb": (bytes(66 << 20), 413),
}


@pytest.mark.parametrize("kind", BAD_XORBS)
async def test_a_bad_xorb_is_refused_for_good(hub: Hub, door: Door, app: App, kind: str) -> None:
    """A sentence and a status that no client tries again; nothing is kept."""
    await hub.made()
    cas = await door(hub)
    body, status = BAD_XORBS[kind]
    name = package(CONTENT).xorbs[0].name
    response = await cas.post(f"/v1/xorbs/default/{name}", content=body)
    assert response.status_code == status, response.text
    assert len(response.text) > 10
    assert (await cas.head(f"/v1/xorbs/default/{name}")).status_code == 404
    assert not any(path.is_file() for path in (*app.layout.xorbs.rglob("*"), *app.layout.incoming.iterdir()))


async def test_a_bomb_unpacks_to_nothing(hub: Hub, door: Door) -> None:
    """A chunk of which the header says less than the frame unpacks to, by a factor of hundreds: refused, unread."""
    import lz4.frame

    await hub.made()
    cas = await door(hub)
    frame = lz4.frame.compress(bytes(40_000_000))
    body = bytes([0, *len(frame).to_bytes(3, "little"), 1, *(131_072).to_bytes(3, "little")]) + frame
    assert len(frame) < 262_144
    response = await cas.post(f"/v1/xorbs/default/{NO_HASH}", content=body)
    assert (response.status_code, "does not unpack" in response.text) == (400, True)


async def test_what_is_no_hash(hub: Hub, door: Door) -> None:
    """A name that is none is the request's fault, not something that is not there."""
    await hub.made()
    cas = await door(hub)
    for name in ("abc", "Z" * 64, "A" * 64):
        for method, path in [("POST", f"/v1/xorbs/default/{name}"), ("GET", f"/v2/reconstructions/{name}")]:
            assert (await cas.request(method, path)).status_code == 400


async def test_the_same_xorb_by_many_at_once(hub: Hub, door: Door, app: App) -> None:
    """One of them is told that it was new."""
    await hub.made()
    cas = await door(hub)
    [xorb] = package(CONTENT).xorbs
    answers = await asyncio.gather(
        *(cas.post(f"/v1/xorbs/default/{xorb.name}", content=xorb.body) for _ in range(8))
    )
    assert [answer.json()["was_inserted"] for answer in answers].count(True) == 1
    assert len([path for path in app.layout.xorbs.rglob("*") if path.is_file()]) == 1


async def test_lfs_leads_to_xet_who_speaks_it(hub: Hub, connect: Connect, people: People) -> None:
    """The batch call gives a token at once and where to get the next; who does not speak Xet is served as before."""
    await hub.made()
    sent = package(CONTENT)
    asked = {"operation": "upload", "transfers": ["basic", "multipart", "xet"],
             "objects": [{"oid": sent.sha256, "size": len(CONTENT)}], "ref": {"name": "refs/heads/main"}}  # fmt: skip
    answer = (await hub.post("/ann/model.git/info/lfs/objects/batch", json=asked)).json()
    assert answer["transfer"] == "xet"
    action = answer["objects"][0]["actions"]["upload"]
    assert action["href"] == "http://hub.test/api/models/ann/model/xet-write-token/main"
    assert action["header"]["X-Xet-Cas-Url"] == "http://hub.test/cas/e1"
    assert (await hub.get(action["href"])).status_code == 200
    by_bob = (await connect(people.bob).post("/ann/model.git/info/lfs/objects/batch", json=asked)).json()
    proposing = by_bob["objects"][0]["actions"]["upload"]["href"]
    assert (await connect(people.bob).get(proposing)).status_code == 200
    for transfers in (["basic"], ["basic", "multipart"]):
        plain = (
            await hub.post("/ann/model.git/info/lfs/objects/batch", json={**asked, "transfers": transfers})
        ).json()
        assert plain["transfer"] == "basic"


# what the hub says of a file


async def test_resolve_offers_xet(hub: Hub, door: Door) -> None:
    """At the commit and on the way there: the hash, and absolute links to the token and to the reconstruction."""
    sent, sha = await stored(hub, door)
    for revision in ("main", sha):
        response = await hub.head(f"/ann/model/resolve/{revision}/model.safetensors")
        assert response.headers["X-Xet-Hash"] == sent.file.name
        assert response.headers["X-Linked-Size"] == str(len(CONTENT))
        assert response.headers["X-Linked-ETag"] == f'"{sent.sha256}"'
        links = {rel: url for url, rel in re.findall('<([^>]*)>; rel="([^"]*)"', response.headers["Link"])}
        assert links["xet-auth"] == f"http://hub.test/api/models/ann/model/xet-read-token/{sha}"
        assert (
            links["xet-reconstruction-info"] == f"http://hub.test/cas/e1/v1/reconstructions/{sent.file.name}"
        )
        assert response.headers["X-Xet-Refresh-Route"] == links["xet-auth"]
        assert (await hub.get(links["xet-auth"])).status_code == 200


async def test_links_lead_to_where_the_caller_came_from(
    hub: Hub, door: Door, connect: Connect, people: People
) -> None:
    """What is kept for one host is not told to who came by another."""
    _, sha = await stored(hub, door)
    other = connect(people.ann, base_url="http://other.test:81")
    for client, base in [
        (hub, "http://hub.test/"),
        (other, "http://other.test:81/"),
        (hub, "http://hub.test/"),
    ]:
        for _ in range(2):
            response = await client.head(f"/ann/model/resolve/{sha}/model.safetensors")
            assert response.headers["Link"].startswith(f"<{base}api/")


async def test_listings_agree_with_resolve(hub: Hub, door: Door) -> None:
    """`xetHash` beside `lfs`, for files that are offered; a file that came by LFS, or small, has none."""
    sent, _ = await stored(hub, door)
    await hub.large("models/ann/model", "plain.bin", b"plain" * 1000)
    await hub.commit("models/ann/model", {"README.md": b"text"})
    for _ in range(2):
        tree = (await hub.get("/api/models/ann/model/tree/main")).json()
        asked = {"paths": ["model.safetensors", "plain.bin", "README.md"]}
        infos = (await hub.post("/api/models/ann/model/paths-info/main", json=asked)).json()
        for entries in (tree, infos):
            hashes = {entry["path"]: entry.get("xetHash") for entry in entries}
            assert hashes["model.safetensors"] == sent.file.name
            assert hashes["plain.bin"] is hashes["README.md"] is None
    head = await hub.head("/ann/model/resolve/main/plain.bin", follow_redirects=True)
    assert "X-Xet-Hash" not in head.headers


async def test_a_file_that_comes_to_be_offered_is_listed_so(hub: Hub, door: Door) -> None:
    """What was kept of a listing does not outlive the moment from which a file is offered."""
    await hub.made()
    sent = package(CONTENT)
    await hub.large("models/ann/model", "model.safetensors", CONTENT)
    for url in ("/api/models/ann/model/tree/main", "/api/models/ann/model/tree/main?expand=true"):
        assert all("xetHash" not in entry for entry in (await hub.get(url)).json())
    assert (await (await door(hub)).sends(sent)).json() == {"result": 0}
    for url in ("/api/models/ann/model/tree/main", "/api/models/ann/model/tree/main?expand=true"):
        assert {e["path"]: e.get("xetHash") for e in (await hub.get(url)).json()}[
            "model.safetensors"
        ] == sent.file.name
    head = await hub.head("/ann/model/resolve/main/model.safetensors")
    assert head.headers["X-Xet-Hash"] == sent.file.name


async def test_old_clients_ask_whether_there_is_xet(hub: Hub) -> None:
    """0.30 to 0.35 decide by this."""
    await hub.made()
    answer = (await hub.get("/api/models/ann/model/revision/main", params={"expand": "xetEnabled"})).json()
    assert answer["xetEnabled"] is True
    assert "xetEnabled" not in (await hub.get("/api/models/ann/model")).json()


async def test_file_info_for_javascript(hub: Hub, door: Door) -> None:
    """Who accepts its media type is told what the file is, in headers and body; of another file, its bytes."""
    sent, sha = await stored(hub, door)
    headers = {"Range": "bytes=0-0", "Accept": f"{FILE_INFO}, */*"}
    response = await hub.get(
        "/ann/model/resolve/main/model.safetensors", headers=headers, follow_redirects=True
    )
    assert (response.status_code, response.headers["Content-Type"]) == (200, FILE_INFO)
    assert response.json() == {
        "hash": sent.file.name,
        "refreshUrl": f"http://hub.test/api/models/ann/model/xet-read-token/{sha}",
        "reconstructionUrl": f"http://hub.test/cas/e1/v1/reconstructions/{sent.file.name}",
        "etag": f'"{sent.sha256}"',
        "size": len(CONTENT),
    }
    assert response.headers["X-Linked-Size"] == str(len(CONTENT))
    assert "Accept" in response.headers["Vary"]
    plain = await hub.get(f"/ann/model/resolve/{sha}/model.safetensors", headers={"Range": "bytes=0-0"})
    assert (plain.status_code, plain.content) == (206, CONTENT[:1])
    other = await hub.get("/ann/model/resolve/main/.gitattributes", headers=headers, follow_redirects=True)
    assert other.status_code == 206


# reading


async def test_the_same_bytes_by_any_door(hub: Hub, door: Door, connect: Connect) -> None:
    """Plain HTTP with ranges, LFS, and Xet give what came by Xet."""
    sent, sha = await stored(hub, door)
    path = f"/ann/model/resolve/{sha}/model.safetensors"
    assert (await hub.get(path)).content == CONTENT
    for text, piece in [("0-9", CONTENT[:10]), ("300000-", CONTENT[300_000:]), ("-5", CONTENT[-5:])]:
        response = await hub.get(path, headers={"Range": f"bytes={text}"})
        assert (response.status_code, response.content) == (206, piece)
    assert (await hub.get(path, headers={"Range": f"bytes={len(CONTENT)}-"})).status_code == 416
    head = await hub.head(path)
    assert (head.headers["Content-Length"], head.content) == (str(len(CONTENT)), b"")
    asked = {"operation": "download", "objects": [{"oid": sent.sha256, "size": len(CONTENT)}]}
    batch = (await hub.post("/ann/model.git/info/lfs/objects/batch", json=asked)).json()
    assert (await hub.get(batch["objects"][0]["actions"]["download"]["href"])).content == CONTENT
    reader = await door(connect(), scope="read")
    assert await reader.content(sent.file.name) == CONTENT
    part = await reader.content(sent.file.name, "bytes=250000-699999")  # and the rest of the last chunk
    assert part[:450_000] == CONTENT[250_000:700_000]


@pytest.mark.parametrize("version", ["v1/reconstructions", "reconstructions", "reconstruction"])
async def test_reconstructions_of_version_1(hub: Hub, door: Door, version: str) -> None:
    """The older form has each range with a URL of its own: clients up to 1.2 take the same URL for the same bytes."""
    sent, _ = await jumping(hub, door)
    cas = await door(hub, scope="read")
    old = (await cas.get(f"/{version}/{sent.file.name}")).json()
    new = (await cas.get(f"/v2/reconstructions/{sent.file.name}")).json()
    assert old["terms"] == new["terms"]
    assert old["offset_into_first_range"] == 0
    for xorb, entries in new["xorbs"].items():
        wanted = [(r["chunks"], r["bytes"]) for entry in entries for r in entry["ranges"]]
        assert [(info["range"], info["url_range"]) for info in old["fetch_info"][xorb]] == wanted
    urls = [info["url"] for infos in old["fetch_info"].values() for info in infos]
    assert len(set(urls)) == len(urls)


async def test_a_part_of_a_file(hub: Hub, door: Door) -> None:
    """Whole chunks around the range, and how much of the first is not asked for; past the end 416."""
    sent, _ = await stored(hub, door)
    cas = await door(hub, scope="read")
    url = f"/v2/reconstructions/{sent.file.name}"
    for version in ("v1", "v2"):
        for text in (f"bytes={len(CONTENT)}-{len(CONTENT) + 9}", "bytes=1000000000-2000000000"):
            response = await cas.get(url.replace("v2", version), headers={"Range": text})
            assert response.status_code == 416
    first = len(cut(CONTENT)[0])
    part = (await cas.get(url, headers={"Range": f"bytes={first + 3}-{first + 4}"})).json()
    assert part["offset_into_first_range"] == 3
    assert [term["range"] for term in part["terms"]] == [{"start": 1, "end": 2}]
    whole = (await cas.get(url)).json()
    for text in ("bytes=0-99999999", "bytes=nonsense", "bytes=9-3", "bytes=-5", "lines=1-2"):
        assert (await cas.get(url, headers={"Range": text})).json()["terms"] == whole["terms"]


async def test_several_reconstructions_at_once(hub: Hub, door: Door) -> None:
    """By GET as hf_xet asks and by POST as is documented; what the repo does not hold is left out."""
    sent, _ = await stored(hub, door)
    cas = await door(hub, scope="read")
    one = (await cas.get(f"/v1/reconstructions/{sent.file.name}")).json()
    query = [("file_id", sent.file.name), ("file_id", NO_HASH)]
    for answer in (
        await cas.get("/v1/reconstructions", params=query),
        await cas.post("/v1/reconstructions", json=[sent.file.name, NO_HASH]),
    ):
        assert answer.json()["files"] == {sent.file.name: one["terms"]}
        assert answer.json()["fetch_info"].keys() == one["fetch_info"].keys()
    assert (await cas.post("/v1/reconstructions", json=[NO_HASH] * 101)).status_code == 400
    assert (await cas.post("/v1/reconstructions", json=["nonsense"])).status_code == 400
    assert (await cas.post("/v1/reconstructions", json={"a": 1})).status_code == 400


async def test_what_a_batch_of_reconstructions_may_ask_for(hub: Hub, door: Door) -> None:
    """A file that is named twice is told once; files of very many terms are for asking one by one."""
    await hub.made()
    cas = await door(hub)
    xorb = Xorb(tuple(b"%04d" % number for number in range(9)))
    proofs = [Term(xorb, at, at + 1).render_proof()[:32] for at in range(9)]
    files = [
        File(tuple(Term(xorb, at % 9, at % 9 + 1, 4, proofs[at % 9], xorb.hash) for at in range(count)))
        for count in (7001, 7002, 7003)
    ]
    await cas.post(f"/v1/xorbs/default/{xorb.name}", content=xorb.body)
    for file in files:
        assert (await cas.post("/v1/shards", content=shard([file], []))).json() == {"result": 1}
    names = [file.name for file in files]
    one = (await cas.get(f"/v1/reconstructions/{names[0]}")).json()
    assert len(one["terms"]) == 7001
    for asked in (names[:1], names[:1] * 100):
        answer = (await cas.post("/v1/reconstructions", json=asked)).json()
        assert answer["files"] == {names[0]: one["terms"]}
        assert [info["range"] for info in answer["fetch_info"][xorb.name]] == [{"start": 0, "end": 9}]
    two = (await cas.post("/v1/reconstructions", json=names[:2])).json()
    assert {name: len(terms) for name, terms in two["files"].items()} == {names[0]: 7001, names[1]: 7002}
    assert len(two["fetch_info"][xorb.name]) == 2
    assert (await cas.post("/v1/reconstructions", json=names)).status_code == 413


async def test_another_repos_file_is_not_there(hub: Hub, door: Door) -> None:
    """With the token of one repo the files of another do not exist, by any route."""
    sent, _ = await stored(hub, door)
    await hub.made("ann/other")
    cas = await door(hub, "models/ann/other")
    for path in ("/v1/reconstructions/", "/v2/reconstructions/", "/v1/files/"):
        assert (await cas.get(path + sent.file.name)).status_code == 404
    assert (await cas.get("/v1/reconstructions", params={"file_id": sent.file.name})).json()["files"] == {}


async def test_a_file_by_its_xet_hash(hub: Hub, door: Door) -> None:
    """HEAD tells its size, GET gives it."""
    sent, _ = await stored(hub, door)
    cas = await door(hub, scope="read")
    head = await cas.head(f"/v1/files/{sent.file.name}")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(CONTENT)))
    assert (await cas.get(f"/v1/files/{sent.file.name}")).content == CONTENT


async def jumping(hub: Hub, door: Door) -> tuple[Package, dict[str, Any]]:
    """A file of which one xorb has two ranges that do not touch, and its reconstruction."""
    whole = package(CONTENT)
    [xorb] = whole.xorbs
    terms = (Term(xorb, 0, 2), Term(xorb, 4, 6))
    content = b"".join(b"".join(xorb.chunks[term.start : term.end]) for term in terms)
    sent, _ = await stored(hub, door, Package(content, whole.xorbs, File(terms, sha256_of(content))))
    cas = await door(hub, scope="read")
    return sent, (await cas.get(f"/v2/reconstructions/{sent.file.name}")).json()


async def test_several_ranges_in_one_answer(hub: Hub, door: Door) -> None:
    """multipart/byteranges, the parts in order and each with its place; one range is plain."""
    sent, found = await jumping(hub, door)
    [xorb] = sent.xorbs
    [entry] = found["xorbs"][xorb.name]
    ranges = [(r["bytes"]["start"], r["bytes"]["end"]) for r in entry["ranges"]]
    assert len(ranges) == 2
    asked = ", ".join(f"{start}-{end}" for start, end in ranges)
    response = await hub.get(entry["url"], headers={"Range": f"bytes={asked}", **ANYBODY})
    assert response.status_code == 206
    kind, _, boundary = response.headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    assert int(response.headers["Content-Length"]) == len(response.content)
    parts = response.content.split(b"--" + boundary.encode())
    assert (parts[0], parts[-1]) == (b"", b"--\r\n")
    for (start, end), part in zip(ranges, parts[1:-1], strict=True):
        head, _, body = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        assert f"Content-Range: bytes {start}-{end}/{len(xorb.body)}".encode() in head
        assert body.removesuffix(b"\r\n") == xorb.body[start : end + 1]
    start, end = ranges[1]
    one = await hub.get(entry["url"], headers={"Range": f"bytes={start}-{end}", **ANYBODY})
    assert (one.content, one.headers["Content-Range"]) == (
        xorb.body[start : end + 1],
        f"bytes {start}-{end}/{len(xorb.body)}",
    )


async def test_a_signed_url_is_good_for_its_ranges(hub: Hub, door: Door, app: App) -> None:
    """Bytes between, beside or instead of them, an altered or old URL: 403; past the end: 416."""
    sent, found = await jumping(hub, door)
    [xorb] = sent.xorbs
    [entry] = found["xorbs"][xorb.name]
    url, size = entry["url"], len(xorb.body)
    (_, end), (start, _) = ((r["bytes"]["start"], r["bytes"]["end"]) for r in entry["ranges"])
    for wrong, status in [
        (f"bytes=0-{size - 1}", 403),
        (f"bytes={end + 1}-{start - 1}", 403),
        (f"bytes=0-{end + 1}", 403),
        (f"bytes=0-{end},{end + 1}-{end + 1}", 403),
        (f"bytes={size}-{size + 5}", 416),
        ("bytes=99999999999999999999-", 416),
    ]:
        assert (await hub.get(url, headers={"Range": wrong, **ANYBODY})).status_code == status, wrong
    other = url.replace(xorb.name, package(b"other").xorbs[0].name)
    for altered in (
        url[:-1],
        url.replace("ranges=0-", "ranges=1-"),
        re.sub(r"expires=\d+", "expires=1", url),
        other,
    ):
        response = await hub.get(altered, headers={"Range": f"bytes=0-{end}", **ANYBODY})
        assert (response.status_code, "link" in response.text) == (403, True)
    head = await hub.head(url, headers={"Range": f"bytes=0-{end}", **ANYBODY})
    assert (head.status_code, head.headers["Content-Length"]) == (206, str(end + 1))


async def test_a_whole_xorb(hub: Hub, door: Door) -> None:
    """As a range however far past the end it goes, and without one as what it is: the whole."""
    sent, _ = await stored(hub, door, package(CONTENT))
    [xorb] = sent.xorbs
    found = (await (await door(hub, scope="read")).get(f"/v2/reconstructions/{sent.file.name}")).json()
    url, size = found["xorbs"][xorb.name][0]["url"], len(xorb.body)
    for asked in ("bytes=0-", f"bytes=0-{size}", "bytes=0-99999999999999999999"):
        part = await hub.get(url, headers={"Range": asked, **ANYBODY})
        assert (part.status_code, part.headers["Content-Range"]) == (206, f"bytes 0-{size - 1}/{size}")
        assert part.content == xorb.body
    whole = await hub.get(url, headers=ANYBODY)
    assert (whole.status_code, whole.content) == (200, xorb.body)
    assert "Content-Range" not in whole.headers
    many = ",".join(f"{at}-{at}" for at in range(0, 130, 2))
    assert (await hub.get(url, headers={"Range": f"bytes={many}", **ANYBODY})).content == xorb.body


async def test_a_chunk_that_is_known_saves_sending(hub: Hub, door: Door) -> None:
    """By every spelling and prefix; 404 for one that is not known."""
    sent, _ = await stored(hub, door)
    cas = await door(hub)
    first = Xorb((cut(CONTENT)[0],)).name
    for path in (
        "/v1/chunks/default",
        "/v1/chunks/default-merkledb",
        "/chunks/default",
        "/chunk/default-merkledb",
    ):
        assert (await cas.get(f"{path}/{NO_HASH}")).status_code == 404
        answer = await cas.get(f"{path}/{first}")
        assert answer.content.startswith(b"HFRepoMetaData\0")
        assert sent.xorbs[0].hash in answer.content


async def test_telemetry_goes_nowhere(hub: Hub) -> None:
    """It is sent to the origin, whatever the path of `casUrl`, and by nobody in particular."""
    assert (await hub.post("/v1/telemetry", json={"a": 1}, headers=ANYBODY)).status_code == 200


async def test_another_epoch_is_understood(hub: Hub, door: Door) -> None:
    """A client that still has a token from before the epoch was raised goes on until that expires."""
    sent, _ = await stored(hub, door)
    cas = await door(hub, scope="read")
    response = await cas.get(f"http://hub.test/cas/e9/v2/reconstructions/{sent.file.name}")
    assert response.status_code == 200


async def test_a_copied_file_is_read_by_xet_in_its_new_repo(hub: Hub, door: Door) -> None:
    """`lfs-files/duplicate` names what current clients name, Xet hash and all."""
    sent, _ = await stored(hub, door)
    await hub.made("ann/copy")
    asked = {
        "target": {"type": "model", "name": "ann/copy"},
        "files": [{"xetHash": sent.file.name, "sha256": sent.sha256, "filename": "model.safetensors"}],
    }
    done = await hub.post("/api/models/ann/model/lfs-files/duplicate", json=asked)
    assert done.json() == {"failed": []}
    reader = await door(hub, "models/ann/copy", scope="read")
    assert await reader.content(sent.file.name) == CONTENT


async def test_a_false_sha256_reaches_no_other_client(
    hub: Hub, door: Door, connect: Connect, people: People
) -> None:
    """
    A shard in which everything is right but the sha256, which is that of somebody's file: refused by either version,
    before that file is here and after. Whoever reads that file, by whichever door, reads what its owner sent.
    """
    bob = connect(people.bob)
    await bob.made("bob/model")
    theirs, wanted = package(some(300_000, 9)), package(CONTENT)
    cas = await door(bob, "models/bob/model")

    async def poison() -> None:
        false = theirs.lying(sha256=wanted.sha256)
        refused = await cas.sends(false)
        assert (refused.status_code, "has sha256" in refused.text) == (400, True)
        last = told(await cas.post("/v2/shards", content=false.shard))[-1]
        assert (last["type"], last["retryable"]) == ("error", False)
        value = {"path": "a.bin", "algo": "sha256", "oid": wanted.sha256, "size": len(CONTENT)}
        lines = ndjson({"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": value})
        url = "/api/models/bob/model/commit/main"
        assert (await bob.post(url, content=lines, headers=NDJSON)).status_code == 400

    await poison()
    _, at = await stored(hub, door, wanted)
    await poison()
    assert (await cas.sends(theirs)).json() == {"result": 1}  # under its own name it is welcome
    await poison()
    reader = connect(people.ann_reads)
    url = f"/ann/model/resolve/{at}/model.safetensors"
    plain = await reader.get(url)
    assert (plain.content, plain.headers["X-Xet-Hash"]) == (CONTENT, wanted.file.name)
    assert await (await door(reader, scope="read")).content(wanted.file.name) == CONTENT
    assert (await cas.get(f"/v2/reconstructions/{wanted.file.name}")).status_code == 404


async def test_an_expired_token_is_refused(
    hub: Hub, door: Door, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401, by which clients know to ask for another; also one that was good a moment ago."""
    await stored(hub, door)
    cas = await door(hub)
    assert (await cas.get(f"/v2/reconstructions/{package(CONTENT).file.name}")).status_code == 200
    later = app.clock() + 3_600_000
    monkeypatch.setattr(app.links, "_clock", lambda: later)
    for method, path in ROUTES:
        response = await cas.request(method, path)
        assert (response.status_code, "expired" in response.text) == (401, True), (method, path)


async def test_an_expired_url_is_refused(
    hub: Hub, door: Door, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """403, upon which clients ask for the reconstruction again."""
    _, found = await jumping(hub, door)
    entry = next(iter(found["xorbs"].values()))[0]
    end = entry["ranges"][0]["bytes"]["end"]
    asked = {"Range": f"bytes=0-{end}", **ANYBODY}
    assert (await hub.get(entry["url"], headers=asked)).status_code == 206
    later = app.clock() + 2 * 3_600_000
    monkeypatch.setattr(app.links, "_clock", lambda: later)
    response = await hub.get(entry["url"], headers=asked)
    assert (response.status_code, "expired" in response.text) == (403, True)
