"""Listings by HTTP: folders in pages, and the paths that were asked for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.api.conftest import Hub, golden
from tests.api.likeness import missing

pytestmark = pytest.mark.anyio


@pytest.fixture
async def model(hub: Hub) -> None:
    """A model with files in folders, one of them large."""
    await hub.made()
    files = {"config.json": b"{}", "data/train/a.txt": b"a", "data/b.txt": b"bb", "zeta/z.txt": b"z"}
    await hub.commit("models/ann/model", files)
    await hub.large("models/ann/model", "data/weights.bin", b"\0" * 500)


async def _tree(hub: Hub, path: str = "main", **query: Any) -> list[dict[str, Any]]:
    response = await hub.get(f"/api/models/ann/model/tree/{path}", params=query)
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()
    return rows


async def test_folders_come_first(hub: Hub, model: None) -> None:
    """Then files, each sorted; 0.36's tests want it so."""
    assert [(row["type"], row["path"]) for row in await _tree(hub)] == [
        ("directory", "data"), ("directory", "zeta"), ("file", ".gitattributes"), ("file", "config.json"),
    ]  # fmt: skip


@pytest.mark.parametrize("yes", ["true", "True", "1"])
async def test_recursive_goes_into_folders(hub: Hub, model: None, yes: str) -> None:
    """And names them too; every spelling of a flag (CLIENTS requirement 9)."""
    assert [row["path"] for row in await _tree(hub, recursive=yes, expand="False")] == [
        "data", "data/train", "data/train/a.txt", "data/b.txt", "data/weights.bin", "zeta", "zeta/z.txt",
        ".gitattributes", "config.json",
    ]  # fmt: skip


async def test_a_tree_is_like_the_hubs(hub: Hub, model: None) -> None:
    """Row by row: a folder, a large file and a regular one, but for Xet."""
    rows = {row["path"]: row for row in await _tree(hub, recursive="true")}
    folder, large, regular = golden("tree-recursive-private-200")["body"]
    assert list(rows["data"]) == list(folder)
    assert list(rows["config.json"]) == list(regular)
    assert missing(rows["data/weights.bin"], large) == [".xetHash is missing"]
    assert rows["data/weights.bin"]["size"] == 500
    assert rows["data/weights.bin"]["lfs"]["pointerSize"] == 128


async def test_expand_adds_who_changed_it(hub: Hub, model: None) -> None:
    """The last commit of each entry, folders too, and for files what scanners think."""
    history = (await hub.get("/api/models/ann/model/commits/main")).json()
    rows = {row["path"]: row for row in await _tree(hub, expand="true", recursive="true")}
    assert rows["config.json"]["lastCommit"]["id"] == history[1]["id"]
    assert rows["data"]["lastCommit"]["id"] == history[0]["id"]
    assert rows["data/train"]["lastCommit"]["id"] == history[1]["id"]
    assert rows[".gitattributes"]["lastCommit"]["title"] == "initial commit"
    assert missing(rows["data/weights.bin"], golden("tree-expand-entry-200")["body"][0]) == [
        ".xetHash is missing"
    ]
    assert set(rows["config.json"]["securityFileStatus"]) == {"status", "avScan", "pickleImportScan"}
    assert "securityFileStatus" not in rows["data"]


@pytest.mark.parametrize("path", ["data%2Ftrain", "data/train", "data/train/"])
async def test_a_folders_path_may_be_encoded_or_not(hub: Hub, model: None, path: str) -> None:
    """Python encodes it as a whole, others leave its slashes (HUB 1.4)."""
    assert [row["path"] for row in await _tree(hub, f"main/{path}")] == ["data/train/a.txt"]


@pytest.mark.parametrize("revision", ["refs%2Fpr%2F1", "refs/pr/1"])
async def test_a_pull_requests_tree(hub: Hub, model: None, revision: str) -> None:
    """By its ref in one segment or in three."""
    await hub.commit("models/ann/model", {"data/new.txt": b"n"}, create_pr="1")
    assert "data/new.txt" in [row["path"] for row in await _tree(hub, f"{revision}/data")]


@pytest.mark.parametrize("path", ["additional_chat_templates", "config.json", "data/nope", "data/b.txt/c"])
async def test_a_folder_that_is_not_there(hub: Hub, model: None, path: str) -> None:
    """404 EntryNotFound in the Hub's words, the revision as it was asked for; a file is no folder."""
    recorded = golden("api-tree-missing-path-404")
    response = await hub.get(f"/api/models/ann/model/tree/main/{path}?recursive=False&expand=False")
    assert response.status_code == recorded["status"]
    assert response.headers["X-Error-Code"] == recorded["headers"]["x-error-code"]
    assert response.json() == {"error": recorded["body"]["error"].replace("additional_chat_templates", path)}


