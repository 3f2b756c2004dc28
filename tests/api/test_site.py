"""What is asked of the site as a whole."""

from __future__ import annotations

import pytest

from tests.api.conftest import ANYBODY, Hub

pytestmark = pytest.mark.anyio


async def test_a_good_card(hub: Hub) -> None:
    """200 with empty lists; one without metadata is warned of."""
    response = await hub.post(
        "/api/validate-yaml", json={"content": "---\nlicense: mit\n---\n# x", "repoType": "model"}
    )
    assert (response.status_code, response.json()) == (200, {"errors": [], "warnings": []})
    response = await hub.post("/api/validate-yaml", json={"content": "# x"}, headers=ANYBODY)
    assert response.json()["warnings"] == [{"message": "empty or missing yaml metadata in repo card"}]


async def test_a_bad_card(hub: Hub) -> None:
    """400 with the errors as JSON, which clients parse before they look at the status (CLIENT_API 3)."""
    content = "---\nlicense: not-a-licence\n---\n"
    response = await hub.post("/api/validate-yaml", json={"content": content, "repoType": "model"})
    assert response.status_code == 400
    [error] = response.json()["errors"]
    assert error["message"].startswith('"license" must be one of ')
    text = await hub.post("/api/validate-yaml", json={"content": content}, headers={"Accept": "text/plain"})
    assert (text.status_code, text.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert '"license" must be one of' in text.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"content": 1}', b'{"content": "", "repoType": "kernel"}', b"\xff"]
)
async def test_nonsense_is_answered_in_json(hub: Hub, body: bytes) -> None:
    """Whatever is sent: a client that gets anything else crashes."""
    response = await hub.post("/api/validate-yaml", content=body)
    assert response.status_code == 400
    assert response.json()["error"]


async def test_clients_are_told_of_no_agents(hub: Hub) -> None:
    """Exactly this object: a list breaks every call of a client, a 404 is asked for again (CLIENTS requirement 1)."""
    response = await hub.get("/api/agent-harnesses", headers=ANYBODY)
    assert response.json() == {"standardEnvVars": [], "harnesses": {}}


async def test_telemetry_goes_nowhere(hub: Hub) -> None:
    """A HEAD without a token, answered at once."""
    assert (await hub.head("/api/telemetry/transformers/modeling", headers=ANYBODY)).status_code == 200
    assert (await hub.head("/api/telemetry", headers=ANYBODY)).status_code == 200


async def test_health(hub: Hub) -> None:
    """Whoever watches the process needs no token."""
    assert (await hub.get("/health", headers=ANYBODY)).json() == {"status": "ok"}


async def test_tags_by_type(hub: Hub) -> None:
    """Tags that some public model has, by kind."""
    await hub.made()
    card = b"---\nlicense: mit\ntags: [tiny]\npipeline_tag: fill-mask\n---\n"
    await hub.commit("models/ann/model", {"README.md": card})
    await hub.made("ann/hidden", private=True)
    await hub.commit("models/ann/hidden", {"README.md": b"---\ntags: [secret]\n---\n"})
    kinds = (await hub.get("/api/models-tags-by-type")).json()
    assert kinds["license"] == [{"id": "license:mit", "label": "mit", "type": "license"}]
    assert "tiny" in [tag["id"] for tag in kinds["other"]]
    assert "secret" not in str(kinds)
    assert (await hub.get("/api/datasets-tags-by-type")).json() == {}


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks", "/api/collections", "/api/jobs/ann", "/api/daily_papers", "/api/kernels/ann/k",
        "/api/settings/webhooks", "/api/models/ann/model/likers",
        "/api/spaces/ann/demo/runtime", "/oauth/device", "/uploads", "/v2/ann/model/manifests/latest",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_what_hubreg_does_not_have(hub: Hub, path: str, method: str) -> None:
    """501 in JSON with X-Error-Message: never 500, which clients try again for 23 seconds (CLIENT_API 0)."""
    response = await hub.request(method, path)
    assert response.status_code == 501
    assert response.headers["X-Error-Code"] == "Unsupported"
    assert response.headers["X-Error-Message"] == response.json()["error"]
