"""Discussions and pull requests by HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import ANYBODY, Connect, Hub, People, bearer, golden
from tests.api.likeness import missing

pytestmark = pytest.mark.anyio

API = "/api/models/ann/model/discussions"


@pytest.fixture(autouse=True)
async def model(hub: Hub) -> str:
    return await hub.made()


async def _open(hub: Hub, title: str = "A question", **more: Any) -> int:
    response = await hub.post(API, json={"title": title, "description": "of mine", **more})
    assert response.status_code == 200, response.text
    num: int = response.json()["num"]
    return num


async def test_a_list_is_like_the_hubs(hub: Hub) -> None:
    """Newest first, counted, with the recorded keys."""
    await _open(hub)
    await _open(hub, "A change", pullRequest=True)
    page = (await hub.get(f"{API}?p=0")).json()
    assert not missing(page, golden("discussions-page-200")["body"])
    assert [(row["num"], row["isPullRequest"], row["status"]) for row in page["discussions"]] == [
        (2, True, "draft"), (1, False, "open"),
    ]  # fmt: skip
    assert (page["count"], page["start"]) == (2, 0)


@pytest.mark.parametrize(
    ("query", "nums"),
    [
        ("type=discussion", [1]),
        ("type=pull_request", [2]),
        ("status=closed", []),
        ("status=open&type=all", [2, 1]),
        ("author=ann", [2, 1]),
        ("author=nobody", []),
        ("p=7", []),
    ],
)
async def test_filters(hub: Hub, query: str, nums: list[int]) -> None:
    """By kind, state and author; a page behind the last is empty."""
    await _open(hub)
    await _open(hub, pullRequest=True)
    assert [row["num"] for row in (await hub.get(f"{API}?{query}")).json()["discussions"]] == nums


async def test_a_discussion(hub: Hub, people: People, connect: Connect) -> None:
    """Its description is its first event; comments, titles and states are answered as events."""
    num = await _open(hub)
    bob = connect(people.bob)
    comment = (await bob.post(f"{API}/{num}/comment", json={"comment": "An <b>answer</b>"})).json()[
        "newMessage"
    ]
    assert (comment["type"], comment["author"]) == ("comment", {"name": "bob", "type": "user"})
    assert comment["data"]["latest"]["raw"] == "An <b>answer</b>"
    title = (await hub.post(f"{API}/{num}/title", json={"title": "Another title"})).json()["newTitle"]
    assert title["data"] == {"from": "A question", "to": "Another title"}
    status = (await hub.post(f"{API}/{num}/status", json={"status": "closed", "comment": "done"})).json()[
        "newStatus"
    ]
    assert status["data"] == {"status": "closed"}
    detail = (await hub.get(f"{API}/{num}?diff=1")).json()
    assert [event["type"] for event in detail["events"]] == [
        "comment", "comment", "title-change", "comment", "status-change",
    ]  # fmt: skip
    assert detail["events"][0]["data"]["latest"]["raw"] == "of mine"
    assert (detail["title"], detail["status"], detail["isPullRequest"]) == ("Another title", "closed", False)
    assert "changes" not in detail


async def test_comments_can_be_changed(hub: Hub, people: People) -> None:
    """Edited by their author, hidden by whoever may write; ids in any case."""
    num = await _open(hub)
    [event] = (await hub.get(f"{API}/{num}")).json()["events"]
    edited = await hub.post(f"{API}/{num}/comment/{event['id'].upper()}/edit", json={"content": "better"})
    assert edited.json()["updatedComment"]["data"]["edited"] is True
    refused = await hub.post(
        f"{API}/{num}/comment/{event['id']}/edit", json={"content": "worse"}, headers=bearer(people.bob)
    )
    assert refused.status_code == 403
    hidden = (await hub.post(f"{API}/{num}/comment/{event['id']}/hide")).json()["updatedComment"]
    assert hidden["data"]["hidden"] is True
    assert "better" not in hidden["data"]["latest"]["raw"]


async def test_a_pull_request_is_merged(hub: Hub) -> None:
    """What it would change is shown; merged, it says by which commit. `null` is a body too."""
    num = await _open(hub, "A change", pullRequest=True)
    await hub.commit("models/ann/model", {"new.txt": b"new\n"}, f"refs%2Fpr%2F{num}")
    detail = (await hub.get(f"{API}/{num}?diff=1")).json()
    assert detail["changes"] == {"base": "refs/heads/main"}
    assert detail["filesWithConflicts"] == []
    assert "+new\n" in detail["diff"]
    assert [event["type"] for event in detail["events"]] == ["comment", "commit"]
    merged = await hub.post(
        f"{API}/{num}/merge", content=b"null", headers={"Content-Type": "application/json"}
    )
    assert merged.status_code == 200, merged.text
    detail = (await hub.get(f"{API}/{num}")).json()
    info = (await hub.get("/api/models/ann/model")).json()
    assert (detail["status"], detail["changes"]["mergeCommitId"]) == ("merged", info["sha"])
    assert "new.txt" in [file["rfilename"] for file in info["siblings"]]


async def test_what_cannot_be(hub: Hub, people: People) -> None:
    """Each is refused with its own status."""
    num = await _open(hub)
    assert (await hub.get(f"{API}/99")).status_code == 404
    assert (await hub.post(f"{API}/{num}/merge")).status_code == 400
    assert (await hub.post(f"{API}/{num}/status", json={"status": "merged"})).status_code == 400
    assert (await hub.post(f"{API}/{num}/comment", json={"comment": " "})).status_code == 400
    assert (await hub.post(f"{API}/{num}/comment", json={})).status_code == 400
    assert (await hub.post(f"{API}/{num}/comment/nope/edit", json={"content": "x"})).status_code == 404
    assert (await hub.post(API, json={"title": "x"}, headers=ANYBODY)).status_code == 401
    assert (
        await hub.post(f"{API}/{num}/title", json={"title": "mine"}, headers=bearer(people.bob))
    ).status_code == 403
    assert (await hub.get(f"{API}?status=odd")).status_code == 400
    assert (await hub.post(f"{API}/{num}/pin", json={})).status_code == 501
