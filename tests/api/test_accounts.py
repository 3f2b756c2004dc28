"""People and organisations by HTTP."""

from __future__ import annotations

import pytest

from tests.api.conftest import ANYBODY, STRANGE, Hub, People, bearer, golden
from tests.api.likeness import missing

pytestmark = pytest.mark.anyio


async def test_whoami_is_like_the_hubs(hub: Hub, people: People) -> None:
    """The user, its organisations with its role in each, and the token's name and role."""
    ours = (await hub.get("/api/whoami-v2")).json()
    recorded = golden("whoami-v2-org-shape")["body"]
    differences = missing(ours, recorded)
    assert [text for text in differences if "periodEnd" not in text] == []
    assert (ours["name"], ours["fullname"], ours["type"]) == ("ann", "Ann", "user")
    assert [(org["name"], org["roleInOrg"]) for org in ours["orgs"]] == [("acme", "admin")]
    assert (ours["auth"]["accessToken"]["displayName"], ours["auth"]["accessToken"]["role"]) == (
        "laptop",
        "write",
    )
    other = (await hub.get("/api/whoami-v2", headers=bearer(people.ann_reads))).json()
    assert other["auth"]["accessToken"]["role"] == "read"


async def test_whoami_of_nobody(hub: Hub) -> None:
    """401; for a token that is not ours the sentence that clients know (CLIENT_API 1)."""
    response = await hub.get("/api/whoami-v2", headers=ANYBODY)
    assert (response.status_code, response.json()["error"]) == (401, "Invalid username or password.")
    response = await hub.get("/api/whoami-v2", headers=STRANGE)
    assert response.status_code == 401
    assert response.headers["X-Error-Message"] == "Invalid credentials in Authorization header"
    for header in ("Bearer", "Bearer ", "Basic ???", "nonsense", "Bearer \x7f"):
        assert (await hub.get("/api/whoami-v2", headers={"Authorization": header})).status_code == 401


async def test_a_user(hub: Hub, people: People) -> None:
    """What is public of it; counts are of what the caller may know; another case redirects."""
    await hub.made()
    await hub.made("ann/secret", private=True)
    await hub.made("ann/data", "dataset")
    overview = (await hub.get("/api/users/ann/overview")).json()
    assert (overview["user"], overview["fullname"], overview["numModels"], overview["numDatasets"]) == (
        "ann",
        "Ann",
        2,
        1,
    )
    assert [org["name"] for org in overview["orgs"]] == ["acme"]
    assert "email" not in overview
    assert (await hub.get("/api/users/ann/overview", headers=bearer(people.bob))).json()["numModels"] == 1
    response = await hub.get("/api/users/ANN/overview")
    assert (response.status_code, response.headers["Location"]) == (307, "/api/users/ann/overview")


async def test_an_organisation(hub: Hub) -> None:
    """In any case, without a redirect; who is in it."""
    await hub.made("acme/model")
    overview = (await hub.get("/api/organizations/ACME/overview")).json()
    recorded = golden("org-overview-200")["body"]
    assert set(missing(overview, recorded)) == {".numBuckets is missing", ".numKernels is missing"}
    assert (overview["name"], overview["numUsers"], overview["numModels"]) == ("acme", 2, 1)
    rows = (await hub.get("/api/organizations/acme/members")).json()
    assert [(row["user"], row["role"]) for row in rows] == [("ann", "admin"), ("cat", "read")]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/users/acme/overview", "user-not-found-404"),
        ("/api/users/nobody/overview", "user-not-found-404"),
        ("/api/organizations/ann/overview", "org-not-found-404"),
        ("/api/organizations/nobody/members", "org-not-found-404"),
    ],
)
async def test_who_is_not_there(hub: Hub, path: str, name: str) -> None:
    """In the Hub's words; a user is no organisation."""
    recorded = golden(name)
    response = await hub.get(path)
    assert (response.status_code, response.json()) == (recorded["status"], recorded["body"])


@pytest.mark.parametrize("settings", [{"anonymous": False}], ids=[""])
async def test_without_anonymous_reading_nobody_is_shown(hub: Hub) -> None:
    """People, organisations, lists and tags are for users."""
    await hub.made()
    lists = ("/api/models", "/api/models-tags-by-type")
    for path in ("/api/users/ann/overview", "/api/organizations/acme/members", *lists):
        assert (await hub.get(path, headers=ANYBODY)).status_code == 401
        assert (await hub.get(path)).status_code == 200
    assert (await hub.get("/api/models/ann/model", headers=ANYBODY)).status_code == 401
