"""Large files by HTTP: the batch call, and URLs that authenticate themselves."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest

from tests.api.conftest import ANYBODY, NDJSON, Connect, Hub, People, bearer, golden, ndjson
from tests.api.likeness import missing

pytestmark = pytest.mark.anyio

BATCH = "/ann/model.git/info/lfs/objects/batch"
CONTENT = b"weights " * 5000
OID = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
async def model(hub: Hub) -> str:
    return await hub.made()


async def _batch(hub: Hub, operation: str = "upload", **more: Any) -> dict[str, Any]:
    body = {
        "operation": operation, "transfers": ["basic", "multipart"], "hash_algo": "sha256",
        "objects": [{"oid": OID, "size": len(CONTENT)}], **more,
    }  # fmt: skip
    response = await hub.post(BATCH, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/vnd.git-lfs+json"
    answer: dict[str, Any] = response.json()
    return answer


async def _href(hub: Hub) -> str:
    href: str = (await _batch(hub))["objects"][0]["actions"]["upload"]["href"]
    return href


async def _sent(hub: Hub) -> None:
    assert (await hub.put(await _href(hub), content=CONTENT, headers=ANYBODY)).status_code == 200


async def test_a_file_in_one_body(hub: Hub) -> None:
    """Asked for, sent without credentials, verified with them; the second time there is nothing to do."""
    answer = await _batch(hub)
    assert answer["transfer"] == "basic"
    [asked] = answer["objects"]
    recorded = golden("lfs-batch-upload-basic-200")["body"]["objects"][0]
    assert set(missing(asked, recorded)) <= {".authenticated is missing"}
    assert asked["actions"]["upload"]["href"].startswith("http://hub.test/lfs/")
    sent = await hub.put(asked["actions"]["upload"]["href"], content=CONTENT, headers=ANYBODY)
    assert (sent.status_code, sent.headers["ETag"]) == (200, f'"{OID}"')
    verify = asked["actions"]["verify"]["href"]
    assert (await hub.post(verify, json={"oid": OID, "size": len(CONTENT)})).status_code == 200
    assert "actions" not in (await _batch(hub))["objects"][0]


@pytest.mark.parametrize("settings", [{"multipart_from": 10_000, "part_size": 16_384}], ids=[""])
async def test_a_file_in_parts(hub: Hub) -> None:
    """Exactly as many URLs as parts, under digits; each part has an ETag; completion needs no credentials."""
    [asked] = (await _batch(hub))["objects"]
    upload = asked["actions"]["upload"]
    size = int(upload["header"].pop("chunk_size"))
    urls = [url for _, url in sorted(upload["header"].items())]
    assert len(urls) == -(-len(CONTENT) // size)
    assert all(key.isdigit() for key in upload["header"])
    parts = []
    for number, url in enumerate(urls, 1):
        sent = await hub.put(url, content=CONTENT[(number - 1) * size : number * size], headers=ANYBODY)
        parts.append({"partNumber": number, "etag": sent.headers["ETag"]})
    done = await hub.post(upload["href"], json={"oid": OID, "parts": parts}, headers=ANYBODY)
    assert done.status_code == 200, done.text
    assert "actions" not in (await _batch(hub))["objects"][0]


async def test_a_file_out(hub: Hub) -> None:
    """git-lfs asks for a URL that authenticates itself; whole, in part, and if it has it already not at all."""
    await _sent(hub)
    [asked] = (await _batch(hub, "download"))["objects"]
    href = asked["actions"]["download"]["href"]
    assert (await hub.get(href, headers=ANYBODY)).content == CONTENT
    part = await hub.get(href, headers={"Range": "bytes=8-15", **ANYBODY})
    assert (part.status_code, part.content) == (206, CONTENT[8:16])
    assert (await hub.get(href, headers={"If-None-Match": f'"{OID}"'})).status_code == 304
    assert (await hub.head(href)).headers["Content-Length"] == str(len(CONTENT))
    absent = {"oid": "0" * 64, "size": 5}
    [asked] = (await _batch(hub, "download", objects=[absent]))["objects"]
    assert asked["error"]["code"] == 404


@pytest.mark.parametrize(
    "change",
    [
        lambda href: href.replace("size=40000", "size=40001"),
        lambda href: re.sub(r"by=\d+", "by=99", href),
        lambda href: re.sub("signature=.", "signature=_", href),
        lambda href: re.sub(r"expires=\d+", "expires=99999999999", href),
        lambda href: href.replace(OID, "0" * 64),
        lambda href: re.sub("/lfs/[0-9a-f]+/", "/lfs/" + "0" * 24 + "/", href),
        lambda href: href.partition("?")[0],
        lambda href: href.replace("expires=", "expires=x"),
    ],
)
async def test_an_altered_url_is_worth_nothing(hub: Hub, change: Any) -> None:
    """403 LinkRefused, and nothing is kept."""
    href = change(await _href(hub))
    response = await hub.put(href, content=CONTENT, headers=ANYBODY)
    assert (response.status_code, response.headers["X-Error-Code"]) == (403, "LinkRefused")
    assert "actions" in (await _batch(hub))["objects"][0]


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"W" + CONTENT[1:], b""])
async def test_other_bytes_than_announced_are_refused(hub: Hub, content: bytes) -> None:
    """400 or 413, and nothing is kept: too few, too many, others."""
    response = await hub.put(await _href(hub), content=content, headers=ANYBODY)
    assert response.status_code in (400, 413)
    assert response.json()["error"]
    assert "actions" in (await _batch(hub))["objects"][0]


async def test_an_upload_url_is_not_a_download_url(hub: Hub) -> None:
    """Each is good for one thing."""
    href = await _href(hub)
    await hub.put(href, content=CONTENT, headers=ANYBODY)
    assert (await hub.get(href, headers=ANYBODY)).status_code == 403


async def test_who_may_upload(hub: Hub, people: People) -> None:
    """Whoever may propose; git-lfs gives its token as a password, and is asked for one."""
    body = {"operation": "upload", "objects": [{"oid": OID, "size": len(CONTENT)}]}
    anybody = await hub.post(BATCH, json=body, headers=ANYBODY)
    assert anybody.status_code == 401
    assert anybody.headers["WWW-Authenticate"].startswith("Basic ")
    assert anybody.json()["message"]
    assert (await hub.post(BATCH, json=body, headers=bearer(people.ann_reads))).status_code == 403
    assert (await hub.post(BATCH, json=body, headers=bearer(people.bob))).status_code == 200
    basic = await hub.post(BATCH, json=body, headers={"Authorization": ""}, auth=("anything", people.ann))
    assert basic.status_code == 200


async def test_knowing_a_sha256_is_no_right_to_it(hub: Hub, connect: Connect, people: People) -> None:
    """Another repo must be sent the bytes though the server has them, and offers no download."""
    await _sent(hub)
    bob = connect(people.bob)
    await bob.made("bob/other")
    body = {"operation": "upload", "objects": [{"oid": OID, "size": len(CONTENT)}]}
    [asked] = (await bob.post("/bob/other.git/info/lfs/objects/batch", json=body)).json()["objects"]
    assert "upload" in asked["actions"]
    line = {"key": "lfsFile", "value": {"path": "w.bin", "algo": "sha256", "oid": OID, "size": len(CONTENT)}}
    stolen = await bob.post(
        "/api/models/bob/other/commit/main",
        content=ndjson({"key": "header", "value": {"summary": "mine"}}, line), headers=NDJSON,
    )  # fmt: skip
    assert stolen.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nonsense", b"{}", b'{"operation": "steal", "objects": []}',
        b'{"operation": "upload", "objects": [{"oid": "short", "size": 1}]}',
        b'{"operation": "upload", "objects": [{"oid": "' + b"0" * 64 + b'", "size": -1}]}',
        b'{"operation": "upload", "objects": [{"oid": "' + b"0" * 64 + b'", "size": "1"}]}',
    ],
)  # fmt: skip
async def test_nonsense_in_a_batch(hub: Hub, body: bytes) -> None:
    """400 with a `message`, which git-lfs shows."""
    response = await hub.post(BATCH, content=body)
    assert response.status_code == 400
    assert response.json()["message"]


async def test_there_are_no_locks(hub: Hub) -> None:
    """404: git-lfs goes on without."""
    assert (await hub.post("/ann/model.git/info/lfs/locks/verify", json={})).status_code == 404


async def test_verify_of_what_was_never_sent(hub: Hub) -> None:
    """404, so that a client sends it again."""
    response = await hub.post("/ann/model.git/info/lfs/verify", json={"oid": OID, "size": len(CONTENT)})
    assert response.status_code == 404


async def test_datasets_have_large_files_too(hub: Hub) -> None:
    """Under their own prefix."""
    await hub.made("ann/data", "dataset")
    sha256 = await hub.large("datasets/ann/data", "train.parquet", CONTENT)
    response = await hub.get("/datasets/ann/data/resolve/main/train.parquet", follow_redirects=True)
    assert (response.content, response.headers["ETag"]) == (CONTENT, f'"{sha256}"')


async def test_files_of_another_repo(hub: Hub) -> None:
    """Copied by name; what the source does not hold comes back (CLIENT_API A22)."""
    await _sent(hub)
    await hub.made("ann/target", "dataset")
    files = [{"xetHash": "x", "sha256": OID, "filename": "w.bin"}, {"sha256": "0" * 64}]
    body = {"target": {"type": "dataset", "name": "ann/target"}, "files": files}
    response = await hub.post("/api/models/ann/model/lfs-files/duplicate", json=body)
    assert [refusal["sha256"] for refusal in response.json()["failed"]] == ["0" * 64]
    asked = {"operation": "upload", "objects": [{"oid": OID, "size": len(CONTENT)}]}
    batch = await hub.post("/datasets/ann/target.git/info/lfs/objects/batch", json=asked)
    assert "actions" not in batch.json()["objects"][0]


async def test_an_inventory(hub: Hub) -> None:
    """Which large files a repo holds, by their path in `main`, in pages; one that no commit names has no path."""
    await hub.large("models/ann/model", "b.bin", b"\0" * 300)
    await _sent(hub)
    rows: list[dict[str, Any]] = []
    url: str | None = "/api/models/ann/model/lfs-files?limit=1"
    while url is not None:
        response = await hub.get(url)
        rows += response.json()
        match = re.fullmatch(r"<(.+)>; .*", response.headers.get("Link", ""))
        url = match[1] if match else None
    names = {row["filename"]: row for row in rows}
    assert set(names) == {"b.bin", OID}
    assert names["b.bin"]["ref"] == "refs/heads/main"
    assert set(names[OID]) == {"fileOid", "filename", "oid", "pushedAt", "size"}
