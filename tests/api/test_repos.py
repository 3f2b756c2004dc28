"""Repos by HTTP: what is known of one, lists, and how they are made and changed."""

from __future__ import annotations

import base64
import re
import threading
from typing import Any

import pytest

from hubreg.formats import hubjson
from hubreg.formats.hubjson import EXPANDABLE
from hubreg.model import RepoType
from tests.api.conftest import ANYBODY, STRANGE, Connect, Hub, People, bearer, golden
from tests.api.likeness import missing

pytestmark = pytest.mark.anyio

CARD = b"---\nlicense: mit\ntags: [tiny]\npipeline_tag: text-generation\nlibrary_name: transformers\n---\n# Tiny\n"


@pytest.fixture
async def model(hub: Hub) -> str:
    """A public model with a card and a configuration; its id."""
    name = await hub.made()
    await hub.commit("models/ann/model", {"README.md": CARD, "config.json": b'{"model_type": "bert"}'})
    return name


# info


async def test_info_is_like_the_hubs(hub: Hub, model: str) -> None:
    """Every recorded key but those that the Hub computes elsewhere."""
    await hub.put("/api/models/ann/model/settings", json={"private": True})
    ours = (await hub.get("/api/models/ann/model/revision/main")).json()
    recorded = golden("model-info-revision-private-200")["body"]
    assert missing(ours, recorded) == [".transformersInfo is missing", ".widgetData is missing"]
    assert (ours["id"], ours["modelId"], ours["author"]) == ("ann/model", "ann/model", "ann")
    assert re.fullmatch("[0-9a-f]{24}", ours["_id"])
    assert re.fullmatch("[0-9a-f]{40}", ours["sha"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ours["createdAt"])
    assert ours["cardData"]["license"] == "mit"
    assert ours["config"]["model_type"] == "bert"
    assert (ours["pipeline_tag"], ours["library_name"]) == ("text-generation", "transformers")


async def test_info_of_the_other_types(hub: Hub) -> None:
    """Datasets have what was recorded of one, Spaces their kit and that it does not run here."""
    await hub.made("ann/data", "dataset")
    await hub.made("ann/demo", "space", sdk="gradio")
    dataset = (await hub.get("/api/datasets/ann/data")).json()
    assert missing(dataset, golden("dataset-info-200")["body"]) == [
        ".citation is missing",
        ".description is missing",
    ]
    assert "modelId" not in dataset
    space = (await hub.get("/api/spaces/ann/demo")).json()
    assert (space["sdk"], space["subdomain"], space["runtime"]["stage"]) == ("gradio", "ann-demo", "PAUSED")
    assert [file["rfilename"] for file in space["siblings"]] == [".gitattributes", "README.md"]


async def test_sizes_come_when_asked_for(hub: Hub, model: str) -> None:
    """`blobs`: size and git's oid, and for a large file what its pointer says, under the name `sha256`."""
    sha256 = await hub.large("models/ann/model", "model.safetensors", b"\0" * 2000)
    plain = (await hub.get("/api/models/ann/model")).json()["siblings"]
    assert all(list(file) == ["rfilename"] for file in plain)
    recorded = {
        file["rfilename"]: file for file in golden("model-info-siblings-blobs-200")["body"]["siblings"]
    }
    for flag in ("true", "True", "1"):
        files = (await hub.get(f"/api/models/ann/model/revision/main?blobs={flag}")).json()["siblings"]
        found = {file["rfilename"]: file for file in files}
        for name, file in recorded.items():
            assert list(found[name]) == list(file)
            assert not missing(found[name], file)
    assert found["model.safetensors"]["lfs"] == {"sha256": sha256, "size": 2000, "pointerSize": 129}


async def test_security_status_comes_when_asked_for(hub: Hub, model: str) -> None:
    """Nothing was scanned, and that is what it says."""
    assert "securityRepoStatus" not in (await hub.get("/api/models/ann/model")).json()
    answer = (await hub.get("/api/models/ann/model?securityStatus=true")).json()
    assert answer["securityRepoStatus"] == {"scansDone": False, "filesWithIssues": []}


@pytest.mark.parametrize("key", ["expand", "expand[]"])
async def test_expand_is_what_was_asked_and_the_ids(hub: Hub, model: str, key: str) -> None:
    """Repeated, with brackets or without (HUB 1.5)."""
    answer = (
        await hub.get("/api/models/ann/model", params={key: ["author", "sha", "siblings", "gguf"]})
    ).json()
    assert sorted(answer) == ["_id", "author", "id", "sha", "siblings"]
    assert sorted((await hub.get("/api/models/ann/model", params={key: "likes"})).json()) == [
        "_id",
        "id",
        "likes",
    ]


async def test_expand_is_like_the_hubs(hub: Hub, model: str) -> None:
    """What a recorded request asked for is there, but for the count of children."""
    recorded = golden("model-info-expand-200")
    answer = (await hub.get(recorded["request"]["path"].replace("openai-community/gpt2", "ann/model"))).json()
    assert missing(answer, recorded["body"]) == [".childrenModelCount is missing"]


@pytest.mark.parametrize("type_", list(RepoType))
async def test_expand_refuses_what_there_is_not(hub: Hub, type_: RepoType) -> None:
    """400, and the values that there are can be read off the sentence; joined by a comma they are none of them."""
    await hub.made("ann/it", type_.value, sdk="static")
    for value in ("does_not_exist", "author,sha"):
        response = await hub.get(f"/api/{type_.plural}/ann/it", params={"expand": ["author", value]})
        assert response.status_code == 400
        options = re.findall(r'"([^"]+)"', response.json()["error"].split("expected one of ")[1])
        assert set(options) - {"gitalyUid", "xetEnabled"} == set(EXPANDABLE[type_])
        assert (await hub.get(f"/api/{type_.plural}", params={"expand": value})).status_code == 400


async def test_every_value_of_expand_is_taken(hub: Hub, model: str) -> None:
    """Also those that nothing is known for."""
    answer = await hub.get("/api/models/ann/model", params={"expand": list(EXPANDABLE[RepoType.MODEL])})
    assert answer.status_code == 200


async def test_info_at_a_revision(hub: Hub, model: str) -> None:
    """Its commit and its files; one that is not there is RevisionNotFound."""
    first = (await hub.get("/api/models/ann/model")).json()["sha"]
    await hub.commit("models/ann/model", {"new.txt": b"new"})
    old = (await hub.get(f"/api/models/ann/model/revision/{first[:8]}")).json()
    assert old["sha"] == first
    assert "new.txt" not in [file["rfilename"] for file in old["siblings"]]
    assert (await hub.get("/api/models/ann/model/revision/HEAD")).json()["sha"] != first
    response = await hub.get("/api/models/ann/model/revision/nope")
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert response.json() == {"error": "Invalid rev id: nope"}


async def test_an_answer_that_did_not_change_is_not_sent_again(hub: Hub, model: str) -> None:
    """The Hub's weak ETag, and 304 to whoever has it; a push changes it."""
    first = await hub.get("/api/models/ann/model")
    same = {"If-None-Match": first.headers["ETag"]}
    assert re.fullmatch(r'W/"[0-9a-f]+-[A-Za-z0-9+/]{27}"', first.headers["ETag"])
    again = await hub.get("/api/models/ann/model", headers=same)
    assert (again.status_code, again.content) == (304, b"")
    await hub.commit("models/ann/model", {"new.txt": b"new"})
    assert (await hub.get("/api/models/ann/model", headers=same)).status_code == 200


# who may know


async def test_a_repo_that_is_not_there_is_said_as_the_hub_says_it(hub: Hub) -> None:
    """401 to anybody, 404 to somebody, a code in both."""
    for name, headers in (("missing-or-private-anonymous-401", ANYBODY), ("missing-authenticated-404", {})):
        recorded = golden(f"api-{name}")
        response = await hub.get("/api/models/ann/no-such-model", headers=headers)
        assert (response.status_code, response.json()) == (recorded["status"], recorded["body"])
        assert response.headers["X-Error-Message"] == recorded["headers"]["x-error-message"]
        assert response.headers.get("WWW-Authenticate") == recorded["headers"].get("www-authenticate")
        assert response.headers["X-Error-Code"] == "RepoNotFound"


async def test_a_private_repo_is_as_if_it_were_not_there(hub: Hub, people: People) -> None:
    """To a stranger the answers for a private repo and for none differ in nothing."""
    await hub.made("ann/secret", private=True)
    for path in ("", "/refs", "/tree/main", "/commits/main", "/revision/main", "/discussions", "/auth-check"):
        for headers in (ANYBODY, bearer(people.bob), STRANGE):
            hidden = await hub.get(f"/api/models/ann/secret{path}", headers=headers)
            absent = await hub.get(f"/api/models/ann/nothing{path}", headers=headers)
            assert (hidden.status_code, hidden.text) == (absent.status_code, absent.text)
            assert hidden.status_code in (401, 404)
            assert hidden.headers["X-Error-Code"] == absent.headers["X-Error-Code"]


async def test_members_know_the_organisations_private_repos(hub: Hub, people: People) -> None:
    """New repos of `acme` are private; `cat` may only read there."""
    await hub.made("acme/model")
    info = await hub.get("/api/models/acme/model", headers=bearer(people.cat))
    assert info.json()["private"] is True
    assert (await hub.get("/api/models/acme/model/auth-check", headers=bearer(people.cat))).status_code == 200
    response = await hub.get("/api/models/acme/model/auth-check/write", headers=bearer(people.cat))
    assert response.status_code == 403
    assert (await hub.get("/api/models/acme/model", headers=bearer(people.bob))).status_code == 404


async def test_auth_check(hub: Hub, model: str, people: People) -> None:
    """Reading is for all, writing for the owner with a token that may."""
    assert (await hub.get("/api/models/ann/model/auth-check", headers=ANYBODY)).status_code == 200
    assert (await hub.get("/api/models/ann/model/auth-check/write")).status_code == 200
    for token, status in ((people.bob, 403), (people.ann_reads, 403)):
        response = await hub.get("/api/models/ann/model/auth-check/write", headers=bearer(token))
        assert response.status_code == status
    assert (await hub.get("/api/models/ann/model/auth-check/write", headers=ANYBODY)).status_code == 401


# names


async def test_another_spelling_redirects_readers(hub: Hub, model: str) -> None:
    """307 to the repo's own name, relative, the query kept; the shape is the Hub's."""
    recorded = golden("redirect-307-case")
    response = await hub.get("/api/models/Ann/MODEL?expand[]=author")
    assert response.status_code == recorded["status"]
    assert response.headers["Location"] == "/api/models/ann/model?expand[]=author"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    response = await hub.head("/api/models/ANN/model/tree/main/a%20b?recursive=True")
    assert response.headers["Location"] == "/api/models/ann/model/tree/main/a%20b?recursive=True"


async def test_another_spelling_is_accepted_from_writers(hub: Hub, model: str) -> None:
    """Many clients do not send a body again (PITFALLS 16); answers have the repo's own name."""
    answer = await hub.commit("models/ANN/Model", {"x.txt": b"x"})
    assert answer["commitUrl"].startswith("http://hub.test/ann/model/commit/")
    response = await hub.post("/api/models/ANN/MODEL/paths-info/main", data={"paths": "x.txt"})
    assert [entry["path"] for entry in response.json()] == ["x.txt"]


async def test_an_old_name_leads_to_the_repo(hub: Hub, model: str) -> None:
    """Readers are redirected, writers let in, until somebody takes the name; moving back works."""
    moved = await hub.post(
        "/api/repos/move", json={"fromRepo": "ann/model", "toRepo": "acme/model", "type": "model"}
    )
    assert moved.status_code == 200
    assert (await hub.get("/api/models/ann/model")).headers["Location"] == "/api/models/acme/model"
    assert (await hub.commit("models/ann/model", {"y": b"y"}))["commitUrl"].startswith(
        "http://hub.test/acme/model/"
    )
    back = await hub.post("/api/repos/move", json={"fromRepo": "acme/model", "toRepo": "ann/model"})
    assert back.status_code == 200
    assert (await hub.get("/api/models/ann/model")).status_code == 200


async def test_a_redirect_tells_strangers_nothing(hub: Hub) -> None:
    """A private repo is no more there under another spelling than under its own."""
    await hub.made("ann/Secret", private=True)
    response = await hub.get("/api/models/ann/secret", headers=ANYBODY)
    assert response.status_code == 401
    assert "Location" not in response.headers


# lists


@pytest.fixture
async def several(hub: Hub) -> list[str]:
    """Ids of public models, oldest first, beside one that is private."""
    names = [f"ann/m{number}" for number in range(5)]
    for name in names:
        await hub.made(name)
    await hub.commit("models/ann/m1", {"README.md": CARD})
    await hub.made("ann/hidden", private=True)
    return names


async def _ids(hub: Hub, query: str = "", headers: dict[str, str] | None = None) -> list[str]:
    response = await hub.get(f"/api/models?{query}", headers=headers)
    assert response.status_code == 200, response.text
    return [row["id"] for row in response.json()]


async def test_a_list_is_like_the_hubs(hub: Hub, several: list[str]) -> None:
    """The keys of a row, and which come with `full`, `cardData` and `config`."""
    [row] = (await hub.get("/api/models?search=m1")).json()
    assert not missing(row, golden("list-models-page-200")["body"][0])
    assert not {"siblings", "sha", "cardData", "config"} & set(row)
    [full] = (await hub.get("/api/models?search=m1&full=True&cardData=1&config=true")).json()
    assert {"siblings", "sha", "author", "lastModified", "gated", "cardData", "config"} <= set(full)
    await hub.made("ann/data", "dataset")
    [row] = (await hub.get("/api/datasets")).json()
    known = {"description", "downloadsAllTime"}
    assert {
        text.split()[0][1:] for text in missing(row, golden("list-datasets-entry-200")["body"][0])
    } == known


async def test_a_list_shows_what_the_caller_may_know(hub: Hub, several: list[str], people: People) -> None:
    """Private repos to their members only, also when they are searched for by name."""
    assert "ann/hidden" in await _ids(hub)
    for headers in (ANYBODY, bearer(people.bob), STRANGE):
        assert sorted(await _ids(hub, headers=headers)) == several
        assert await _ids(hub, "search=hidden&author=ann", headers) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("search=M3", ["ann/m3"]),
        ("search=ann&search=m2", ["ann/m2"]),
        ("author=ANN&search=m", ["ann/m0", "ann/m1", "ann/m2", "ann/m3", "ann/m4"]),
        ("author=acme", []),
        ("filter=license:mit", ["ann/m1"]),
        ("filter=license:mit&filter=tiny", ["ann/m1"]),
        ("filter=license:mit,tiny", ["ann/m1"]),
        ("filter=license:mit&filter=other", []),
        ("filter=transformers&pipeline_tag=text-generation", ["ann/m1"]),
        ("search=%25", []),
        ("gated=true", []),
        ("gated=False&search=m4", ["ann/m4"]),
        ("inference=warm", []),
    ],
)
async def test_filters(hub: Hub, several: list[str], query: str, expected: list[str]) -> None:
    """Each narrows the list, all together."""
    assert sorted(await _ids(hub, query)) == expected