async def test_pages(hub: Hub, model: None) -> None:
    """Every entry once, in order, whatever the size of a page; Link is absolute and keeps the query."""
    whole = await _tree(hub, recursive="true")
    for limit in range(1, len(whole) + 1):
        url: str | None = f"/api/models/ann/model/tree/main?recursive=True&expand=False&limit={limit}"
        seen: list[dict[str, Any]] = []
        while url is not None:
            response = await hub.get(url)
            seen += response.json()
            match = re.fullmatch(r'<(http://hub\.test/[^>]+)>; rel="next"', response.headers.get("Link", ""))
            url = match[1] if match else None
        assert seen == whole


async def test_pages_are_of_one_commit(hub: Hub, model: None) -> None:
    """A push between two pages changes nothing for whoever is under way."""
    whole = await _tree(hub, recursive="true")
    first = await hub.get("/api/models/ann/model/tree/main?recursive=true&limit=4")
    await hub.commit("models/ann/model", {"data/aaa.txt": b"", "zeta/aaa.txt": b""})
    link = re.fullmatch(r"<(.+)>; .*", first.headers["Link"])
    assert link is not None
    assert first.json() + (await hub.get(link[1].replace("limit=4", "limit=100"))).json() == whole


async def test_pages_of_a_folder_with_an_awkward_name(hub: Hub) -> None:
    """Blanks, signs and letters of any script survive the link."""
    await hub.made()
    names = [f"a b/ü%?#&=/{number}+é.txt" for number in range(3)]
    await hub.commit("models/ann/model", dict.fromkeys(names, b""))
    response = await hub.get("/api/models/ann/model/tree/main/a%20b%2F%C3%BC%25%3F%23%26%3D?limit=1")
    seen = [response.json()[0]["path"]]
    while match := re.fullmatch(r"<(.+)>; .*", response.headers.get("Link", "")):
        response = await hub.get(match[1])
        seen.append(response.json()[0]["path"])
    assert seen == names


@pytest.mark.parametrize("query", ["recursive=maybe", "limit=x", "cursor=%F0", "cursor=a", "expand=2"])
async def test_nonsense_in_the_query_is_refused(hub: Hub, model: None, query: str) -> None:
    """400, never 500."""
    assert (await hub.get(f"/api/models/ann/model/tree/main?{query}")).status_code == 400


async def test_an_invented_cursor_is_a_place_like_any(hub: Hub, model: None) -> None:
    """What stands behind a path that is not there is found; nothing outside the folder is."""
    response = await hub.get("/api/models/ann/model/tree/main/data?cursor=Li4vLi4vZXRjL3Bhc3N3ZA==")
    assert response.status_code == 200
    assert all(row["path"].startswith("data/") for row in response.json())


# paths-info


async def test_paths_info_is_like_the_hubs(hub: Hub, model: None) -> None:
    """JSON as JavaScript sends it, a form as Python does; absent paths are left out, folders are not."""
    recorded = golden("paths-info-200")
    asked = {"paths": ["data/weights.bin", "nope", "data"], "expand": True}
    response = await hub.post("/api/models/ann/model/paths-info/main", json=asked)
    large, folder = response.json()
    assert missing(large, recorded["body"][0]) == [".xetHash is missing"]
    assert (folder["type"], folder["path"]) == ("directory", "data")
    form = {"paths": ["data/weights.bin", "nope", "data"], "expand": "True"}
    assert (await hub.post("/api/models/ann/model/paths-info/main", data=form)).json() == response.json()


@pytest.mark.parametrize(
    ("body", "found"),
    [({"paths": "config.json"}, 1), ({"paths": []}, 0), ({}, 0), ({"paths": ["", "/", "..", "nope"]}, 0)],
)
async def test_paths_info_of_little(hub: Hub, model: None, body: dict[str, Any], found: int) -> None:
    """One path may be a bare string; none is an empty list."""
    response = await hub.post("/api/models/ann/model/paths-info/main", json=body)
    assert (response.status_code, len(response.json())) == (200, found)


async def test_paths_info_has_a_limit(hub: Hub, model: None) -> None:
    """2 000 paths are answered, one more is refused; so is a form of too many fields."""
    many = [f"p{number}" for number in range(2000)]
    assert (await hub.post("/api/models/ann/model/paths-info/main", data={"paths": many})).json() == []
    for count in (2001, 6000):
        form = {"paths": ["p"] * count}
        assert (await hub.post("/api/models/ann/model/paths-info/main", data=form)).status_code == 400
    body = b'{"paths": ["' + b"x" * (9 << 20) + b'"]}'
    assert (await hub.post("/api/models/ann/model/paths-info/main", content=body)).status_code == 413
