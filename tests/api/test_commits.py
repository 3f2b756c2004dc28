"""Commits by HTTP: preupload, the commit itself in both forms, history, comparison, squash, revert."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hubreg.api.asgi import Api
from hubreg.api.bodies import ClientGone
from hubreg.formats.gitobjects import object_oid
from tests.api.conftest import ANYBODY, NDJSON, Connect, Hub, People, bearer, golden, ndjson
from tests.api.likeness import missing

pytestmark = pytest.mark.anyio

COMMIT = "/api/models/ann/model/commit/main"
HEADER = {"key": "header", "value": {"summary": "a title", "description": "and more"}}


def line(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def inline(path: str, content: bytes = b"x") -> dict[str, Any]:
    return line("file", path=path, content=base64.b64encode(content).decode(), encoding="base64")


@pytest.fixture
async def model(hub: Hub) -> str:
    return await hub.made()


async def _paths(hub: Hub, revision: str = "main") -> list[str]:
    rows = (await hub.get(f"/api/models/ann/model/tree/{revision}?recursive=true")).json()
    return [row["path"] for row in rows if row["type"] == "file"]


async def _head(hub: Hub) -> str:
    sha: str = (await hub.get("/api/models/ann/model")).json()["sha"]
    return sha


# preupload


async def test_preupload_is_like_the_hubs(hub: Hub, model: str) -> None:
    """Every path comes back in order with how to send it; what the path holds already is named (CLIENT_API 3)."""
    recorded = golden("preupload-200")
    body = json.loads(json.dumps(recorded["request"]["body"]).replace("<base64 of the first 512 bytes>", ""))
    ours = (await hub.post("/api/models/ann/model/preupload/main", json=body)).json()
    assert ours["files"] == recorded["body"]["files"]
    assert list(ours) == list(recorded["body"])
    assert ours["commitOid"] == await _head(hub)
    await hub.commit("models/ann/model", {"a.txt": b"text"})
    sha256 = await hub.large("models/ann/model", "regression/ref-lfs.bin", b"\0" * 200)
    asked = [{"path": path, "size": 9, "sample": ""} for path in ("a.txt", "regression/ref-lfs.bin")]
    regular, large = (await hub.post("/api/models/ann/model/preupload/main", json={"files": asked})).json()[
        "files"
    ]
    assert not missing(large, golden("preupload-existing-200")["body"]["files"][0])
    assert (regular["oid"], large["oid"]) == (object_oid("blob", b"text"), sha256)


@pytest.mark.parametrize(
    ("file", "mode"),
    [
        ({"path": "a.txt", "size": 5, "sample": base64.b64encode(b"text").decode()}, "regular"),
        ({"path": "a.dat", "size": 5, "sample": base64.b64encode(b"\x00\x01").decode()}, "lfs"),
        ({"path": "a.txt", "size": 11 << 20, "sample": ""}, "lfs"),
        ({"path": "a.safetensors", "size": 5, "sample": ""}, "lfs"),
        ({"path": "a.safetensors", "size": 0, "sample": ""}, "regular"),
    ],
)
async def test_how_a_file_is_to_be_sent(hub: Hub, model: str, file: dict[str, Any], mode: str) -> None:
    """By its name, its size and its first bytes; an empty one is never large."""
    response = await hub.post("/api/models/ann/model/preupload/main", json={"files": [file]})
    assert response.json()["files"][0]["uploadMode"] == mode


async def test_rules_may_come_along(hub: Hub, model: str) -> None:
    """JavaScript sends its `.gitattributes`, all send their `.gitignore`."""
    files = [{"path": "a.safetensors", "size": 5, "sample": ""}, {"path": "b.tmp", "size": 5, "sample": ""}]
    body = {"files": files, "gitAttributes": "*.tmp filter=lfs\n", "gitIgnore": "*.tmp\n"}
    first, second = (await hub.post("/api/models/ann/model/preupload/main", json=body)).json()["files"]
    assert (first["uploadMode"], first["shouldIgnore"]) == ("regular", False)
    assert (second["uploadMode"], second["shouldIgnore"]) == ("lfs", True)


async def test_who_may_ask(hub: Hub, model: str, people: People) -> None:
    """Writers; with `create_pr` whoever may read (CLIENT_API 10, 15). Anybody is told so as on the Hub."""
    body = {"files": [{"path": "a", "size": 1, "sample": ""}]}
    path = "/api/models/ann/model/preupload/main"
    recorded = golden("write-route-anonymous-401")
    response = await hub.post(path, json=body, headers=ANYBODY)
    assert (response.status_code, response.json()) == (recorded["status"], recorded["body"])
    assert (await hub.post(path, json=body, headers=bearer(people.bob))).status_code == 403
    assert (await hub.post(f"{path}?create_pr=1", json=body, headers=bearer(people.bob))).status_code == 200
    response = await hub.post("/api/models/ann/model/preupload/nope", json=body)
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound")


# the commit


async def test_a_commit_is_answered_as_on_the_hub(hub: Hub, model: str) -> None:
    """The recorded keys in their order; the URL is the caller's hub's."""
    response = await hub.post(COMMIT, content=ndjson(HEADER, inline("a.txt")), headers=NDJSON)
    recorded = golden("commit-200")
    assert response.status_code == recorded["status"]
    assert list(response.json()) == list(recorded["body"])
    oid = response.json()["commitOid"]
    assert response.json()["commitUrl"] == f"http://hub.test/ann/model/commit/{oid}"
    assert oid == await _head(hub)


async def test_all_that_a_commit_may_say(hub: Hub, model: str) -> None:
    """Files, large ones, deletions of files and folders in either key, in the order of the lines."""
    await hub.commit("models/ann/model", {"old.txt": b"", "dir/a": b"a", "dir2/b": b"b", "dir3/c": b"c"})
    sha256 = await hub.large("models/ann/model", "w.bin", b"\0" * 300)
    lines = [
        HEADER,
        inline("new.txt", b"new"),
        line("lfsFile", path="copy.bin", algo="sha256", oid=sha256),  # a copy has no size
        line("deletedFile", path="old.txt"),
        line("deletedFile", path="dir"),
        line("deletedFolder", path="dir2/"),
        line("deletedEntry", path="dir3/c"),
        line("file", path="utf8.txt", content="é", encoding="utf-8"),
    ]
    response = await hub.post(
        COMMIT, content=ndjson(*lines).rstrip(b"\n"), headers=NDJSON
    )  # as JavaScript ends it
    assert response.status_code == 200, response.text
    assert await _paths(hub) == [".gitattributes", "copy.bin", "new.txt", "utf8.txt", "w.bin"]
    assert (await hub.get("/ann/model/raw/main/utf8.txt")).text == "é"


async def test_a_commit_may_be_one_json_body(hub: Hub, model: str) -> None:
    """The form of the Hub's OpenAPI (HUB 8.3)."""
    body = {"summary": "all at once", "files": [{"path": "a.txt", "content": "text"}], "deletedFiles": []}
    assert (await hub.post(COMMIT, json=body)).status_code == 200
    [commit, _] = (await hub.get("/api/models/ann/model/commits/main")).json()
    assert commit["title"] == "all at once"
    assert (await hub.get("/ann/model/raw/main/a.txt")).text == "text"