async def test_sorting(hub: Hub, several: list[str]) -> None:
    """Newest first by what is asked; the other way round only on demand."""
    newest = ["ann/hidden", *reversed(several)]
    assert await _ids(hub, "sort=createdAt") == newest
    assert await _ids(hub, "sort=createdAt&direction=-1") == newest
    assert await _ids(hub, "sort=createdAt&direction=1") == newest[::-1]
    assert (await _ids(hub, "sort=lastModified"))[:2] == ["ann/hidden", "ann/m1"]
    for sort in ("downloads", "likes", "trendingScore"):
        assert len(await _ids(hub, f"sort={sort}")) == 6


async def test_pages(hub: Hub, several: list[str]) -> None:
    """Link leads to the next one, absolute and with the filters, until there is none; nothing twice, nothing missed."""
    for sort in ("createdAt", "likes"):
        url: str | None = f"/api/models?sort={sort}&limit=2&search=m"
        seen: list[str] = []
        while url is not None:
            response = await hub.get(url)
            rows = [row["id"] for row in response.json()]
            assert len(rows) <= 2
            seen += rows
            match = re.fullmatch(
                r'<(http://hub\.test/api/models\?[^>]+)>; rel="next"', response.headers.get("Link", "")
            )
            url = match[1] if match else None
        assert sorted(seen) == several


