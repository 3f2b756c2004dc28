"""
What breaks a client when it is missing: CLIENTS section 1, one test for each requirement, and the pitfalls that concern
a server of its own repos. Requirement 16 (Xet) and 17 (Ollama) come with what they need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from hubreg.formats.gitobjects import object_oid
from hubreg.identity.credentials import new_token
from tests.api.conftest import ANYBODY, Connect, Hub, People, bearer

pytestmark = pytest.mark.anyio

COMMIT_ID = re.compile("[0-9a-f]{40}")
CONFIG = b'{"a": 1}'


@pytest.fixture
async def model(hub: Hub) -> str:
    """A public model; the id of its commit."""
    await hub.made()
    commit: str = (await hub.commit("models/ann/model", {"config.json": CONFIG, "empty": b""}))["commitOid"]
    return commit


async def test_1_agent_harnesses_is_an_object(hub: Hub) -> None:
    """A list breaks every call of the client, a 404 is asked for again by every process."""
    answer = await hub.get("/api/agent-harnesses", headers=ANYBODY)
    assert (answer.status_code, answer.json()) == (200, {"standardEnvVars": [], "harnesses": {}})


async def test_2_info_has_sha_and_siblings(hub: Hub, model: str) -> None:
    """With and without a revision; HEAD is a revision; `expand` is repeated."""
    for path in ("", "/revision/main", "/revision/HEAD", f"/revision/{model}"):
        info = (await hub.get(f"/api/models/ann/model{path}")).json()
        assert COMMIT_ID.fullmatch(info["sha"])
        assert {"rfilename": "config.json"} in info["siblings"]
    info = (await hub.get("/api/models/ann/model?expand=sha&expand=siblings")).json()
    assert set(info) == {"_id", "id", "sha", "siblings"}


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_3_resolve_has_commit_etag_length_and_ranges(hub: Hub, model: str, method: str) -> None:
    """A quoted strong ETag, the identity length, and no compression, whatever is accepted."""
    for encoding in ("identity", "gzip, br"):
        response = await hub.request(
            method, f"/ann/model/resolve/{model}/config.json", headers={"Accept-Encoding": encoding}
        )
        assert response.headers["X-Repo-Commit"] == model
        assert response.headers["ETag"] == f'"{object_oid("blob", CONFIG)}"'
        assert response.headers["Content-Length"] == str(len(CONFIG))
        assert response.headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in response.headers


async def test_4_a_missing_file_has_code_and_commit(hub: Hub, model: str) -> None:
    """Else its absence is not remembered, and every warm load asks again."""
    for revision in ("main", model):
        response = await hub.head(f"/ann/model/resolve/{revision}/adapter_config.json")
        assert response.status_code == 404
        assert response.headers["X-Error-Code"] == "EntryNotFound"
        assert response.headers["X-Repo-Commit"] == model


async def test_5_every_refusal_has_its_code(hub: Hub, model: str, people: People) -> None:
    """Over plain http a bare 401 is an ugly error."""
    await hub.made("ann/gated")
    await hub.put("/api/models/ann/gated/settings", json={"gated": "auto"})
    for path, headers, status, code in (
        ("/ann/model/resolve/nope/config.json", {}, 404, "RevisionNotFound"),
        ("/api/models/ann/model/revision/nope", {}, 404, "RevisionNotFound"),
        ("/ann/nope/resolve/main/config.json", {}, 404, "RepoNotFound"),
        ("/ann/nope/resolve/main/config.json", ANYBODY, 401, "RepoNotFound"),
        ("/api/models/ann/nope", ANYBODY, 401, "RepoNotFound"),
        ("/ann/gated/resolve/main/.gitattributes", ANYBODY, 401, "GatedRepo"),
        ("/ann/gated/resolve/main/.gitattributes", bearer(people.bob), 403, "GatedRepo"),
    ):
        for method in ("HEAD", "GET"):
            response = await hub.request(method, path, headers=headers)
            assert (response.status_code, response.headers["X-Error-Code"]) == (status, code)
            assert response.headers["X-Error-Message"]


async def test_6_the_last_hop_has_the_headers(hub: Hub, model: str) -> None:
    """Clients follow a redirect within the origin and read the answer they arrive at; old ones read the first."""
    response = await hub.head("/ann/model/resolve/main/config.json", follow_redirects=True)
    [first] = response.history
    assert {"x-repo-commit", "etag", "content-length"} <= set(response.headers)
    assert {"x-repo-commit", "x-linked-etag", "x-linked-size"} <= set(first.headers)


async def test_7_a_redirect_needs_no_query(hub: Hub, model: str) -> None:
    """0.36 follows only the path of a relative Location."""
    location = (await hub.head("/ann/model/resolve/main/config.json")).headers["Location"]
    assert location.startswith("/")
    assert "?" not in location


async def test_8_ranges(hub: Hub, model: str) -> None:
    """One byte for the size; an end past the end; suffix and open; nothing of an empty file."""
    url, size = f"/ann/model/resolve/{model}/config.json", len(CONFIG)
    for asked, status, content in (
        ("bytes=0-0", 206, CONFIG[:1]),
        (f"bytes=0-{size}", 206, CONFIG),
        ("bytes=-3", 206, CONFIG[-3:]),
        ("bytes=2-", 206, CONFIG[2:]),
    ):
        response = await hub.get(url, headers={"Range": asked})
        assert (response.status_code, response.content) == (status, content)
        assert response.headers["Content-Range"].endswith(f"/{size}")
    empty = await hub.get(f"/ann/model/resolve/{model}/empty", headers={"Range": "bytes=0-0"})
    assert empty.is_success
    assert empty.headers["Content-Range"].endswith("/0")


async def test_9_flags_are_spelled_in_three_ways(hub: Hub, model: str) -> None:
    """`true`, `True`, `1`."""
    await hub.commit("models/ann/model", {"a/b": b""})
    for yes, no in (("true", "false"), ("True", "False"), ("1", "0")):
        rows = (await hub.get(f"/api/models/ann/model/tree/main?recursive={yes}&expand={no}")).json()
        assert "a/b" in [row["path"] for row in rows]
        assert "lastCommit" not in rows[0]


async def test_10_a_missing_folder_is_entry_not_found(hub: Hub, model: str) -> None:
    """Asked for by every load of a tokenizer."""
    response = await hub.get("/api/models/ann/model/tree/main/additional_chat_templates?recursive=False")
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "EntryNotFound")


async def test_11_main_is_in_every_repo(hub: Hub) -> None:
    """From the beginning, in each type."""
    for type_, web in (("model", ""), ("dataset", "datasets/"), ("space", "spaces/")):
        await hub.made("ann/new", type_, sdk="static")
        assert (await hub.head(f"/{web}ann/new/resolve/main/.gitattributes")).status_code == 307
        assert (await hub.get(f"/api/{type_}s/ann/new/tree/main")).status_code == 200


async def test_12_refs_have_main(hub: Hub, model: str) -> None:
    """With a whole commit id; llama.cpp starts there."""
    branches = (await hub.get("/api/models/ann/model/refs")).json()["branches"]
    assert branches == [{"name": "main", "ref": "refs/heads/main", "targetCommit": model}]


def test_13_tokens_look_like_the_hubs() -> None:
    """llama.cpp drops any other."""
    assert re.fullmatch("hf_[A-Za-z0-9]{34,}", new_token())


async def test_14_doubled_slashes(connect: Connect, hub: Hub, model: str, people: People) -> None:
    """An endpoint that ends in a slash, with another behind it."""
    response = await connect(people.ann).get("http://hub.test//ann/model/resolve/main/config.json")
    assert response.headers["Location"] == f"/ann/model/resolve/{model}/config.json"


async def test_15_a_repo_that_exists_says_where(hub: Hub, model: str) -> None:
    """0.36 reads `url` off the 409 when `exist_ok` is set."""
    response = await hub.post("/api/repos/create", json={"name": "model", "organization": "ann"})
    assert (response.status_code, response.json()["url"]) == (409, "http://hub.test/ann/model")


async def test_18_accepting_xet_changes_nothing(hub: Hub, model: str) -> None:
    """For a file that is not in Xet; and a file that is not there is one that is not there."""
    accept = {"Accept": "application/vnd.xet-fileinfo+json, */*", "Range": "bytes=0-0"}
    response = await hub.get("/ann/model/resolve/main/config.json", headers=accept, follow_redirects=True)
    assert (response.status_code, response.content) == (206, CONFIG[:1])
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    response = await hub.get("/ann/model/resolve/main/nope", headers=accept)
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "EntryNotFound")


# PITFALLS


async def test_xet_is_promised_nowhere(hub: Hub) -> None:
    """Neither in headers nor in listings: clients would go there and fail (PITFALLS 19)."""
    await hub.made()
    await hub.large("models/ann/model", "w.bin", b"\0" * 3000)
    await hub.commit("models/ann/model", {"a.txt": b"a"})
    api = "/api/models/ann/model"
    for path in ("/ann/model/resolve/main/w.bin", f"{api}?blobs=true", f"{api}/tree/main?expand=true"):
        response = await hub.get(path, follow_redirects=True)
        seen = [*response.headers, *[name for hop in response.history for name in hop.headers]]
        assert not [name for name in seen if name.startswith("x-xet")]
        assert "xetHash" not in response.text
        assert "Link" not in response.headers


async def test_what_is_not_known_is_left_out(hub: Hub) -> None:
    """Absent and not null, but for the one key that the Hub itself has null (PITFALLS 30)."""
    await hub.made()
    await hub.commit("models/ann/model", {"a/b.txt": b""})
    found: set[str] = set()
    for path in (
        "",
        "/tree/main?recursive=true&expand=true",
        "/commits/main",
        "/refs",
        "/revision/main?blobs=true",
    ):
        found |= set(_nulls((await hub.get(f"/api/models/ann/model{path}")).json()))
    assert found == {"model-index"}


def _nulls(value: Any, key: str = "") -> Iterator[str]:
    if value is None:
        yield key
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _nulls(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from _nulls(below, key)


async def test_every_url_is_of_this_hub(hub: Hub) -> None:
    """Whatever is followed with the caller's token is absolute and begins where it asked (PITFALLS 13)."""
    await hub.made()
    made = [
        (await hub.post("/api/repos/create", json={"name": "other"})).json()["url"],
        (await hub.commit("models/ann/model", {"a": b"a"}))["commitUrl"],
        (await hub.commit("models/ann/model", {"a": b"b"}, create_pr="1"))["pullRequestUrl"],
        (await hub.post("/api/models/ann/model/discussions", json={"title": "title"})).json()["url"],
    ]
    api = "/api/models/ann/model"
    for path in ("/api/models?limit=1", f"{api}/tree/main?limit=1", f"{api}/commits/main?limit=1"):
        made.append((await hub.get(path)).headers["Link"].lstrip("<"))
    assert all(url.startswith("http://hub.test/") for url in made)
