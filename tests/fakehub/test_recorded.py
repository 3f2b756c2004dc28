"""The stand-in gives the answers that were recorded of the real Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakehub.fake import FakeHub
from tests.fakehub.recorded import NAMES, TOKENS, Sample, build, replay

# These say when and to whom, or how often before.
VOLATILE = {"date", "x-request-id", "ratelimit"}
PLACEHOLDER = re.compile(
    r"<(?:repo_id|signed-query|signed|unix|b64|id|opaque|64 hex|jwt)>|(?<=ZXlK)\.\.\.%3D%3D"
)

# Samples whose body was cut, changed or redacted by who recorded it: lengths and ETags do not fit, values are compared.
TRIMMED = {
    "agent-harnesses-200",
    "api-get-gzip-200",  # another repo's ETag
    "dataset-info-200",  # a part of the keys, in the order of the wire
    "list-datasets-entry-200",
    "list-models-page-200",
    "model-info-disabled-200",
    "model-info-expand-200",
    "model-info-head-200",  # 14926 bytes that nobody kept
    "model-info-revision-private-200",
    "model-info-siblings-blobs-200",
    "resolve-get-xet-private-302",  # the signed query was redacted
    "resolve-head-xet-private-302",
    "resolve-head-xet-public-302",
    "tree-expand-entry-200",
    "tree-recursive-private-200",
}

# These have a test of their own.
APART = {"rate-limited-api-429", "xet-write-token-200"}

# Where a sample's URL has a hole in it: one of the world's URLs.
ASKED = {
    "api-get-gzip-200": "/api/models/openai-community/gpt2?blobs=true",
    "rate-limited-api-429": "/api/models/openai-community/gpt2",
    "x-hf-warning": "/openai-community/gpt2/resolve/main/config.json",
    "cdn-get-range-206": "/openai-community/gpt2/resolve/main/model.safetensors",
    "cdn-get-range-past-end-416": "/openai-community/gpt2/resolve/main/model.safetensors",
    "cdn-get-range-206-full-headers": "/onnx/models/resolve/main/encoder_model.onnx",
    "cdn-head-200": "/onnx/models/resolve/main/decoder_model.onnx",
    "xet-write-token-200": "/api/models/acme-user/test/xet-read-token/main",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        build(hub)
        hub.gzip_from = 500
        yield hub


def ask(hub: FakeHub, sample: Sample) -> httpx.Response:
    """Send a sample's request. One to the CDN goes where the Hub sends it."""
    target = ASKED.get(sample.name) or (f"{sample.path}?{sample.query}" if sample.query else sample.path)
    token = "hf_owner" if sample.name == "xet-write-token-200" else TOKENS[sample.auth]
    headers = {"Accept-Encoding": "identity"} | sample.sent
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if "range" in headers:
        headers["range"] = headers["range"].replace("<size>", "548105171")
    url = hub.cdn_url + target if sample.name == "cas-chunk-404" else hub.url + target
    body = json.dumps(sample.posted) if isinstance(sample.posted, dict) else sample.posted
    with httpx.Client(headers={"Accept": "*/*"}) as client:
        if sample.name.startswith("cdn-"):
            signed = urlsplit(client.head(url).headers["location"])
            url = f"{hub.cdn_url}{signed.path}?{signed.query}"
        with client.stream(sample.method, url, headers=headers, content=body) as response:
            if sample.name != "api-get-gzip-200" and int(response.headers.get("content-length", 0)) < 1 << 20:
                response.read()
            return response


def differences(sample: Sample, response: httpx.Response) -> list[str]:
    """What of the recorded answer the other one has not, or has otherwise."""
    ignored = VOLATILE | ({"content-length", "etag"} if sample.name in TRIMMED else set())
    found = [] if response.status_code == sample.status else [f"status {response.status_code}"]
    for name, recorded in sample.headers.items():
        pattern = ".*".join(re.escape(part) for part in PLACEHOLDER.split(recorded))
        given = response.headers.get(name)
        if name not in ignored and not re.fullmatch(pattern, given or ""):
            found.append(f"{name}: {given!r}, recorded {recorded!r}")
    if "ratelimit" in sample.headers and not re.fullmatch(
        re.sub(r"=\d+", r"=\\d+", sample.headers["ratelimit"]), response.headers.get("ratelimit", "")
    ):
        found.append(f"ratelimit: {response.headers.get('ratelimit')!r}")
    return found