@pytest.mark.parametrize("query", ["limit=0", "limit=-5", "limit=99999999", "full=1&limit=5000"])
async def test_a_limit_is_a_hint(hub: Hub, several: list[str], query: str) -> None:
    """Brought into what is possible."""
    assert await _ids(hub, query)


@pytest.mark.parametrize(
    "query",
    ["limit=many", "sort=nonsense", "full=maybe", "cursor=%21%21", "cursor=MTIz", "cursor=YTpi", "gated=x"],
)
async def test_nonsense_in_a_query_is_refused(hub: Hub, query: str) -> None:
    """400 with a sentence, never 500."""
    response = await hub.get(f"/api/models?{query}")
    assert response.status_code == 400
    assert response.json()["error"]


async def test_a_page_of_many_files_ends_early(hub: Hub, several: list[str]) -> None:
    """After some megabytes, whatever its limit; Link goes on behind the last row, so that nothing is missed."""
    deep = "/".join(["x" * 240] * 4)
    for name in several[1:4]:
        await hub.commit(f"models/{name}", {f"{deep}/{n:04}": b"" for n in range(1500)})
    seen: list[str] = []
    pages, url = 0, "/api/models?full=true&search=m"
    while url:
        response = await hub.get(url)
        assert len(response.content) < 12 << 20
        rows = response.json()
        seen += [row["id"] for row in rows]
        assert all(len(row["siblings"]) in (1, 2, 1501, 1502) for row in rows)
        pages, url = pages + 1, response.links.get("next", {}).get("url", "")
    assert sorted(seen) == several
    assert pages > 1


