"""Files by URL: redirects to the commit, whole and in part, conditions, and what is never answered to whom."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx
import pytest

from hubreg.api.resolve import SMALL, Finished
from hubreg.app import App
from hubreg.formats.gitobjects import object_oid
from hubreg.model import Sha256
from hubreg.store.blobs import Blobs
from tests.api.conftest import ANYBODY, STRANGE, Connect, Hub, People, bearer, golden

pytestmark = pytest.mark.anyio

CONFIG = b'{"model_type": "bert"}\n'
WEIGHTS = bytes(range(256)) * 400  # larger than what is sent from memory


@pytest.fixture
async def commit(hub: Hub) -> str:
    """The commit of a public model with a configuration, weights in LFS, an empty file and a folder."""
    await hub.made()
    files = {
        "config.json": CONFIG,
        "empty.txt": b"",
        "sub/page.html": b"<script>",
        "LICENSE": b"mit",
        "data.bin2": b"x",
    }
    await hub.commit("models/ann/model", files)
    await hub.large("models/ann/model", "model.safetensors", WEIGHTS)
    response = await hub.get("/api/models/ann/model")
    sha: str = response.json()["sha"]
    return sha


def at(commit: str, path: str) -> str:
    return f"/ann/model/resolve/{commit}/{path}"


# the first hop


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_a_name_that_moves_redirects_to_its_commit(hub: Hub, commit: str, method: str) -> None:
    """307 to the same path at the commit, with what clients read off the first hop, and its own length."""
    response = await hub.request(method, "/ann/model/resolve/main/config.json")
    text = f"Temporary Redirect. Redirecting to {at(commit, 'config.json')}"
    assert response.status_code == 307
    assert response.headers["Location"] == at(commit, "config.json")
    assert response.headers["X-Repo-Commit"] == commit
    assert response.headers["X-Linked-ETag"] == f'"{object_oid("blob", CONFIG)}"'
    assert response.headers["X-Linked-Size"] == str(len(CONFIG))
    assert response.headers["Content-Length"] == str(len(text))
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["Vary"] == "Origin, Accept"
    assert response.text == ("" if method == "HEAD" else text)


async def test_the_redirect_is_the_hubs(hub: Hub, commit: str) -> None:
    """Its headers, but for those of the Hub's own machinery, and its body's length by the same rule."""
    ours = await hub.head("/ann/model/resolve/main/config.json")
    recorded = golden("resolve-head-regular-public-307-full")
    assert ours.status_code == recorded["status"]
    for name in ("content-type", "vary"):
        assert ours.headers[name] == recorded["headers"][name]
    length = len("Temporary Redirect. Redirecting to ") + len(recorded["headers"]["location"])
    assert recorded["headers"]["content-length"] == str(length)


async def test_every_kind_of_name_redirects(hub: Hub, commit: str) -> None:
    """Branches, tags, pull requests, abbreviated commits and HEAD; only the whole commit id does not."""
    await hub.post("/api/models/ann/model/branch/dev%2Fx", json={})
    await hub.post("/api/models/ann/model/tag/main", json={"tag": "v1"})
    await hub.commit("models/ann/model", {"config.json": CONFIG}, create_pr="1")
    for name in ("dev%2Fx", "v1", commit[:7], "HEAD", "refs%2Fheads%2Fmain"):
        response = await hub.head(f"/ann/model/resolve/{name}/config.json")
        assert response.headers["Location"] == at(commit, "config.json"), name
    for name in ("refs%2Fpr%2F1", "refs/pr/1"):
        response = await hub.head(f"/ann/model/resolve/{name}/config.json")
        assert response.headers["X-Repo-Commit"] != commit
    assert (await hub.head(at(commit.upper(), "config.json"))).status_code == 200


async def test_the_redirects_path_is_encoded_again(hub: Hub) -> None:
    """A name with blanks, signs and letters of any script leads to itself."""
    await hub.made()
    awful = "a b/ü%?#[x]&=.txt"
    await hub.commit("models/ann/model", {awful: b"found"})
    url = httpx.URL("http://hub.test/").copy_with(raw_path=f"/ann/model/resolve/main/{quote(awful)}".encode())
    first = await hub.get(url)
    second = await hub.get(url.copy_with(raw_path=first.headers["Location"].encode()))
    assert (first.status_code, second.status_code, second.content) == (307, 200, b"found")


async def test_another_spelling_of_the_repo_redirects_to_its_own(hub: Hub, commit: str) -> None:
    """In one hop, by name and by commit; an old name too."""
    for path in ("/Ann/MODEL/resolve/main/config.json", f"/ANN/model/resolve/{commit}/config.json"):
        assert (await hub.head(path)).headers["Location"] == at(commit, "config.json")
    await hub.post("/api/repos/move", json={"fromRepo": "ann/model", "toRepo": "ann/new", "type": "model"})
    response = await hub.get("/ann/model/resolve/main/config.json", follow_redirects=True)
    assert response.content == CONFIG
    assert str(response.url).startswith("http://hub.test/ann/new/resolve/")


# at a commit


async def test_a_regular_file(hub: Hub, commit: str) -> None:
    """200 with the headers of the Hub's direct answer: git's SHA-1 as a strong ETag, and nothing that would run."""
    response = await hub.get(at(commit, "config.json"))
    recorded = golden("resolve-head-regular-private-200")["headers"]
    assert (response.status_code, response.content) == (200, CONFIG)
    assert response.headers["ETag"] == f'"{object_oid("blob", CONFIG)}"'
    assert response.headers["X-Repo-Commit"] == commit
    assert response.headers["Vary"] == "Origin, Accept"
    for name in ("accept-ranges", "content-security-policy", "content-type"):
        assert response.headers[name] == recorded[name]
    disposition = recorded["content-disposition"].replace("ref-regular.txt", "config.json")
    assert response.headers["Content-Disposition"] == disposition
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_large_file(hub: Hub, commit: str) -> None:
    """Its ETag is the sha256 of the content, as everywhere (CLIENT_API 2)."""
    response = await hub.get(at(commit, "model.safetensors"))
    assert response.content == WEIGHTS
    assert response.headers["ETag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Length"] == str(len(WEIGHTS))


async def test_head_says_what_get_does(hub: Hub, commit: str) -> None:
    """The same headers, the length included, for every kind of file, warm and cold."""
    for path in ("config.json", "empty.txt", "model.safetensors"):
        for _ in range(2):
            head, get = await hub.head(at(commit, path)), await hub.get(at(commit, path))
            assert head.content == b""
            assert _without_id(head) == _without_id(get)
            assert head.headers["Content-Length"] == str(len(get.content))


def _without_id(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "x-request-id"}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("sub/page.html", "text/plain; charset=utf-8"),
        ("LICENSE", "text/plain; charset=utf-8"),
        (".gitattributes", "text/plain; charset=utf-8"),
        ("data.bin2", "application/octet-stream"),
    ],
)
async def test_no_type_would_be_run_by_a_browser(hub: Hub, commit: str, path: str, kind: str) -> None:
    """Text by its name is plain text, HTML too; the rest is bytes."""
    assert (await hub.get(at(commit, path))).headers["Content-Type"] == kind


async def test_a_download_is_an_attachment(hub: Hub, commit: str) -> None:
    """`?download=true`, as the Hub's pages link, survives the redirect."""
    response = await hub.get("/ann/model/resolve/main/config.json?download=true", follow_redirects=True)
    assert response.headers["Content-Disposition"].startswith("attachment; ")
    assert (await hub.get(at(commit, "config.json"))).headers["Content-Disposition"].startswith("inline; ")