async def test_a_commit_arrives_in_any_pieces(hub: Hub, model: str) -> None:
    """Chunked, a few bytes at a time."""

    async def pieces() -> AsyncIterator[bytes]:
        body = ndjson(HEADER, inline("a.txt", b"x" * 1000), inline("b/c.txt", b"y"))
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    assert (await hub.post(COMMIT, content=pieces(), headers=NDJSON)).status_code == 200
    assert await _paths(hub) == ["b/c.txt", ".gitattributes", "a.txt"]


async def test_one_line_may_hold_ten_megabytes(hub: Hub, model: str) -> None:
    """As base64, 14 million characters (PITFALLS 35); a byte more is refused in the Hub's words."""
    most = 10 << 20
    assert (await hub.post(COMMIT, content=ndjson(HEADER, inline("a.txt", b"a" * most)))).status_code == 200
    response = await hub.post(COMMIT, content=ndjson(HEADER, inline("b.txt", b"a" * (most + 1))))
    assert response.status_code == 400
    assert "contains files larger than 10 MiB" in response.json()["error"]
    assert await _paths(hub) == [".gitattributes", "a.txt"]


async def test_a_pull_request(hub: Hub, model: str, people: People, connect: Connect) -> None:
    """Whoever may read may propose; the answer leads to it by its number."""
    bob = connect(people.bob)
    answer = await bob.commit("models/ann/model", {"a.txt": b"a"}, create_pr="1")
    assert answer["pullRequestUrl"] == "http://hub.test/ann/model/discussions/1"
    assert await _paths(hub) == [".gitattributes"]
    assert await _paths(hub, "refs%2Fpr%2F1") == [".gitattributes", "a.txt"]
    assert (await bob.commit("models/ann/model", {"b.txt": b"b"}, "refs%2Fpr%2F1"))["success"] is True
    refused = await bob.post(COMMIT, content=ndjson(HEADER, inline("c")), headers=NDJSON)
    assert refused.status_code == 403


