"""The stand-in behind a company's proxy, under the Hub's real names."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakehub import FakeHub, Generated
from tests.fakehub.egress import EgressProxy, certificate

HUB, CDN = "huggingface.co", "us.aws.cdn.hf.co"
BIG = Generated(3_000_000, 1)


@pytest.fixture
def proxy(hub: FakeHub) -> Iterator[EgressProxy]:
    with EgressProxy({"hub.internal": hub.address("hub")}, user="me", password="secret") as proxy:
        yield proxy


def test_real_names_lead_to_the_stand_in(tmp_path: Path) -> None:
    """https to the Hub and to its CDN, through the proxy, with a certificate that has to be trusted first."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    tls, trusted = certificate(tmp_path, HUB, CDN)
    trust = ssl.create_default_context(cafile=str(trusted))
    with FakeHub(tls=tls) as hub, EgressProxy({HUB: hub.address("hub"), CDN: hub.address("cdn")}) as proxy:
        hub.public_url, hub.cdn_public_url = f"https://{HUB}", f"https://{CDN}"
        hub.model("org/name").commit({"model.safetensors": BIG})
        with httpx.Client(proxy=proxy.url, verify=trust, follow_redirects=True) as client:
            answer = client.get(f"https://{HUB}/org/name/resolve/main/model.safetensors")
            with pytest.raises(httpx.ProxyError, match="403"):
                client.get("https://elsewhere.example")
        with (
            httpx.Client(proxy=proxy.url) as stranger,
            pytest.raises(httpx.ConnectError, match="CERTIFICATE"),
        ):
            stranger.get(f"https://{HUB}")
        assert (answer.url.host, answer.content == BIG.read()) == (CDN, True)
        assert proxy.asked[:2] == [f"CONNECT {HUB}:443", f"CONNECT {CDN}:443"]
        assert hub.sent("model.safetensors") == BIG.size


def test_plain_http_goes_through_it_too(proxy: EgressProxy, hub: FakeHub) -> None:
    """By absolute URLs; the stand-in sees who was asked for."""
    hub.model("org/name").commit({"config.json": b"{}"})
    with httpx.Client(proxy=proxy.url) as client:
        answer = client.get("http://hub.internal/api/models/org/name?expand=sha")
    assert answer.json()["sha"] == hub.model("org/name").head()
    assert [seen.host for seen in hub.requests] == ["hub.internal"]
    assert proxy.asked == ["GET http://hub.internal/api/models/org/name?expand=sha"]


def test_it_wants_to_know_who_asks(proxy: EgressProxy, hub: FakeHub) -> None:
    """Without its password nothing gets out."""
    with httpx.Client(proxy=proxy.url.replace("secret", "guess")) as client:
        assert client.get("http://hub.internal/").status_code == 407
    assert hub.requests == []