# in part


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, len(WEIGHTS)),
        ("bytes=-10", len(WEIGHTS) - 10, len(WEIGHTS)),
        ("bytes=100-99999999", 100, len(WEIGHTS)),  # hf-hub 0.4 asks one byte too many
        (f"bytes=0-{len(WEIGHTS) - 1}", 0, len(WEIGHTS)),
    ],
)
async def test_a_range(hub: Hub, commit: str, asked: str, start: int, end: int) -> None:
    """206 with exactly those bytes and where they are."""
    response = await hub.get(at(commit, "model.safetensors"), headers={"Range": asked})
    assert (response.status_code, response.content) == (206, WEIGHTS[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(WEIGHTS)}"
    assert response.headers["Content-Length"] == str(end - start)
    assert response.headers["X-Repo-Commit"] == commit


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,4-5", "bytes=5-2", "items=0-1", "bytes=a-b", "bytes=-", "nonsense"]
)
async def test_a_range_that_is_none_is_the_whole_file(hub: Hub, commit: str, asked: str) -> None:
    """Several at once, backwards, or in no known unit (RFC 9110)."""
    response = await hub.get(at(commit, "config.json"), headers={"Range": asked})
    assert (response.status_code, response.content) == (200, CONFIG)


async def test_a_range_past_the_end(hub: Hub, commit: str) -> None:
    """416 with the file's size, as text; cold and warm."""
    for _ in range(2):
        response = await hub.get(at(commit, "config.json"), headers={"Range": f"bytes={len(CONFIG)}-"})
        assert response.status_code == 416
        assert response.headers["Content-Range"] == f"bytes */{len(CONFIG)}"
        assert response.headers["X-Error-Code"] == "RangeUnsatisfiable"
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_a_range_of_an_empty_file(hub: Hub, commit: str) -> None:
    """A 2xx with Content-Range: hf-hub 0.4 takes 416 for fatal (CLIENTS requirement 8)."""
    response = await hub.get(at(commit, "empty.txt"), headers={"Range": "bytes=0-0"})
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Range"] == "bytes */0"


