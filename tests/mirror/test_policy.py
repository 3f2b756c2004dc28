"""What policies find in facts; what is refused for it, released, or only said; a `main` that must be old enough."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hubreg.errors import Invalid
from hubreg.identity.accounts import SYSTEM
from hubreg.mirror.policy import Facts, Policy, Subject, Verdict, checked, judge
from hubreg.model import RepoType
from tests.fakehub import Repo
from tests.mirror.conftest import NAME, Mirrored

GOOD = Facts("Org", ("mit",), [("config.json", 10), ("model.safetensors", 1000), ("tokenizer.model", 5)])
INFO = f"/api/models/{NAME}"


def of(subject: Subject, *values: str, verdict: Verdict = Verdict.DENY) -> Policy:
    return checked("*", subject, verdict, values)


@pytest.mark.parametrize(
    ("policy", "bad", "why"),
    [
        (of(Subject.PUBLISHER, "org", "other"), replace(GOOD, publisher="0rg"), "0rg"),
        (of(Subject.LICENCE, "MIT", "apache-2.0"), replace(GOOD, licences=("gpl-3.0",)), "gpl-3.0"),
        (of(Subject.LICENCE, "mit"), replace(GOOD, licences=()), "not said"),
        (of(Subject.LICENCE, "mit"), replace(GOOD, licences=("mit", "other")), "other"),
        (of(Subject.FORMATS), replace(GOOD, files=[("a/pytorch_model.BIN", 1)]), "a/pytorch_model.BIN"),
        (
            of(Subject.FORMATS),
            replace(GOOD, files=[(f"{n}.pkl", 1) for n in range(9)]),
            "0.pkl, 1.pkl, 2.pkl, ...",
        ),
        (of(Subject.CODE), replace(GOOD, files=[("modeling.py", 1)]), "modeling.py"),
        (of(Subject.CODE), replace(GOOD, mapped=True), "config"),
        (of(Subject.SIZE, "1015"), replace(GOOD, files=[*GOOD.files, ("x", 1)]), "1016"),
    ],
)
def test_each_subject(policy: Policy, bad: Facts, why: str) -> None:
    """Nothing in what is as it must be; else the reason, in words."""
    assert judge([policy], GOOD) == []
    [finding] = judge([policy], bad)
    assert why in finding.sentence


def test_the_worst_comes_first() -> None:
    """In whichever order they were made."""
    verdicts = (Verdict.WARN, Verdict.DENY, Verdict.QUARANTINE)
    found = judge([of(Subject.SIZE, "1", verdict=verdict) for verdict in verdicts], GOOD)
    assert [finding.policy.verdict for finding in found] == [Verdict.DENY, Verdict.QUARANTINE, Verdict.WARN]


@pytest.mark.parametrize(
    ("subject", "values"),
    [
        (Subject.SIZE, []), (Subject.SIZE, ["-1"]), (Subject.SIZE, ["1", "2"]), (Subject.AGE, ["1d"]),
        (Subject.SIZE, ["٣"]), (Subject.LICENCE, []), (Subject.LICENCE, ["a b"]), (Subject.PUBLISHER, ["a/b"]),
        (Subject.FORMATS, ["safetensors"]), (Subject.CODE, ["none"]),
    ],
)  # fmt: skip
def test_nonsense_is_refused(subject: Subject, values: list[str]) -> None:
    """Values that a subject does not have; and patterns that are none."""
    with pytest.raises(Invalid):
        checked("*", subject, Verdict.DENY, values)
    with pytest.raises(Invalid):
        checked("a/b/c", Subject.CODE, Verdict.DENY, [])


async def require(
    hub: Mirrored, subject: Subject, *values: str, verdict: Verdict, pattern: str = "*"
) -> None:
    await hub.app.upstreams.require(SYSTEM, [pattern], subject, values, verdict)


@pytest.mark.anyio
@pytest.mark.parametrize("cached", [False, True])
async def test_what_is_denied_is_handed_out_by_no_route(hub: Mirrored, model: Repo, cached: bool) -> None:
    """By name and by commit, cold and warm, files and listings, and large files by LFS."""
    exact = f"/{NAME}/resolve/{model.head()}/data/weights.bin"
    below = ("tree/main", f"revision/{model.head()}", "commits/main", "xet-read-token/main")
    paths = [INFO, *(f"{INFO}/{rest}" for rest in below),
             f"/{NAME}/resolve/main/config.json", f"/{NAME}/raw/main/data/weights.bin", exact]  # fmt: skip
    if cached:
        for path in paths:
            assert (await hub.get(path)).status_code in (200, 307)
    await require(hub, Subject.FORMATS, verdict=Verdict.DENY)
    for path in paths:
        answer = await hub.get(path)
        assert answer.status_code == 403, path
        assert "data/weights.bin" in answer.headers["x-error-message"]
    file = model.commits[model.head()].files["data/weights.bin"]
    batch = {"operation": "download", "objects": [{"oid": file.content.sha256, "size": file.size}]}
    async with hub.client() as client:
        assert (await client.post(f"/{NAME}.git/info/lfs/objects/batch", json=batch)).status_code == 403
        asked = await client.post(f"{INFO}/paths-info/main", json={"paths": ["config.json"]})
    assert asked.status_code == 403
    assert cached or not hub.fake.sent("data/weights.bin")


@pytest.mark.anyio
async def test_a_policy_is_for_its_repos(hub: Mirrored, model: Repo) -> None:
    """And for none that are hosted here; dropped, it counts no more."""
    await require(hub, Subject.PUBLISHER, "nobody", verdict=Verdict.DENY, pattern="other/*")
    assert (await hub.get(INFO)).status_code == 200
    await require(hub, Subject.PUBLISHER, "nobody", verdict=Verdict.DENY)
    assert (await hub.get(INFO)).status_code == 403
    async with hub.client(hub.ann) as client:
        assert (await client.post("/api/repos/create", json={"name": "own"})).status_code == 200
        assert (await client.get("/api/models/ann/own")).status_code == 200
    for policy in await hub.app.upstreams.policies():
        await hub.app.upstreams.drop(SYSTEM, policy.id)
    assert (await hub.get(INFO)).status_code == 200


@pytest.mark.anyio
async def test_quarantine_ends_for_the_commit_that_is_released(hub: Mirrored, model: Repo) -> None:
    """Not for the next; and what is denied besides stays so."""
    model.commit({"modeling.py": b"import os"})
    await require(hub, Subject.CODE, verdict=Verdict.QUARANTINE)
    answer = await hub.get(INFO)
    assert answer.status_code == 403
    assert "quarantine" in answer.json()["error"]
    await hub.app.upstreams.release(SYSTEM, RepoType.MODEL, NAME, "main")
    assert (await hub.get(INFO)).status_code == 200
    model.commit({"modeling.py": b"import sys"})
    hub.later(61)
    assert (await hub.get(INFO)).status_code == 403
    await hub.app.upstreams.release(SYSTEM, RepoType.MODEL, NAME, model.head())
    assert (await hub.get(INFO)).status_code == 200
    await require(hub, Subject.SIZE, "1", verdict=Verdict.DENY)
    assert (await hub.get(INFO)).status_code == 403


@pytest.mark.anyio
async def test_a_warning_is_in_the_log(hub: Mirrored, caplog: pytest.LogCaptureFixture) -> None:
    """And the snapshot is handed out."""
    await require(hub, Subject.LICENCE, "mit", verdict=Verdict.WARN)
    with caplog.at_level(logging.WARNING, "hubreg.mirror"):
        assert (await hub.get(INFO)).status_code == 200
    assert f"{NAME} at " in caplog.text
    assert "its licence is not said" in caplog.text


@pytest.mark.anyio
async def test_a_licence_is_what_the_repo_says(hub: Mirrored, model: Repo) -> None:
    """By its tags, as upstream has them."""
    model.facts["tags"] = ["license:mit"]
    await require(hub, Subject.LICENCE, "mit", verdict=Verdict.DENY)
    assert (await hub.get(INFO)).status_code == 200
    model.facts["tags"] = ["license:gpl-3.0"]
    model.commit({"x": b"x"})
    hub.later(61)
    assert (await hub.get(INFO)).status_code == 403


@pytest.mark.anyio
async def test_a_name_that_moved_is_followed_when_it_is_old_enough(hub: Mirrored, model: Repo) -> None:
    """Until then it means what it meant; a new repo and a commit's id are as they are."""
    await require(hub, Subject.AGE, str(3 * 86_400), verdict=Verdict.DENY)
    first = (await hub.get(INFO)).json()["sha"]
    assert first == model.head()
    hub.fake.alias("gpt2", model)
    second = model.commit({"x": b"x"})
    changed = hub.clock.at
    model.facts["lastModified"] = _iso(changed)
    for _ in range(3):
        hub.later(61)
        assert (await hub.get(INFO)).json()["sha"] == first
        await hub.get("/api/models/gpt2")
        assert (await hub.head(f"/{NAME}/resolve/main/config.json")).headers["x-repo-commit"] == first
    assert (await hub.get(f"{INFO}/revision/{second.id}")).json()["sha"] == second.id
    hub.later(3 * 86_400)
    assert (await hub.get(INFO)).json()["sha"] == second.id


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
