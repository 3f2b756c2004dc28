"""Branches and tags by HTTP."""

from __future__ import annotations

import pytest

from tests.api.conftest import Hub, People, bearer, golden
from tests.api.likeness import missing

pytestmark = pytest.mark.anyio

API = "/api/models/ann/model"


@pytest.fixture(autouse=True)
async def model(hub: Hub) -> str:
    return await hub.made()


async def _names(hub: Hub) -> dict[str, list[str]]:
    lists = (await hub.get(f"{API}/refs?include_prs=1")).json()
    return {kind: [ref["name"] for ref in refs] for kind, refs in lists.items()}


async def test_refs_are_like_the_hubs(hub: Hub) -> None:
    """All lists are there, `main` first among branches; pull requests only when asked for."""
    await hub.commit("models/ann/model", {"a": b"a"}, create_pr="1")
    await hub.post(f"{API}/branch/a-branch", json={})
    recorded = golden("refs-200")["body"]
    ours = (await hub.get(f"{API}/refs?include_prs=1")).json()
    assert list(ours) == list(recorded)
    assert not missing(ours, recorded)
    assert [branch["name"] for branch in ours["branches"]] == ["main", "a-branch"]
    assert ours["pullRequests"][0]["ref"] == "refs/pr/1"
    for query in ("", "?include_prs=0", "?include_prs=False"):
        assert "pullRequests" not in (await hub.get(f"{API}/refs{query}")).json()


async def test_a_branch(hub: Hub) -> None:
    """Made at `main` or where it is said, listed, removed; twice is 409 in the Hub's words."""
    first = (await hub.get(API)).json()["sha"]
    await hub.commit("models/ann/model", {"a": b"a"})
    assert (await hub.post(f"{API}/branch/dev%2Fx", json={"startingPoint": first[:8]})).status_code == 200
    assert (await hub.get(f"{API}/revision/dev%2Fx")).json()["sha"] == first
    assert (await hub.post(f"{API}/branch/plain")).status_code == 200
    response = await hub.post(f"{API}/branch/plain", json={})
    assert (response.status_code, response.json()["error"]) == (
        409,
        "Reference refs/heads/plain already exists",
    )
    assert (
        await hub.post(f"{API}/branch/plain", json={"overwrite": True, "startingPoint": first})
    ).status_code == 200
    assert (await hub.delete(f"{API}/branch/dev%2Fx")).status_code == 200
    assert (await _names(hub))["branches"] == ["main", "plain"]


async def test_an_empty_branch(hub: Hub) -> None:
    """As JavaScript asks for it: nothing in it and no history."""
    assert (await hub.post(f"{API}/branch/blank", json={"emptyBranch": True})).status_code == 200
    assert (await hub.get(f"{API}/tree/blank")).json() == []


async def test_branches_that_cannot_be(hub: Hub, people: People) -> None:
    """Bad names, absent starts, `main`, and who may not."""
    response = await hub.post(f"{API}/branch/a%20b", json={})
    assert (response.status_code, response.json()["error"]) == (400, "Invalid reference for a branch")
    response = await hub.post(f"{API}/branch/x", json={"startingPoint": "nope"})
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    response = await hub.delete(f"{API}/branch/main")
    assert (response.status_code, response.json()["error"]) == (403, "Cannot delete refs/heads/main")
    response = await hub.delete(f"{API}/branch/nope")
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert (await hub.post(f"{API}/branch/x", json={}, headers=bearer(people.bob))).status_code == 403


async def test_a_tag(hub: Hub) -> None:
    """At any revision, a short commit id too; twice is 409; a branch of its name is another thing."""
    first = (await hub.get(API)).json()["sha"]
    await hub.commit("models/ann/model", {"a": b"a"})
    assert (await hub.post(f"{API}/tag/{first[:7]}", json={"tag": "v1", "message": "one"})).status_code == 200
    assert (await hub.get(f"{API}/revision/v1")).json()["sha"] == first
    assert (await hub.post(f"{API}/tag/main", json={"tag": "v1"})).status_code == 409
    assert (await hub.post(f"{API}/branch/v1", json={})).status_code == 200
    assert (await hub.delete(f"{API}/tag/v1")).status_code == 200
    assert await _names(hub) == {"tags": [], "branches": ["main", "v1"], "converts": [], "pullRequests": []}


async def test_tags_that_cannot_be(hub: Hub) -> None:
    """The revision is looked at before the name; what is no tag cannot be deleted as one."""
    response = await hub.post(f"{API}/tag/nope", json={"tag": "bad name"})
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert (await hub.post(f"{API}/tag/main", json={"tag": "bad name"})).status_code == 400
    for name in ("nope", "main"):
        response = await hub.delete(f"{API}/tag/{name}")
        assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    for body in (b"{}", b"[]", b'{"tag": 1}', b"nonsense"):
        assert (await hub.post(f"{API}/tag/main", content=body)).status_code == 400