async def test_a_range_of_another_version_is_the_whole_file(hub: Hub, commit: str) -> None:
    """`If-Range` keeps a resumed download from mixing two versions."""
    etag = (await hub.head(at(commit, "config.json"))).headers["ETag"]
    for condition, status in ((etag, 206), ('"other"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)):
        headers = {"Range": "bytes=2-", "If-Range": condition}
        assert (await hub.get(at(commit, "config.json"), headers=headers)).status_code == status


async def test_a_range_of_a_name_that_moves_redirects(hub: Hub, commit: str) -> None:
    """So that all pieces of one file are of one commit (CLIENTS 4)."""
    response = await hub.get("/ann/model/resolve/main/config.json", headers={"Range": "bytes=0-0"})
    assert response.status_code == 307


# conditions


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_what_the_caller_has_already_is_not_sent_again(hub: Hub, commit: str, method: str) -> None:
    """304 with the ETag and the commit, and no body; quoted, bare, weak or one of several."""
    etag = (await hub.head(at(commit, "config.json"))).headers["ETag"]
    for condition in (etag, etag.strip('"'), f"W/{etag}", f'"other", {etag}', "*"):
        response = await hub.request(method, at(commit, "config.json"), headers={"If-None-Match": condition})
        assert (response.status_code, response.content) == (304, b"")
        assert (response.headers["ETag"], response.headers["X-Repo-Commit"]) == (etag, commit)
        assert "immutable" in response.headers["Cache-Control"]
        assert "Content-Length" not in response.headers
    other = await hub.request(method, at(commit, "config.json"), headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


async def test_the_accept_of_xet_clients_changes_nothing(hub: Hub, commit: str) -> None:
    """A file that is not in Xet is answered as ever (CLIENTS requirement 18)."""
    accept = {"Accept": "application/vnd.xet-fileinfo+json, */*", "Range": "bytes=0-0"}
    response = await hub.get(at(commit, "model.safetensors"), headers=accept)
    assert (response.status_code, response.content) == (206, WEIGHTS[:1])
    assert not [name for name in response.headers if "xet" in name]


# what is not there


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("path", ["nope.json", "sub", "sub/nope", "config.json/below", "%2E%2E/x", "a//b"])
async def test_a_file_that_is_not_there(hub: Hub, commit: str, method: str, path: str) -> None:
    """404 EntryNotFound with the commit on the first hop, by name and by commit, warm and cold (PITFALLS 1)."""
    recorded = golden("resolve-head-missing-entry-404")["headers"]
    for revision in ("main", "main", commit, commit):
        response = await hub.request(
            method,
            httpx.URL(f"http://hub.test/ann/model/resolve/{revision}/").copy_with(
                raw_path=f"/ann/model/resolve/{revision}/{path}".encode()
            ),
        )
        assert response.status_code == 404
        assert response.headers["X-Repo-Commit"] == commit
        for name in "x-error-code x-error-message content-type content-length accept-ranges vary".split():
            assert response.headers[name] == recorded[name]


async def test_a_revision_that_is_not_there(hub: Hub, commit: str) -> None:
    """404 RevisionNotFound, text, and no commit."""
    recorded = golden("resolve-head-bad-revision-404")
    response = await hub.get("/ann/model/resolve/no-such-branch/config.json")
    assert response.status_code == recorded["status"]
    for name, value in recorded["headers"].items():
        assert response.headers[name] == value
    assert "X-Repo-Commit" not in response.headers


async def test_a_repo_that_is_not_there(hub: Hub, commit: str) -> None:
    """404 with a token, 401 without, RepoNotFound in both: over plain http the word is all that clients have."""
    response = await hub.get("/ann/nope/resolve/main/config.json")
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RepoNotFound")
    response = await hub.get("/ann/nope/resolve/main/config.json", headers=ANYBODY)
    recorded = golden("resolve-head-private-anonymous-401")
    assert (response.status_code, response.headers["X-Error-Code"]) == (401, "RepoNotFound")
    for name in ("content-type", "www-authenticate", "x-error-message"):
        assert response.headers[name] == recorded["headers"][name]


# whose answer it is


async def test_an_answer_is_never_anothers(hub: Hub, commit: str, people: People) -> None:
    """However often the owner of a private repo was answered, nobody else is."""
    await hub.put("/api/models/ann/model/settings", json={"private": True})
    for path in (at(commit, "config.json"), "/ann/model/resolve/main/config.json", at(commit, "nope")):
        for _ in range(3):
            assert (await hub.get(path)).status_code in (200, 307, 404)
            assert "X-Repo-Commit" in (await hub.head(path)).headers
        for headers, status in ((ANYBODY, 401), (STRANGE, 401), (bearer(people.bob), 404)):
            for method in ("HEAD", "GET"):
                response = await hub.request(method, path, headers=headers)
                assert response.status_code == status
                assert "X-Repo-Commit" not in response.headers


async def test_a_change_of_rights_counts_at_once(hub: Hub, commit: str) -> None:
    """What was answered while a repo was public is not answered once it is private, and the other way round."""
    path = at(commit, "config.json")
    for private, status, cache in ((False, 200, "public"), (True, 401, ""), (False, 200, "public")):
        await hub.put("/api/models/ann/model/settings", json={"private": private})
        for _ in range(2):
            response = await hub.get(path, headers=ANYBODY)
            assert response.status_code == status
            assert response.headers["Cache-Control"].startswith(cache)


async def test_a_push_counts_at_once(hub: Hub, commit: str) -> None:
    """The next look at the branch leads to the new commit; the old one answers as before; what was absent is found."""
    assert (await hub.get("/ann/model/resolve/main/new.txt")).status_code == 404
    await hub.commit("models/ann/model", {"config.json": b"{}", "new.txt": b"new"})
    response = await hub.get("/ann/model/resolve/main/config.json", follow_redirects=True)
    assert response.content == b"{}"
    assert (await hub.get(at(commit, "config.json"))).content == CONFIG
    assert (await hub.get("/ann/model/resolve/main/new.txt")).status_code == 307


async def test_a_name_that_is_taken_again_is_the_new_repos(hub: Hub, commit: str) -> None:
    """Neither redirects nor files of a deleted repo are answered for the next one of its name."""
    await hub.get("/ann/model/resolve/main/config.json")
    await hub.get(at(commit, "config.json"))
    await hub.request("DELETE", "/api/repos/delete", json={"name": "model", "type": "model"})
    await hub.made()
    assert (await hub.get("/ann/model/resolve/main/config.json")).status_code == 404
    assert (await hub.get(at(commit, "config.json"))).headers["X-Error-Code"] == "RevisionNotFound"


async def test_what_is_private_is_kept_by_no_proxy(hub: Hub, commit: str) -> None:
    """`public` only where anybody may read; gated content is nobody's but the caller's."""
    path = at(commit, "config.json")
    assert (await hub.get(path)).headers[
        "Cache-Control"
    ] == "public, max-age=31536000, s-maxage=60, immutable"
    await hub.put("/api/models/ann/model/settings", json={"gated": "auto"})
    assert (await hub.get(path)).headers["Cache-Control"] == "private, max-age=31536000, immutable"
    await hub.put("/api/models/ann/model/settings", json={"gated": False, "private": True})
    assert (await hub.get(path)).headers["Cache-Control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize("settings", [{"anonymous": False}], ids=[""])
async def test_without_anonymous_reading_nothing_is_public(hub: Hub, commit: str) -> None:
    """Every file is for users, so shared caches keep none."""
    path = at(commit, "config.json")
    assert (await hub.get(path)).headers["Cache-Control"].startswith("private")
    assert (await hub.get(path, headers=ANYBODY)).status_code == 401


async def test_a_token_of_another_hub_is_nobody(hub: Hub, commit: str) -> None:
    """Public content is answered: people keep their real token in the environment."""
    for _ in range(2):
        assert (await hub.get(at(commit, "config.json"), headers=STRANGE)).status_code == 200
    await hub.put("/api/models/ann/model/settings", json={"private": True})
    response = await hub.get(at(commit, "config.json"), headers=STRANGE)
    assert response.status_code == 401
    assert response.headers["X-Error-Message"] == "Invalid credentials in Authorization header"


async def test_warm_answers_have_their_own_request(hub: Hub, commit: str) -> None:
    """Name and origin are of this request, not of the one that was answered first."""
    for number in range(3):
        headers = {"X-Request-Id": f"id-{number}", "Origin": f"https://{number}.example"}
        for method in ("HEAD", "GET"):
            response = await hub.request(method, at(commit, "config.json"), headers=headers)
            assert response.headers["X-Request-Id"] == f"id-{number}"
            assert response.headers["Access-Control-Allow-Origin"] == f"https://{number}.example"
    response = await hub.head(at(commit, "config.json"))
    assert "Access-Control-Allow-Origin" not in response.headers


# gated


async def test_gated_content(hub: Hub, commit: str, people: People) -> None:
    """401 without a token, 403 with one, GatedRepo in both; the repo's info is readable (HUB 4.2)."""
    await hub.put("/api/models/ann/model/settings", json={"gated": "manual"})
    response = await hub.get(at(commit, "config.json"), headers=ANYBODY)
    assert (response.status_code, response.headers["X-Error-Code"]) == (401, "GatedRepo")
    response = await hub.head(at(commit, "config.json"), headers=bearer(people.bob))
    assert (response.status_code, response.headers["X-Error-Code"]) == (403, "GatedRepo")
    assert "is restricted and you are not in the authorized list" in response.headers["X-Error-Message"]
    assert (await hub.get("/api/models/ann/model", headers=ANYBODY)).json()["gated"] == "manual"


# raw


async def test_raw_is_what_git_holds(hub: Hub, commit: str) -> None:
    """The pointer of a large file, with git's SHA-1; a regular file as it is; never 304 (HUB 6.4)."""
    response = await hub.get("/ann/model/raw/main/model.safetensors")
    assert re.fullmatch(rb"version \S+\noid sha256:[0-9a-f]{64}\nsize 102400\n", response.content)
    assert response.headers["ETag"] == f'"{object_oid("blob", response.content)}"'
    assert response.headers["X-Repo-Commit"] == commit
    again = await hub.get("/ann/model/raw/main/config.json", headers={"If-None-Match": "*"})
    assert (again.status_code, again.content) == (200, CONFIG)
    assert (await hub.head("/ann/model/raw/main/config.json")).headers["Content-Length"] == str(len(CONFIG))


async def test_raw_of_what_is_not_there(hub: Hub, commit: str) -> None:
    """As `resolve` says it: JavaScript clients ask here whether a file exists."""
    response = await hub.head("/ann/model/raw/main/nope")
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert response.headers["X-Repo-Commit"] == commit


# where the bytes come from


async def test_a_blob_that_is_gone_is_a_failure_of_ours(hub: Hub, app: App, commit: str) -> None:
    """500 and not a wrong or empty file; nothing of our paths is told."""
    path = app.blobs.path(Sha256(hashlib.sha256(WEIGHTS).hexdigest()))
    assert path is not None
    path.unlink()
    response = await hub.get(at(commit, "model.safetensors"))
    assert response.status_code == 500
    assert str(path) not in response.text


class Bucket:
    """Blobs that are in no file."""

    def path(self, digest: Sha256) -> Path | None:
        return None

    async def read(self, digest: Sha256, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for at in range(start, len(WEIGHTS) if end is None else end, 1000):
            yield WEIGHTS[at : min(at + 1000, end or len(WEIGHTS))]


@pytest.mark.parametrize("range_", ["", "bytes=10-5009"])
async def test_blobs_may_be_in_no_file(range_: str) -> None:
    """A backend without files is read through; what is answered is the same."""
    finished = Finished(
        200, [], "", blobs=cast("Blobs", Bucket()), sha256=Sha256("0" * 64), size=len(WEIGHTS), etag='"x"'
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        await finished.response(headers)(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub") as client:
        response = await client.get("/", headers={"Range": range_} if range_ else {})
    start, end = (10, 5010) if range_ else (0, len(WEIGHTS))
    assert response.content == WEIGHTS[start:end]
    assert response.headers["Content-Length"] == str(end - start)
    assert ("Content-Range" in response.headers) == bool(range_)


async def test_small_files_are_sent_from_memory(hub: Hub, app: App, commit: str) -> None:
    """Once asked for, a small file needs no disk."""
    assert len(CONFIG) <= SMALL < len(WEIGHTS)
    assert (await hub.get(at(commit, "config.json"))).content == CONFIG
    path = app.blobs.path(Sha256(hashlib.sha256(CONFIG).hexdigest()))
    assert path is not None
    path.unlink()
    assert (await hub.get(at(commit, "config.json"))).content == CONFIG


async def test_two_clients_of_one_credential_share_an_answer(
    connect: Connect, hub: Hub, commit: str, people: People
) -> None:
    """The key is the credential and the URL, whoever's connection it is."""
    other = connect(people.ann, base_url="http://other.test")
    assert (await hub.head("/ann/model/resolve/main/config.json")).headers["Location"].startswith("/ann/")
    assert (await other.head("/ann/model/resolve/main/config.json")).headers["Location"].startswith("/ann/")
