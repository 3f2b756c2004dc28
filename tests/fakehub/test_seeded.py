"""The stand-ins of public repos have what the list of seeds says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakehub import FakeHub, seeded
from tests.fakehub.content import Generated, Plain

LISTED = json.loads(seeded.SEEDS.read_text())


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        seeded.build(hub)
        yield hub


@pytest.fixture(scope="module")
def client(hub: FakeHub) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hub.url, follow_redirects=True) as client:
        yield client


def asserted(repo: str) -> dict[str, Any]:
    """What the list of seeds says of a repo."""
    facts: dict[str, Any] = next(row["asserted"] for row in LISTED["tier_A"] if row["repo"].startswith(repo))
    return facts


def test_all_of_tier_a_is_there(hub: FakeHub) -> None:
    """Of tier B only what needs a listing of thousands is not."""
    assert seeded.missing(hub) == {
        "tier_A": [],
        "tier_B": [
            "celinah/inference-providers-function-calling-6826023e8ae9b24b3039ee5f",
            "open-llm-leaderboard/open_llm_leaderboard",
        ],
    }


def test_the_dummy_model_is_as_listed(client: httpx.Client) -> None:
    """Files in their order, sizes by revision, the time of its creation."""
    facts = asserted("julien-c/dummy-unknown")
    said = client.get("/api/models/julien-c/dummy-unknown?blobs=true").json()
    assert [file["rfilename"] for file in said["siblings"]] == facts["files_in_this_order_at_main"]
    assert said["createdAt"] == facts["createdAt"]
    assert any("sha256" in file.get("lfs", {}) for file in said["siblings"])
    revisions = {"main": "496", "f2c752cfc5c0ab6f4bdec59acea69eefbee381c2": "851"}
    for revision, size in revisions.items():
        url = f"/julien-c/dummy-unknown/resolve/{revision}/config.json"
        assert client.head(url, headers={"Accept-Encoding": "identity"}).headers["content-length"] == size
    pytorch = client.head("/julien-c/dummy-unknown/resolve/main/pytorch_model.bin", follow_redirects=False)
    assert pytorch.headers["x-linked-size"] == "65074"


def test_blobs_are_the_real_ones_where_they_are_known(client: httpx.Client) -> None:
    """Content that has the listed ids, and sizes that add up."""
    item = client.get("/api/models/hf-internal-testing/hfh-cache-layout/tree/main").json()[1]
    assert (item["path"], item["oid"]) == ("file_0.txt", "80146afc836c60e70ba67933fec439ab05b478f6")
    url = "/api/models/hf-internal-testing/hfh_ci_scan_repo_a"
    revisions = [
        client.get(f"{url}/revision/{rev}?blobs=true").json() for rev in ("main", "refs%2Fpr%2F1", "f95875c")
    ]
    readmes = {f["blobId"] for said in revisions for f in said["siblings"] if f["rfilename"] == "README.md"}
    assert readmes == {"fffc22b462ba2368b09b4d38527760051c9090a9"}
    blobs = {file["blobId"]: file["size"] for said in revisions for file in said["siblings"]}
    assert (len(blobs), sum(blobs.values())) == (3, 1501)
    assert sum(file["size"] for said in revisions for file in said["siblings"]) == 4463


def test_gpt2_has_the_recorded_hashes(client: httpx.Client) -> None:
    """ETags of an old revision, the Xet hash of the current one, under the short name."""
    revision = "e7da7f221d5bf496a48136c0cd264e630fe9fcc8"
    for name, text in asserted("openai-community/gpt2")[revision].items():
        head = client.head(f"/gpt2/resolve/{revision}/{name}", follow_redirects=False)
        assert text == f"etag {head.headers['x-linked-etag'].strip(chr(34))}"
    tree = {item["path"]: item for item in client.get("/api/models/gpt2/tree/main").json()}
    listed = asserted("openai-community/gpt2")["tree main"]["model.safetensors"]
    assert listed == f"xetHash {tree['model.safetensors']['xetHash']}"


def test_last_commits_are_the_listed_ones(client: httpx.Client) -> None:
    """Of a file and of a folder."""
    facts = asserted("prompthero/openjourney-v4")
    tree = client.get(f"/api/models/prompthero/openjourney-v4/tree/{facts['revision']}?expand=true").json()
    last = {item["path"]: item["lastCommit"]["id"] for item in tree}
    assert len(tree) == facts["root entries"]
    assert last["openjourney-v4.ckpt"] == facts["openjourney-v4.ckpt lastCommit.id"]
    assert last["feature_extractor"] == facts["feature_extractor (dir) lastCommit.id"]


@pytest.mark.parametrize("full_size", [False, True])
def test_parameters_add_up(full_size: bool) -> None:
    """Shapes as in the real models; at full size the file is as long as its header says."""
    weights = seeded.safetensors("F16", {"a": (3, 5), "b": (7,)}, 1, full_size=full_size)
    header = json.loads(weights.content.read(8, 8 + int.from_bytes(weights.content.read(0, 8), "little")))
    assert header["b"] == {"dtype": "F16", "shape": [7], "data_offsets": [30, 44]}
    assert weights.size == 8 + int.from_bytes(weights.content.read(0, 8), "little") + 44
    shards = seeded.mistral_shards()
    counts = [sum(a * (b[0] if b else 1) for a, *b in shapes.values()) for shapes in shards]
    assert (len(counts), sum(counts), counts[2]) == (8, 7_241_732_096, 989_888_512)
    assert next(iter(shards[2])) == "model.layers.10.input_layernorm.weight"


def test_a_long_header_is_exactly_as_long(client: httpx.Client) -> None:
    """100000 bytes and 852 tensors."""
    revision = "dc54ff55a7e9e71b85db953d8bc22eca894b44c6"
    url = f"/nvidia/GLM-5-NVFP4/resolve/{revision}/model-00008-of-00282.safetensors"
    body = client.get(url, headers={"Range": "bytes=0-100007"}).content
    assert int.from_bytes(body[:8], "little") == 100_000
    assert len(json.loads(body[8:])) - len(["__metadata__"]) == 852


def test_more_than_fifty_gigabytes_are_announced(client: httpx.Client) -> None:
    """From nowhere, and with a hash that is the right one."""
    url = "/brianronan/dummy-xet-edge-case-files/resolve/main/verylargemodel.safetensors"
    head = client.head(url, follow_redirects=False)
    assert int(head.headers["x-linked-size"]) > 50e9
    assert client.get(url, headers={"Range": "bytes=50000000510-"}).content == seeded.VERY_LARGE.read(
        50_000_000_510
    )


def test_a_script_comes_gzipped(client: httpx.Client) -> None:
    """The one file whose point it is."""
    answer = client.get("/datasets/allenai/math_qa/resolve/main/math_qa.py")
    assert answer.headers["content-encoding"] == "gzip"
    assert "class MathQa" in answer.text


def test_padding_makes_a_size() -> None:
    """In bytes, keeping the last character."""
    assert seeded.padded("{}", 5) == "{   }"
    assert Plain(seeded.padded("ü\n", 9).encode()).size == 9
    assert Generated(3, 1).size == 3
