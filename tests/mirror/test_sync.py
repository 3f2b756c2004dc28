"""Metadata of upstream repos: fetched once, kept by commit, asked for again by name, there when upstream is not."""

from __future__ import annotations

import asyncio

import pytest

from hubreg.identity.accounts import SYSTEM
from hubreg.model import ANONYMOUS, RepoType
from hubreg.store.mirror import Upstream
from tests.fakehub import FakeHub, Repo, lfs
from tests.mirror.conftest import NAME, Mirrored

pytestmark = pytest.mark.anyio

ENTRY = f"/{NAME}/resolve/main/config.json"
INFO = f"/api/models/{NAME}/revision/main"


async def test_a_repo_that_only_upstream_has(hub: Mirrored, model: Repo) -> None:
    """Info, tree, refs and HEAD are answered as for a repo of ours, under upstream's own commit id (PITFALLS 1, 27)."""
    info = (await hub.get(INFO)).json()
    assert (info["id"], info["sha"], info["private"]) == (NAME, model.head(), False)
    assert {file["rfilename"] for file in info["siblings"]} == {
        "README.md",
        "config.json",
        "data/weights.bin",
    }
    tree = (await hub.get(f"/api/models/{NAME}/tree/main?recursive=true")).json()
    upstream = {item.path: item.oid for path in model.commits[model.head()].tree.paths("", recursive=True) or ()
                if (item := model.commits[model.head()].tree.find(path))}  # fmt: skip
    assert {item["path"]: item["oid"] for item in tree} == upstream
    refs = (await hub.get(f"/api/models/{NAME}/refs")).json()
    assert [ref["targetCommit"] for ref in refs["branches"]] == [model.head()]
    by_name = await hub.head(ENTRY)
    assert (by_name.status_code, by_name.headers["x-repo-commit"]) == (307, model.head())
    exact = await hub.head(by_name.headers["location"])
    assert (exact.status_code, exact.headers["content-length"]) == (200, "2")
    assert exact.headers["etag"] == f'"{upstream["config.json"]}"'