def holds(part: Any, whole: Any) -> bool:
    """Whether a value has everything that a trimmed one has; lists of objects by their first entries' ids."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and holds(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list) and any(isinstance(each, dict) for each in part):
        return all(any(holds(each, other) for other in whole) for each in part)
    return bool(part == whole)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in APART])
def test_it_answers_as_the_hub_did(name: str, hub: FakeHub) -> None:
    """Status, every recorded header, and the body byte for byte where all of it was kept."""
    sample = Sample.load(name)
    if name == "resolve-head-regular-private-200":
        ask(hub, sample)  # recorded as a HIT
    response = ask(hub, sample)
    assert differences(sample, response) == []
    if sample.body is None or sample.method == "HEAD":
        return
    if name in TRIMMED and isinstance(sample.body, dict | list):
        dropped = {"downloadsAllTime"} if name == "list-datasets-entry-200" else set()
        recorded = [{k: v for k, v in each.items() if k not in dropped} for each in as_list(sample.body)]
        assert holds(recorded, as_list(response.json()))
    elif name not in TRIMMED:
        assert response.content == sample.content


def as_list(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value]


def test_the_tree_of_the_private_repo_is_the_recorded_one(hub: FakeHub) -> None:
    """Ids of folders, pointers and blobs are computed, and are the recorded ones."""
    sample = Sample.load("tree-recursive-private-200")
    assert ask(hub, sample).json() == sample.body


@pytest.mark.parametrize(
    "name", ["dataset-info-200", "list-models-page-200", "model-info-expand-200", "model-info-disabled-200"]
)
def test_keys_come_in_the_recorded_order(name: str, hub: FakeHub) -> None:
    """Where the order of keys was recorded, it is kept."""
    (recorded,) = as_list(Sample.load(name).body)
    given = list(as_list(ask(hub, Sample.load(name)).json())[0])
    assert [key for key in given if key in recorded] == list(recorded)


def test_a_gzipped_answer_has_two_lines_of_vary_and_no_length(hub: FakeHub) -> None:
    """The weak ETag is that of the body that it unpacks to."""
    url = hub.url + ASKED["api-get-gzip-200"]
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
    packed = httpx.get(url, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["etag"] == plain.headers["etag"]
    assert packed.headers.get_list("vary") == ["Origin", "Accept-Encoding"]
    assert "content-length" not in packed.headers
    assert packed.json() == plain.json()


def test_a_rate_limit_is_the_recorded_one(hub: FakeHub) -> None:
    """After so many requests 429 without Retry-After, until it is lifted."""
    sample = Sample.load("rate-limited-api-429")
    fault = hub.rate_limit(left=1)
    first, second = ask(hub, sample), ask(hub, sample)
    fault.cancel()
    assert first.status_code == 200
    assert (second.status_code, second.content) == (429, sample.content)
    assert second.headers["ratelimit"] == sample.headers["ratelimit"]
    assert "retry-after" not in second.headers
    assert ask(hub, sample).status_code == 200


def test_a_xet_token_has_the_recorded_shape(hub: FakeHub) -> None:
    """What was recorded of a write token is what a read token has here, in body and headers."""
    sample = Sample.load("xet-write-token-200")
    response = ask(hub, sample)
    assert list(response.json()) == list(sample.body)
    assert response.headers["x-xet-cas-url"] == sample.headers["x-xet-cas-url"]
    assert response.headers["x-xet-access-token"] == response.json()["accessToken"]
    assert response.headers["x-xet-token-expiration"] == str(response.json()["exp"])


def test_a_recorded_answer_can_be_put_anywhere(hub: FakeHub) -> None:
    """`replay` sends the bytes and the headers of a recording, in its order."""
    sample = Sample.load("api-missing-or-private-anonymous-401")
    fault = replay(hub, sample.name, "/api/models/google-bert/*", times=1)
    response = httpx.get(f"{hub.url}/api/models/google-bert/bert-base-uncased")
    assert (response.status_code, response.content) == (401, sample.content)
    assert dict(response.headers) == sample.headers
    assert fault.fired == 1
    assert httpx.get(f"{hub.url}/api/models/google-bert/bert-base-uncased").status_code == 200