async def test_a_stale_parent_is_told(hub: Hub, model: str) -> None:
    """412 with both sentences that clients look for; nothing is committed. An abbreviated parent is fine."""
    first = await _head(hub)
    value = {"summary": "s", "description": "", "parentCommit": first[:7]}
    body = ndjson({"key": "header", "value": value}, inline("a.txt"))
    assert (await hub.post(COMMIT, content=body, headers=NDJSON)).status_code == 200
    response = await hub.post(COMMIT, content=ndjson({"key": "header", "value": value}, inline("b.txt")))
    assert response.status_code == 412
    assert "A commit has happened since." in response.json()["error"]
    assert "The branch was updated since you opened this page. Please refresh and try again." in response.text
    assert await _paths(hub) == [".gitattributes", "a.txt"]


async def test_a_large_file_that_was_never_sent(hub: Hub, model: str) -> None:
    """400 in the Hub's words, naming the file."""
    recorded = golden("commit-missing-lfs-object-400")
    body = ndjson(
        HEADER, line("lfsFile", path="regression/probe-missing-object.bin", algo="sha256", oid="0" * 64)
    )
    response = await hub.post(COMMIT, content=body, headers=NDJSON)
    assert response.status_code == recorded["status"]
    assert response.json()["error"].endswith("Offending file: - regression/probe-missing-object.bin")
    assert response.json()["error"][:70] == recorded["body"]["error"][:70]