async def test_the_json_of_many_files_is_made_beside_the_loop(
    hub: Hub, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a repo with few it is not: a thread costs more."""
    made: list[bool] = []
    encode = hubjson.encode

    def watched(value: Any) -> bytes:
        if isinstance(value, dict) and "siblings" in value:
            made.append(threading.current_thread() is threading.main_thread())
        return encode(value)

    monkeypatch.setattr(hubjson, "encode", watched)
    await hub.get(f"/api/models/{model}")
    await hub.commit(f"models/{model}", {f"{n}": b"" for n in range(1500)})
    await hub.get(f"/api/models/{model}")
    await hub.get("/api/models?full=1")
    assert made == [True, False, False]


@pytest.mark.parametrize("sort", ["num_parameters", "mainSize"])
@pytest.mark.parametrize("plural", ["models", "datasets", "spaces"])
async def test_sorting_by_what_is_not_known_is_refused(hub: Hub, plural: str, sort: str) -> None:
    """501, and not an answer in another order."""
    response = await hub.get(f"/api/{plural}?sort={sort}&limit=5")
    assert (response.status_code, response.json()["error"]) == (501, f'hubreg cannot sort by "{sort}".')


async def test_filters_on_what_is_not_known_are_refused(hub: Hub) -> None:
    """501: an answer that left the filter out would be wrong."""
    for query in ("apps=vllm", "num_parameters=min:6B"):
        assert (await hub.get(f"/api/models?{query}")).status_code == 501


# making


async def test_create_is_like_the_hubs(hub: Hub) -> None:
    """`url`, `name`, `id`; one commit with the Hub's own `.gitattributes`."""
    body = {"name": "demo", "organization": None, "type": "space", "sdk": "static"}
    response = await hub.post("/api/repos/create", json=body)
    recorded = golden("repo-create-200")
    assert response.status_code == recorded["status"]
    assert list(response.json()) == list(recorded["body"])
    assert response.json()["url"] == "http://hub.test/spaces/ann/demo"
    await hub.made()
    [commit] = (await hub.get("/api/models/ann/model/commits/main")).json()
    assert commit["title"] == "initial commit"
    [file] = (await hub.get("/api/models/ann/model/tree/main")).json()
    assert (file["path"], file["oid"]) == (".gitattributes", "a6344aac8c09253b3b630fb776ae94478aa0275b")


async def test_create_where_there_is_one(hub: Hub) -> None:
    """409 with the URL, by which clients go on (CLIENTS requirement 15); in another case too."""
    await hub.made()
    recorded = golden("repo-create-exists-409")
    for name in ("model", "MODEL"):
        response = await hub.post("/api/repos/create", json={"name": name, "type": "model"})
        assert response.status_code == recorded["status"]
        assert response.json() == {
            "error": "You already created this model repo: ann/model", "url": "http://hub.test/ann/model",
        }  # fmt: skip
        assert list(response.json()) == list(recorded["body"])


@pytest.mark.parametrize(
    ("asked", "private"),
    [
        ({"visibility": "private"}, True),
        ({"visibility": "public"}, False),
        ({"private": True}, True),
        ({"private": False, "visibility": None}, False),
        ({}, False),
    ],
)
async def test_visibility_is_said_in_two_ways(hub: Hub, asked: dict[str, Any], private: bool) -> None:
    """By `visibility` since client 1.8, by `private` before."""
    await hub.made("ann/model", **asked)
    assert (await hub.get("/api/models/ann/model")).json()["private"] is private


async def test_javascript_sends_the_first_files_along(hub: Hub) -> None:
    """`license` makes a card, `files` may replace what a new repo begins with (CLIENT_API 9)."""
    content = base64.b64encode(b"*.bin filter=lfs\n").decode()
    files = [{"path": ".gitattributes", "content": content, "encoding": "base64"}]
    await hub.made("ann/model", license="mit", files=files)
    response = await hub.get("/ann/model/raw/main/.gitattributes")
    assert response.content == b"*.bin filter=lfs\n"
    assert (await hub.get("/api/models/ann/model")).json()["cardData"]["license"] == "mit"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{", b'{"name": 5}', b'{"name": "a--b"}', b'{"name": "x y"}', b'{"name": ""}',
        b'{"name": "x", "type": "kernel"}', b'{"name": "x", "type": "space"}',
        b'{"name": "x", "visibility": "protected"}',
        b'{"name": "x", "files": [{"path": "../y", "content": ""}]}', b'{"name": "\\ud800"}', b"\xff", b"[" * 100_000,
        b'{"name": "x", "files": [{"path": "y", "content": "?", "encoding": "base64"}]}',
    ],
)  # fmt: skip
async def test_nonsense_makes_no_repo(hub: Hub, body: bytes) -> None:
    """A refusal in one sentence, and nothing is left behind."""
    response = await hub.post("/api/repos/create", content=body)
    assert response.status_code in (400, 422), response.text
    assert response.json()["error"]
    assert await _ids(hub) == []
    assert (await hub.get("/api/spaces")).json() == []