async def test_large_files_have_their_sha256(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 3, 4, 19: the ETag is the sha256, sizes are the content's, and nothing hints at upstream's Xet."""
    answer = await hub.head(f"/{NAME}/resolve/{model.head()}/data/weights.bin")
    [item] = [
        item
        for item in (await hub.get(f"/api/models/{NAME}/tree/main/data")).json()
        if item["path"] == "data/weights.bin"
    ]
    assert answer.headers["etag"] == f'"{item["lfs"]["oid"]}"'
    assert answer.headers["content-length"] == "7"
    assert "xetHash" not in item
    assert not [name for name in answer.headers if "xet" in name or name in ("link", "location")]


async def test_a_whole_commit_id_asks_upstream_once(hub: Mirrored, model: Repo) -> None:
    """The first answer needs upstream; later ones, by any file, need nothing of it (PITFALLS 7)."""
    path = f"/{NAME}/resolve/{model.head()}"
    assert (await hub.head(f"{path}/config.json")).status_code == 200
    hub.fake.forget()
    for _ in range(3):
        assert (await hub.head(f"{path}/config.json")).status_code == 200
        assert (await hub.head(f"{path}/README.md")).status_code == 200
        assert (await hub.get(f"/api/models/{NAME}/tree/{model.head()}")).status_code == 200
        hub.later(10_000)
    assert hub.calls() == 0


async def test_a_name_is_asked_for_again_when_its_time_is_over(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 25: one call each time, and the new commit is seen then."""
    first = (await hub.get(INFO)).json()["sha"]
    hub.fake.forget()
    second = model.commit({"config.json": b"[]"}).id
    assert (await hub.get(INFO)).json()["sha"] == first
    assert (await hub.head(ENTRY)).headers["x-repo-commit"] == first
    assert hub.calls() == 0
    hub.later(61)
    assert (await hub.head(ENTRY)).headers["x-repo-commit"] == second
    assert hub.calls("info") == 1
    assert (await hub.get(INFO)).json()["sha"] == second


async def test_a_fleet_is_one_call(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 37: however many ask at once, upstream is asked once, for each thing."""
    held = hub.fake.delay("*", 0.05)
    answers = await asyncio.gather(*(hub.head(ENTRY) for _ in range(20)))
    held.cancel()
    assert {answer.headers["x-repo-commit"] for answer in answers} == {model.head()}
    assert (hub.calls("info"), hub.calls("tree")) == (1, 1)


async def test_upstream_stopped(hub: Mirrored, model: Repo) -> None:
    """What was seen is served on, by name too, with its age; a name that was never seen has failed, not vanished."""
    await hub.head(ENTRY)
    hub.fake.stop()
    hub.later(3600)
    answer = await hub.head(ENTRY)
    assert (answer.status_code, answer.headers["x-repo-commit"]) == (307, model.head())
    assert answer.headers["age"] == "3600"
    assert answer.headers["warning"].startswith("110 ")
    assert (await hub.get(INFO)).json()["sha"] == model.head()
    unknown = await hub.head(f"/{NAME}/resolve/other/config.json")
    assert unknown.status_code == 502
    assert unknown.headers["x-error-code"] == "UpstreamUnreachable"
    hub.fake.start()
    hub.later(6)
    assert "age" not in (await hub.head(ENTRY)).headers


async def test_every_answer_by_a_name_says_its_age(hub: Mirrored, model: Repo) -> None:
    """While upstream cannot be asked: info, listings, refs and history by a name; a commit is never old."""
    below = f"/api/models/{NAME}"
    named = [below, f"{below}/revision/HEAD", INFO, f"{below}/tree/main", f"{below}/commits/main",
             f"{below}/refs", f"{below}/refs?include_prs=1", f"/{NAME}/resolve/HEAD/config.json"]  # fmt: skip
    exact = [f"{below}/revision/{model.head()}", f"{below}/tree/{model.head()}"]
    for path in (*named, *exact):
        answer = await hub.get(path)
        assert answer.status_code in (200, 307)
        assert "age" not in answer.headers
    hub.fake.stop()
    hub.later(3600)
    for path in named:
        answer = await hub.get(path)
        assert answer.status_code in (200, 307)
        assert (answer.headers["age"], answer.headers["warning"][:4]) == ("3600", "110 "), path
    async with hub.client() as client:
        posted = await client.post(f"{below}/paths-info/main", json={"paths": ["config.json"]})
    assert (posted.headers["age"], posted.json()[0]["path"]) == ("3600", "config.json")
    for path in exact:
        assert "age" not in (await hub.get(path)).headers
    hub.fake.start()
    hub.later(6)
    for path in named:
        assert "age" not in (await hub.get(path)).headers, path


async def test_a_branch_may_be_called_refs(hub: Mirrored, model: Repo) -> None:
    """What is remembered of the list of refs is no revision."""
    model.refs.setdefault("refs/heads/refs", model.head())
    await hub.get(f"/api/models/{NAME}/refs?include_prs=1")
    assert (await hub.get(f"/api/models/{NAME}/revision/refs")).json()["sha"] == model.head()
    assert (await hub.get(f"/api/models/{NAME}/revision/refs%3Finclude_prs")).status_code == 404


@pytest.mark.parametrize(("status", "answered"), [(429, 429), (500, 502), (503, 502), (504, 504)])
async def test_failures_are_no_absence(hub: Mirrored, status: int, answered: int) -> None:
    """PITFALLS 8, 9: what upstream could not answer is never in a Hub's word for absent, whoever asks, and not kept."""
    fault = hub.fake.fail("*", status, times=None)
    for path in (INFO, ENTRY, "/api/models/org/none"):
        answer = await hub.get(path)
        assert answer.status_code == answered
        assert "NotFound" not in answer.headers["x-error-code"]
    fault.cancel()
    assert (await hub.head(ENTRY)).status_code == 307


async def test_a_failure_serves_the_last_good_answer(hub: Mirrored, model: Repo) -> None:
    """A rate limit, an error, HTML: the name means what it meant."""
    await hub.head(ENTRY)
    for break_it in (
        hub.fake.rate_limit,
        lambda: hub.fake.fail("*", 500, times=None),
        lambda: hub.fake.html("*", times=None),
    ):
        fault = break_it()
        hub.later(61)
        answer = await hub.head(ENTRY)
        assert (answer.status_code, answer.headers["x-repo-commit"]) == (307, model.head())
        assert int(answer.headers["age"]) >= 60
        fault.cancel()


async def test_html_where_a_repo_should_be(hub: Mirrored) -> None:
    """424, which clients do not retry, and nothing is stored."""
    hub.fake.html("*", times=None)
    answer = await hub.get(INFO)
    assert answer.status_code == 424
    assert await hub.app.db.all("SELECT * FROM repos") == []


async def test_a_listing_that_never_ends_stores_nothing(hub: Mirrored, model: Repo) -> None:
    """A sentence says what upstream did; single files are served on."""
    hub.fake.endless_listing(f"/api/models/{NAME}/tree/*", again=True)
    answer = await hub.get(f"/api/models/{NAME}/tree/main")
    assert answer.status_code == 424
    assert "repeats itself" in answer.json()["error"]
    assert (await hub.head(f"/{NAME}/resolve/{model.head()}/config.json")).status_code == 200
    assert await hub.app.db.all("SELECT * FROM commits") == []


async def test_a_path_that_leads_elsewhere_stores_nothing(hub: Mirrored) -> None:
    """A listing with `..` is refused as a whole."""
    item = b'[{"type":"file","oid":"%s","size":1,"path":"../../etc/passwd"}]' % (b"0" * 40)
    hub.fake.answer(
        f"/api/models/{NAME}/tree/*", 200, [("content-type", "application/json")], item, times=None
    )
    answer = await hub.get(f"/api/models/{NAME}/tree/main")
    assert answer.status_code == 424
    assert await hub.app.db.all("SELECT * FROM mirror_files") == []


async def test_files_that_are_not_there(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 26: 404 with the commit, at once, and without a call once the commit is known."""
    missing = f"/{NAME}/resolve/{model.head()}/adapter_config.json"
    answer = await hub.head(missing)
    assert (answer.status_code, answer.headers["x-error-code"]) == (404, "EntryNotFound")
    assert answer.headers["x-repo-commit"] == model.head()
    hub.fake.forget()
    assert (await hub.head(missing)).status_code == 404
    assert hub.calls() == 0


async def test_a_file_that_comes_is_seen_by_name(hub: Mirrored, model: Repo) -> None:
    """That a name's commit lacks a file holds as long as the name does."""
    path = f"/{NAME}/resolve/main/new.json"
    assert (await hub.head(path)).status_code == 404
    model.commit({"new.json": b"{}"})
    hub.later(61)
    assert (await hub.head(path)).status_code == 307


async def test_absence_is_remembered_for_a_while(hub: Mirrored) -> None:
    """A repo and a revision that upstream does not have: asked for once, and seen when they come."""
    for path in ("/api/models/Org/None", f"/api/models/{NAME}/revision/none"):
        await hub.get(path)
        hub.fake.forget()
        answer = await hub.get(path)
        assert answer.status_code in (401, 404)
        assert answer.headers["x-error-code"] in ("RepoNotFound", "RevisionNotFound")
        assert hub.calls() == 0
    hub.fake.model("Org/None").commit({"x": b"x"})
    hub.later(31)
    assert (await hub.get("/api/models/Org/None")).status_code == 200


async def test_other_names(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 16, 18: another case and an old name lead to the one repo, by 307, or at once for a POST."""
    hub.fake.alias("old/name", model)
    for asked in ("org/model", "old/name"):
        answer = await hub.get(f"/api/models/{asked}/revision/main?blobs=true")
        assert answer.status_code == 307
        assert answer.headers["location"] == f"/api/models/{NAME}/revision/main?blobs=true"
        async with hub.client() as client:
            posted = await client.post(
                f"/api/models/{asked}/paths-info/main", json={"paths": ["config.json"]}
            )
        assert [item["path"] for item in posted.json()] == ["config.json"]
    assert len(await hub.app.db.all("SELECT * FROM repos")) == 1


async def test_legacy_names_of_one_segment(hub: Mirrored, model: Repo) -> None:
    """`gpt2` is `openai-community/gpt2`."""
    hub.fake.alias("gpt2", model)
    answer = await hub.get("/api/models/gpt2")
    assert (answer.status_code, answer.headers["location"]) == (307, f"/api/models/{NAME}")
    assert (await hub.head("/gpt2/resolve/main/config.json")).headers["x-repo-commit"] == model.head()


@pytest.mark.parametrize(
    "verb", ["refs", "auth-check", "tree/main", "revision/main", "commits/main", "discussions"]
)
async def test_every_route_has_names_of_one_segment(hub: Mirrored, model: Repo, verb: str) -> None:
    """PITFALLS 27: `gpt2/refs` is the refs of `gpt2`, cold and warm, unless a repo is called that."""
    hub.fake.alias("gpt2", model)
    for _ in range(2):
        answer = await hub.get(f"/api/models/gpt2/{verb}")
        assert (answer.status_code, answer.headers["location"]) == (307, f"/api/models/{NAME}/{verb}")
    assert (await hub.get(answer.headers["location"])).status_code == 200


async def test_a_repo_that_is_called_like_a_route(hub: Mirrored, model: Repo) -> None:
    """`org/refs` is that repo, upstream's or ours; and nobody asks upstream for a namespace that is ours."""
    hub.fake.model("Org/refs").commit({"x": b"x"})
    assert (await hub.get("/api/models/Org/refs")).json()["id"] == "Org/refs"
    hub.fake.forget()
    for name in ("ann/refs", "ann/auth-check"):
        await hub.get(f"/api/models/{name}", hub.ann)
    assert hub.calls() == 0


async def test_a_failure_chooses_no_reading(hub: Mirrored) -> None:
    """PITFALLS 8: whether `gpt2` is a repo could not be asked."""
    hub.fake.fail("*", 503, times=None)
    assert (await hub.get("/api/models/gpt2/refs")).status_code == 502


async def test_a_repo_that_is_renamed_upstream(hub: Mirrored, model: Repo) -> None:
    """It gets its new name here when its name is asked for next, and the old one leads to it."""
    await hub.get(INFO)
    hub.fake.rename(model, "New/Name")
    hub.later(61)
    await hub.get(INFO)
    answer = await hub.get(INFO)
    assert answer.headers["location"] == "/api/models/New/Name/revision/main"
    assert (await hub.get("/api/models/New/Name")).json()["id"] == "New/Name"


async def test_a_repo_that_is_taken_down_stays(hub: Mirrored, model: Repo) -> None:
    """Marked, and served as it was."""
    await hub.get(INFO)
    sha = model.head()
    hub.fake.delete(model)
    hub.later(61)
    assert (await hub.get(INFO)).json()["sha"] == sha
    assert await hub.app.db.all("SELECT upstream_state FROM repos") == [("gone",)]


async def test_all_pages(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 13, 15: a listing of many pages is whole here, and the links in ours are ours."""
    hub.fake.page_size = 7
    model.commit({f"many/{n:04}.txt": b"x" for n in range(100)})
    answer = await hub.get(f"/api/models/{NAME}/tree/main?recursive=true&limit=50")
    assert "http://hub.test/api/models/" in answer.headers["link"]
    assert hub.fake.url not in answer.headers["link"]
    assert len((await hub.get(f"/api/models/{NAME}")).json()["siblings"]) == 103


async def test_the_first_file_does_not_wait_for_a_long_listing(hub: Mirrored, model: Repo) -> None:
    """While pages come, a single path is asked for alone; and that it is missing too."""
    hub.fake.page_size = 1
    slow = hub.fake.stall(f"/api/models/{NAME}/tree/*", 0, times=None)
    path = f"/{NAME}/resolve/{model.head()}"
    assert (await hub.head(f"{path}/config.json")).status_code == 200
    assert (await hub.head(f"{path}/missing.json")).status_code == 404
    assert hub.calls("paths-info") == 2
    slow.release()


async def test_other_types_of_repo(hub: Mirrored) -> None:
    """Datasets and Spaces as well."""
    for kind in ("dataset", "space"):
        repo = hub.fake.repo(kind, "org/thing")  # type: ignore[arg-type]
        repo.commit({"README.md": b"x", "big.bin": lfs(b"12345")})
        info = (await hub.get(f"/api/{kind}s/org/thing")).json()
        assert info["sha"] == repo.head()
        assert (await hub.head(f"/{kind}s/org/thing/resolve/{repo.head()}/big.bin")).headers[
            "content-length"
        ] == "5"


async def test_pull_requests_tags_and_short_ids(hub: Mirrored, model: Repo) -> None:
    """Every kind of name that the Hub resolves (PITFALLS 28)."""
    pull = model.commit({"x": b""}, on="refs/pr/1")
    model.tag("v1")
    for name, commit in (("refs%2Fpr%2F1", pull.id), ("v1", model.head()), (model.head()[:8], model.head())):
        assert (await hub.get(f"/api/models/{NAME}/revision/{name}")).json()["sha"] == commit
    refs = (await hub.get(f"/api/models/{NAME}/refs?include_prs=1")).json()
    assert [ref["targetCommit"] for ref in refs["pullRequests"]] == [pull.id]


async def test_history_is_upstream_s(hub: Mirrored, model: Repo) -> None:
    """Titles, dates and the number of commits are passed on."""
    model.commit({"x": b""}, title="the second")
    answer = await hub.get(f"/api/models/{NAME}/commits/main?limit=1")
    assert [item["title"] for item in answer.json()] == ["the second"]
    assert answer.headers["x-total-count"] == "2"


async def test_a_hosted_name_is_never_shadowed(hub: Mirrored) -> None:
    """Dependency confusion: what is in a namespace of this server is looked for nowhere else."""
    hub.fake.model("ann/secret").commit({"x": b"x"})
    hub.fake.forget()
    assert (await hub.get("/api/models/ann/secret")).headers["x-error-code"] == "RepoNotFound"
    assert hub.calls() == 0


async def test_a_rename_upstream_takes_no_name_of_ours(hub: Mirrored, model: Repo) -> None:
    """Nor does a name upstream that leads into a namespace of ours."""
    hub.fake.alias("org/other", hub.fake.model("ann/stolen"))
    hub.fake.model("ann/stolen").commit({"x": b""})
    assert (await hub.get("/api/models/org/other")).status_code == 403
    await hub.get(INFO)
    hub.fake.rename(model, "ann/taken")
    hub.later(61)
    assert (await hub.get(INFO)).json()["id"] == NAME


async def test_a_repo_is_of_one_upstream(hub: Mirrored, model: Repo) -> None:
    """
    PITFALLS 12: what is missing where it was found is looked for nowhere else; another upstream is asked for what the
    first says it does not have, and not while the first cannot be asked.
    """
    with FakeHub() as second:
        second.model(NAME).commit({"only-there.json": b"{}"}, id="c" * 40)
        second.model("Org/There").commit({"x": b"x"})
        await hub.app.upstreams.add(SYSTEM, Upstream(0, "second", second.url))
        hub.fake.fail("*", 503, times=None)
        assert (await hub.get("/api/models/Org/There")).status_code == 502
        assert second.seen() == []
        hub.fake.clear()
        assert (await hub.get("/api/models/Org/There")).status_code == 200
        second.forget()
        assert (await hub.get(INFO)).json()["sha"] == model.head()
        missing = await hub.head(f"/{NAME}/resolve/main/only-there.json")
        assert (missing.status_code, missing.headers["x-error-code"]) == (404, "EntryNotFound")
        assert (await hub.get(f"/api/models/{NAME}/revision/{second.model(NAME).head()}")).status_code == 404
        assert second.seen() == []


async def test_modes(hub: Mirrored, model: Repo) -> None:
    """Denied is refused with a sentence, offline asks nobody, pinned stays at the commit that it was first seen at."""
    await hub.rule("evil/*", "deny")
    assert (await hub.get("/api/models/evil/x")).status_code == 403
    sha = (await hub.get(INFO)).json()["sha"]
    model.commit({"x": b""})
    await hub.rule("org/*", "pinned")
    hub.later(1000)
    assert (await hub.get(INFO)).json()["sha"] == sha
    await hub.rule("org/*", "offline")
    hub.fake.forget()
    assert (await hub.get(INFO)).json()["sha"] == sha
    assert (await hub.get("/api/models/Org/Other")).headers["x-error-code"] == "RepoNotFound"
    assert hub.calls() == 0


async def test_a_pinned_name_stays(hub: Mirrored, model: Repo) -> None:
    """Until it is let go."""
    first = (await hub.get(INFO)).json()["sha"]
    await hub.app.upstreams.pin(SYSTEM, RepoType.MODEL, NAME, "main", pinned=True)
    second = model.commit({"x": b""}).id
    hub.later(1000)
    assert (await hub.get(INFO)).json()["sha"] == first
    await hub.app.upstreams.pin(SYSTEM, RepoType.MODEL, NAME, "main", pinned=False)
    hub.later(1000)
    assert (await hub.get(INFO)).json()["sha"] == second


async def test_the_setting(hub: Mirrored) -> None:
    """`upstream` is one for everything; without it that one is asked no more, and what came from it stays."""
    upstreams = hub.app.upstreams
    await upstreams.remove(SYSTEM, "hub")
    await upstreams.configure(SYSTEM, hub.fake.url + "/")
    await upstreams.configure(SYSTEM, hub.fake.url)
    sha = (await hub.get(INFO)).json()["sha"]
    assert [(each.upstream.url, len(each.rules)) for each in await upstreams.all()] == [(hub.fake.url, 1)]
    await upstreams.configure(SYSTEM, "")
    hub.fake.forget()
    hub.later(1000)
    assert (await hub.get(INFO)).json()["sha"] == sha
    assert (await hub.get("/api/models/Org/Other")).status_code == 401
    assert hub.calls() == 0


async def test_nobody_writes_to_a_mirrored_repo(hub: Mirrored, model: Repo) -> None:
    """Refused with the way out, whoever asks; git is told what to use instead."""
    await hub.get(INFO)
    async with hub.client(hub.ann) as client:
        for answer in (
            await client.post(f"/api/models/{NAME}/branch/new", json={}),
            await client.put(f"/api/models/{NAME}/settings", json={"private": True}),
            await client.request(
                "DELETE", "/api/repos/delete", json={"name": "Model", "organization": "Org"}
            ),
            await client.post(f"/api/models/{NAME}/discussions", json={"title": "x", "description": "y"}),
        ):
            assert answer.status_code == 403
            assert "mirrored" in answer.json()["error"]
        clone = await client.get(f"/{NAME}.git/info/refs?service=git-upload-pack")
        assert (clone.status_code, "hf download" in clone.text) == (501, True)


async def test_content_is_shared_by_what_came_from_upstream_only(hub: Mirrored, model: Repo) -> None:
    """
    A large file that came for one mirrored repo is here for another; one that only a hosted repo has is not: to name a
    sha256 is no right to it.
    """
    other = hub.fake.model("Org/Other")
    other.commit({"copy.bin": lfs(b"weights"), "secret.bin": lfs(b"secret")})
    content = hub.app.content
    found = await content.locate(ANONYMOUS, RepoType.MODEL, NAME, model.head(), "data/weights.bin")
    hosted = (await hub.app.blobs.put([b"secret"]))[0]
    assert found.entry.sha256 is not None
    assert not found.entry.here
    await hub.app.mirror.landed(found.repo, found.entry, found.entry.sha256)
    copy = await content.locate(ANONYMOUS, RepoType.MODEL, "Org/Other", other.head(), "copy.bin")
    assert (copy.entry.here, copy.entry.sha256) == (True, found.entry.sha256)
    held = "SELECT COUNT(*) FROM lfs_objects WHERE sha256 = ?"
    assert await hub.app.db.one(held, found.entry.sha256) == (2,)
    secret = await content.locate(ANONYMOUS, RepoType.MODEL, "Org/Other", other.head(), "secret.bin")
    assert (secret.entry.here, secret.entry.sha256) == (False, hosted.sha256)


async def test_lists_show_what_is_here(hub: Mirrored) -> None:
    """A repo that was asked for is found."""
    assert (await hub.get("/api/models")).json() == []
    await hub.get(INFO)
    assert [row["id"] for row in (await hub.get("/api/models?search=model")).json()] == [NAME]
    assert [row["id"] for row in (await hub.get("/api/models?author=Org")).json()] == [NAME]
