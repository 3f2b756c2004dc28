"""Who may read what is private or gated upstream: by the caller's own token, or a grant; and who may not."""

from __future__ import annotations

import pytest

from hubreg.identity.accounts import SYSTEM
from hubreg.identity.sealing import Sealing
from hubreg.model import RepoType
from hubreg.store.mirror import Upstream
from tests.fakehub import Repo
from tests.mirror.conftest import NAME, Mirrored

pytestmark = pytest.mark.anyio

INFO = f"/api/models/{NAME}"
MODEL = RepoType.MODEL


def exact(model: Repo) -> str:
    return f"/{NAME}/resolve/{model.head()}/config.json"


async def own_token(hub: Mirrored, model: Repo) -> None:
    """The server's own token reads everything there."""
    token = hub.fake.user("server")
    model.readers.add("server")
    model.granted.add("server")
    await hub.app.upstreams.add(SYSTEM, Upstream(0, "hub", hub.fake.url, token))


async def linked(hub: Mirrored) -> None:
    """Ann here is `upstream-ann` there."""
    await hub.app.upstreams.link(SYSTEM, "ann", "hub", hub.fake.user("upstream-ann"))


async def test_the_server_s_token_is_nobody_s_right(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 11: a private repo that the server can read is there for whom it is there upstream, and nobody else."""
    model.private = True
    await own_token(hub, model)
    for path in (INFO, exact(model), f"{INFO}/tree/main"):
        assert (await hub.get(path)).headers["x-error-code"] == "RepoNotFound"
        assert (await hub.get(path, hub.ann)).headers["x-error-code"] == "RepoNotFound"
    await linked(hub)
    model.readers.add("upstream-ann")
    hub.later(31)
    assert (await hub.get(INFO, hub.ann)).json()["private"]
    assert (await hub.head(exact(model), hub.ann)).status_code == 200
    assert (await hub.head(exact(model))).status_code == 401
    assert (await hub.get("/api/models")).json() == []


async def test_a_private_repo_that_only_the_caller_can_read(hub: Mirrored, model: Repo) -> None:
    """The server has no token: the caller's own finds it, and reads its listing."""
    model.private = True
    await linked(hub)
    model.readers.add("upstream-ann")
    assert (await hub.get(INFO)).status_code == 401
    assert (await hub.get(INFO, hub.ann)).status_code == 200
    assert (await hub.head(exact(model), hub.ann)).status_code == 200
    assert (await hub.get(INFO)).status_code == 401


async def test_a_gate(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 10: known to all, with its gate; opened by the caller's own right upstream."""
    model.gated = "manual"
    await own_token(hub, model)
    assert (await hub.get(INFO)).json()["gated"] == "manual"
    anonymous, stranger = await hub.head(exact(model)), await hub.head(exact(model), hub.ann)
    assert (anonymous.status_code, anonymous.headers["x-error-code"]) == (401, "GatedRepo")
    assert (stranger.status_code, stranger.headers["x-error-code"]) == (403, "GatedRepo")
    await linked(hub)
    hub.later(31)
    assert (await hub.head(exact(model), hub.ann)).status_code == 403
    model.granted.add("upstream-ann")
    hub.later(31)
    assert (await hub.head(exact(model), hub.ann)).status_code == 200


async def test_a_right_is_remembered_and_ends(hub: Mirrored, model: Repo) -> None:
    """No call for each file; once its time is over upstream is asked again, whatever was kept of answers meanwhile."""
    model.gated = "auto"
    await linked(hub)
    model.granted.add("upstream-ann")
    assert (await hub.head(exact(model), hub.ann)).status_code == 200
    hub.fake.forget()
    assert (await hub.head(exact(model), hub.ann)).status_code == 200
    assert hub.calls() == 0
    model.granted.clear()
    hub.later(301)
    assert (await hub.head(exact(model), hub.ann)).status_code == 403


async def test_offline_only_what_was_granted(hub: Mirrored, model: Repo) -> None:
    """While upstream is down, whoever was let in is let in, and nobody else."""
    model.gated = "auto"
    await linked(hub)
    model.granted.add("upstream-ann")
    await hub.head(exact(model), hub.ann)
    hub.fake.stop()
    hub.later(3600)
    assert (await hub.head(exact(model), hub.ann)).status_code == 200
    assert (await hub.head(exact(model))).status_code == 401


async def test_a_grant_that_is_made_here(hub: Mirrored, model: Repo) -> None:
    """It needs no token of the user's; taken back, it ends."""
    model.gated = "auto"
    await own_token(hub, model)
    await hub.get(INFO)
    await hub.app.upstreams.grant(SYSTEM, MODEL, NAME, "ann", granted=True)
    assert (await hub.head(exact(model), hub.ann)).status_code == 200
    await hub.app.upstreams.grant(SYSTEM, MODEL, NAME, "ann", granted=False)
    hub.later(400)
    assert (await hub.head(exact(model), hub.ann)).status_code == 403


@pytest.mark.parametrize("allowed", [0, 1])
async def test_a_foreign_token(hub: Mirrored, model: Repo, allowed: int) -> None:
    """A caller may bring the upstream's own token where the rule lets them, and only there does it leave."""
    model.private = True
    model.readers.add("bob")
    token = hub.fake.user("bob")
    await hub.rule("org/*", "mirror", foreign=allowed)
    answer = await hub.get(INFO, token)
    assert answer.status_code == (200 if allowed else 401)
    assert any(seen.user == "bob" for seen in hub.fake.seen()) is bool(allowed)
    assert (await hub.get(INFO)).status_code == 401
    assert token not in str(await hub.app.db.all("SELECT * FROM mirror_rights"))


async def test_a_failure_is_no_refusal(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 8: a right that could not be asked for has failed."""
    model.gated = "auto"
    await linked(hub)
    await hub.get(INFO)
    hub.fake.fail("*", 503, times=None)
    answer = await hub.head(exact(model), hub.ann)
    assert (answer.status_code, answer.headers["x-error-code"]) == (502, "UpstreamUnreachable")


async def test_tokens_are_sealed(hub: Mirrored, model: Repo) -> None:
    """PITFALLS 38: nothing in the database shows one."""
    await own_token(hub, model)
    await linked(hub)
    rows = await hub.app.db.all("SELECT token FROM upstreams UNION ALL SELECT token FROM upstream_tokens")
    assert len(rows) == 2
    assert not [row for row in rows if b"hf_" in row[0] or len(row[0]) < 40]


def test_sealing() -> None:
    """Opened with the same secret for the same purpose, and in no other way."""
    sealing = Sealing(b"secret" * 8)
    sealed = sealing.seal("hf_token", "a")
    assert sealing.open(sealed, "a") == "hf_token"
    assert sealing.seal("hf_token", "a") != sealed
    assert sealing.open(sealed, "b") is None
    assert Sealing(b"other").open(sealed, "a") is None
    assert sealing.open(sealed[:-1], "a") is None
    assert sealing.open(b"x", "a") is None
    assert sealing.open(sealing.seal("", "a"), "a") == ""