async def test_whose_namespace(hub: Hub, people: People) -> None:
    """One's own, and those of one's organisations with the right to; `organization` may stand in the name."""
    for token, status in ((people.bob, 403), (people.cat, 403), (people.ann_reads, 403)):
        response = await hub.post(
            "/api/repos/create", json={"name": "x", "organization": "acme"}, headers=bearer(token)
        )
        assert response.status_code == status
    assert (await hub.post("/api/repos/create", json={"name": "x"}, headers=ANYBODY)).status_code == 401
    response = await hub.post("/api/repos/create", json={"name": "acme/x"})
    assert response.json()["name"] == "acme/x"


# changing


async def test_delete(hub: Hub, model: str, people: People) -> None:
    """JSON in the body of a DELETE; only by who may; gone afterwards."""
    body = {"name": "model", "organization": "ann", "type": "model"}
    refused = await hub.request("DELETE", "/api/repos/delete", json=body, headers=bearer(people.bob))
    assert refused.status_code == 403
    assert (await hub.request("DELETE", "/api/repos/delete", json=body)).status_code == 200
    response = await hub.request("DELETE", "/api/repos/delete", json=body)
    assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RepoNotFound")
    assert (await hub.get("/api/models/ann/model")).status_code == 404


async def test_move_onto_another(hub: Hub, model: str) -> None:
    """409 in the Hub's words."""
    await hub.made("ann/other")
    response = await hub.post("/api/repos/move", json={"fromRepo": "ann/model", "toRepo": "ann/other"})
    assert (response.status_code, response.json()["error"]) == (
        409, "A model repository called ann/other already exists",
    )  # fmt: skip