BAD = {
    "no header": (ndjson(inline("a")), 400),
    "two headers": (ndjson(HEADER, HEADER, inline("a")), 400),
    "nothing": (b"", 400),
    "a header alone": (ndjson(HEADER), 400),
    "no JSON": (ndjson(HEADER) + b"{nonsense\n", 400),
    "cut off": (ndjson(HEADER, inline("a"))[:-20], 400),
    "an unknown key": (ndjson(HEADER, line("rename", path="a")), 400),
    "no base64": (ndjson(HEADER, line("file", path="a", content="?", encoding="base64")), 400),
    "no UTF-8": (ndjson(HEADER) + b'{"key":"file","value":{"path":"\xff","content":""}}', 400),
    "half a character pair": (
        ndjson(HEADER) + b'{"key":"file","value":{"path":"\\ud800","content":""}}',
        400,
    ),
    "a path upwards": (ndjson(HEADER, inline("a/../b")), 422),
    "a path upwards with a backslash": (ndjson(HEADER, inline("..\\ddd")), 422),
    "an absolute path": (ndjson(HEADER, inline("/etc/passwd")), 422),
    "no path": (ndjson(HEADER, inline("")), 422),
    "a long path": (ndjson(HEADER, inline("x/" * 600 + "y")), 422),
    "git's own folder": (ndjson(HEADER, inline(".git/config")), 422),
    "a NUL": (ndjson(HEADER, inline("a\0b")), 422),
    "a file that is a folder": (ndjson(HEADER, inline("a"), inline("a/b")), 400),
    "a deletion of nothing": (ndjson(HEADER, line("deletedFile", path="nope")), 404),
    "deep nonsense": (ndjson(HEADER) + b"[" * 100_000, 400),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_commit_leaves_nothing_behind(hub: Hub, model: str, name: str) -> None:
    """Each is refused with the Hub's status and a sentence, and the branch is where it was."""
    body, status = BAD[name]
    before = await _head(hub)
    response = await hub.post(COMMIT, content=body, headers=NDJSON)
    assert response.status_code == status, response.text
    assert response.json()["error"]
    assert "\n" not in response.headers["X-Error-Message"]
    assert await _head(hub) == before


async def test_a_commit_whose_client_vanishes(api: Api, hub: Hub, model: str, people: People) -> None:
    """Half a body is no commit, though its lines were whole so far."""
    before = await _head(hub)
    messages = iter(
        [
            {"type": "http.request", "body": ndjson(HEADER, inline("a.txt")), "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        raise AssertionError("there is nobody to answer")

    scope = {
        "type": "http", "method": "POST", "path": COMMIT, "raw_path": COMMIT.encode(), "query_string": b"",
        "scheme": "http", "client": ("127.0.0.1", 1), "server": ("hub.test", 80),
        "headers": [(b"authorization", f"Bearer {people.ann}".encode()), (b"transfer-encoding", b"chunked")],
    }  # fmt: skip
    with pytest.raises(ClientGone):
        await api(scope, receive, send)
    assert await _head(hub) == before


async def test_where_a_commit_may_go(hub: Hub, model: str) -> None:
    """To branches and pull requests that there are; neither to a tag nor to a commit."""
    await hub.post("/api/models/ann/model/tag/main", json={"tag": "v1"})
    for revision in ("nope", "v1", await _head(hub), "refs%2Fpr%2F9", "refs%2Ftags%2Fv1"):
        response = await hub.post(
            f"/api/models/ann/model/commit/{revision}", content=ndjson(HEADER, inline("a")), headers=NDJSON
        )
        assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound"), revision


# history


async def test_history_is_like_the_hubs(hub: Hub, model: str) -> None:
    """Newest first, counted; `formatted` on demand; the recorded keys in their order."""
    await hub.post(COMMIT, content=ndjson(HEADER, inline("a.txt")), headers=NDJSON)
    response = await hub.get("/api/models/ann/model/commits/main?expand[]=formatted")
    recorded = golden("commits-page-200")["body"][0]
    newest, oldest = response.json()
    assert response.headers["X-Total-Count"] == "2"
    assert not missing(newest, recorded)
    assert (newest["title"], newest["message"]) == ("a title", "and more")
    assert newest["authors"][0]["user"] == "ann"
    assert newest["formatted"] == {"title": "a title", "message": "and more"}
    assert oldest["title"] == "initial commit"
    assert "formatted" not in (await hub.get("/api/models/ann/model/commits/main")).json()[0]


async def test_formatted_history_runs_nothing(hub: Hub, model: str) -> None:
    """A message's HTML shows its text; its tags are text."""
    header = {"key": "header", "value": {"summary": "<script>alert(1)</script>", "description": "<b>"}}
    await hub.post(COMMIT, content=ndjson(header, inline("a.txt")), headers=NDJSON)
    [newest, _] = (await hub.get("/api/models/ann/model/commits/main?expand=formatted")).json()
    assert newest["formatted"] == {"title": "&lt;script&gt;alert(1)&lt;/script&gt;", "message": "&lt;b&gt;"}


async def test_history_has_pages(hub: Hub, model: str) -> None:
    """Each commit once, though somebody pushes in between."""
    for number in range(4):
        await hub.commit("models/ann/model", {"a.txt": str(number).encode()})
    whole = [commit["id"] for commit in (await hub.get("/api/models/ann/model/commits/main")).json()]
    url: str | None = "/api/models/ann/model/commits/main?limit=2"
    seen: list[str] = []
    while url is not None:
        response = await hub.get(url)
        seen += [commit["id"] for commit in response.json()]
        assert response.headers["X-Total-Count"] == "5"
        await hub.commit("models/ann/model", {"b.txt": str(len(seen)).encode()})
        match = re.fullmatch(r'<(http://hub\.test/[^>]+)>; rel="next"', response.headers.get("Link", ""))
        url = match[1] if match else None
    assert seen == whole


async def test_history_of_what_is_not_there(hub: Hub, model: str) -> None:
    """RevisionNotFound, as recorded."""
    recorded = golden("api-bad-revision-404")
    response = await hub.get("/api/models/ann/model/commits/no-such-branch-x9?limit=1")
    assert (response.status_code, response.json()) == (recorded["status"], recorded["body"])
    for name in ("x-error-code", "x-error-message", "content-type"):
        assert response.headers[name] == recorded["headers"][name]


# comparing and rewriting


async def test_a_comparison(hub: Hub, model: str) -> None:
    """Which files differ, and how, or the difference as text."""
    await hub.commit("models/ann/model", {"stays": b"", "changes": b"old\n", "goes": b"x"})
    first = await _head(hub)
    lines = [HEADER, inline("changes", b"new\n"), inline("comes", b"y"), line("deletedFile", path="goes")]
    await hub.post(COMMIT, content=ndjson(*lines), headers=NDJSON)
    answer = (await hub.get(f"/api/models/ann/model/compare/{first}..main")).json()
    assert {file["path"]: file["type"] for file in answer["files"]} == {
        "changes": "modified", "comes": "added", "goes": "deleted",
    }  # fmt: skip
    assert (answer["base"], answer["head"]) == (first, await _head(hub))
    text = await hub.get(f"/api/models/ann/model/compare/{first}..main?raw=true")
    assert "-old\n+new\n" in text.text
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("range_", "status"), [("main", 400), ("..main", 400), ("main..", 400), ("main..nope", 404)]
)
async def test_a_comparison_of_nothing(hub: Hub, model: str, range_: str, status: int) -> None:
    """Two revisions are needed, and both must be there."""
    assert (await hub.get(f"/api/models/ann/model/compare/{range_}")).status_code == status


async def test_squash(hub: Hub, model: str) -> None:
    """One commit with the same files."""
    await hub.commit("models/ann/model", {"a.txt": b"a"})
    response = await hub.post("/api/models/ann/model/super-squash/main", json={"message": "one"})
    [commit] = (await hub.get("/api/models/ann/model/commits/main")).json()
    assert (response.json(), commit["title"]) == ({"commitId": commit["id"]}, "one")
    assert await _paths(hub) == [".gitattributes", "a.txt"]


async def test_revert(hub: Hub, model: str) -> None:
    """Undoes one commit by another; what has been changed since is a conflict that names the files."""
    await hub.commit("models/ann/model", {"a.txt": b"a"})
    bad = await hub.commit("models/ann/model", {"a.txt": b"bad", "b.txt": b"bad"})
    path = "/api/models/ann/model/revert/main"
    response = await hub.post(path, json={"commit": bad["commitOid"], "summary": "undo"})
    assert response.json()["success"] is True
    assert response.json()["commitUrl"] == f"http://hub.test/ann/model/commit/{await _head(hub)}"
    assert (await hub.get("/ann/model/raw/main/a.txt")).content == b"a"
    assert "b.txt" not in await _paths(hub)
    await hub.commit("models/ann/model", {"a.txt": b"again"})
    response = await hub.post(path, json={"commit": bad["commitOid"]})
    assert (response.status_code, response.json()["files"]) == (409, ["a.txt", "b.txt"])


async def test_the_url_of_a_commit_shows_it(hub: Hub, model: str) -> None:
    """The client prints `commitUrl`: it leads to the commit's message and diff, for whoever may read the repo."""
    done = await hub.commit("models/ann/model", {"a.txt": b"one\n"})
    shown = await hub.get(done["commitUrl"])
    assert shown.headers["content-type"] == "text/plain; charset=utf-8"
    assert shown.text.startswith(f"commit {done['commitOid']}\nAuthor: ann\n")
    assert "\n    files\n" in shown.text
    assert shown.text.endswith("+++ b/a.txt\n@@ -0,0 +1 @@\n+one\n")
    await hub.put("/api/models/ann/model/settings", json={"private": True})
    assert (await hub.get(done["commitUrl"], headers=ANYBODY)).status_code == 401