async def test_settings(hub: Hub, model: str, people: People) -> None:
    """Visibility in either form, gates on and off, the answer says what they are; what is not sent stays."""
    for body, private, gated in (
        ({"private": True}, True, False),
        ({"visibility": "public", "gated": "auto"}, False, "auto"),
        ({"gated": "manual"}, False, "manual"),
        ({"xetEnabled": True}, False, "manual"),
        ({"gated": False, "visibility": "private"}, True, False),
    ):
        response = await hub.put("/api/models/ann/model/settings", json=body)
        assert (response.json()["private"], response.json()["gated"]) == (private, gated)
        info = (await hub.get("/api/models/ann/model")).json()
        assert (info["private"], info["gated"]) == (private, gated)
    for body in ({"gated": True}, {"gated": "x"}, {"visibility": "protected"}, {"private": "yes"}):
        assert (await hub.put("/api/models/ann/model/settings", json=body)).status_code == 400
    await hub.put("/api/models/ann/model/settings", json={"private": False})
    refused = await hub.put(
        "/api/models/ann/model/settings", json={"private": True}, headers=bearer(people.bob)
    )
    assert refused.status_code == 403


async def test_duplicate(hub: Hub, model: str, people: People, connect: Connect) -> None:
    """Another repo with the same history, in one's own namespace; a name that is taken says where."""
    bob = connect(people.bob)
    response = await bob.post("/api/models/ann/model/duplicate", json={"repository": "bob/copy"})
    assert response.json() == {"url": "http://hub.test/bob/copy", "filesCopyPending": False}
    source, copy = await bob.get("/api/models/ann/model"), await bob.get("/api/models/bob/copy")
    assert source.json()["sha"] == copy.json()["sha"]
    assert source.json()["siblings"] == copy.json()["siblings"]
    again = await bob.post("/api/models/ann/model/duplicate", json={"repository": "bob/copy"})
    assert (again.status_code, again.json()["url"]) == (409, "http://hub.test/bob/copy")
