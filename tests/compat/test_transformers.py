"""transformers 5 and 4.57: what is loaded is what was pushed, and the server is asked what it should be."""

from pathlib import Path

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import Requests, tensors

VERSIONS = [pytest.param("venv-new", id="5"), pytest.param("venv-old", id="4.57")]
COMMIT = "[0-9a-f]{40}"
# "the hub serves a small model" in the vocabulary of make_models.py
TOKENS = [7, 8, 9, 10, 11, 12]


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def content_by_name(requests: Requests) -> Requests:
    """Bytes of a file that were given under a name that moves."""
    return requests.matching(r"^GET /[^ ]*/resolve/(?!" + COMMIT + r"/)[^ ]* 20[06]$")


@pytest.mark.quick
@pytest.mark.parametrize("version", VERSIONS)
def test_a_cold_load_gets_the_pushed_weights(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """A cold load returns the pushed tensors and tokens, and every byte comes from a URL with a commit in it."""
    answer = new_client(version).run("load_transformers.py", "acme/tiny-llama")
    assert answer.value["weights"] == tensors(models / "llama" / "model.safetensors")
    assert answer.value["tokens"] == TOKENS
    commit = published["acme/tiny-llama"]
    assert answer.requests.matching(f"^GET /acme/tiny-llama/resolve/{commit}/model.safetensors 200")
    assert not content_by_name(answer.requests)
    assert answer.requests.matching("^GET /api/agent-harnesses 200|hub/0.36") or version == "venv-old"
    absent = answer.requests.matching(" 404$")
    assert all("/resolve/" in r.path or "additional_chat_templates" in r.path for r in absent), str(absent)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_warm_load_transfers_no_file(
    version: str, new_client: NewClient, published: dict[str, str]
) -> None:
    """A second process on the same cache gets no file again and does not ask for what it knows to be absent."""
    client = new_client(version)
    cold = client.run("load_transformers.py", "acme/tiny-llama")
    warm = client.run("load_transformers.py", "acme/tiny-llama")
    assert warm.value == cold.value
    assert not warm.requests.matching("^GET /acme/tiny-llama/resolve/[^ ]* 20[06]")
    # 4.57 never remembers that this one is absent
    asked = [r for r in warm.requests.matching("^HEAD /[^ ]* 404") if "custom_generate" not in r.path]
    assert not asked, str(warm.requests)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_warm_cache_loads_offline(version: str, new_client: NewClient, published: dict[str, str]) -> None:
    """With HF_HUB_OFFLINE=1 a warm cache loads the same weights without one request."""
    client = new_client(version)
    cold = client.run("load_transformers.py", "acme/tiny-llama")
    offline = client.run("load_transformers.py", "acme/tiny-llama", HF_HUB_OFFLINE="1")
    assert offline.value == cold.value
    assert offline.requests == []


@pytest.mark.parametrize("revision", ["v1", "production", "commit"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_revision_is_honoured(
    version: str, revision: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """A tag, a branch and a commit hash each give the weights that they name, not those of main."""
    name = published["v1"] if revision == "commit" else revision
    answer = new_client(version).run("load_transformers.py", "acme/two-versions", name)
    assert answer.value["weights"] == tensors(models / "llama" / "model.safetensors")
    main = new_client(version).run("load_transformers.py", "acme/two-versions")
    assert main.value["weights"] == tensors(models / "second" / "model.safetensors")
    assert answer.requests.matching(
        f"^GET /acme/two-versions/resolve/{published['v1']}/model.safetensors 200"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_shards_are_loaded_from_one_commit(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """A sharded model arrives whole, each shard once."""
    answer = new_client(version).run("load_transformers.py", "acme/tiny-sharded")
    files = shards(models / "sharded")
    assert answer.value["weights"] == tensors(*files)
    commit = published["acme/tiny-sharded"]
    for file in files:
        assert len(answer.requests.matching(f"^GET /acme/tiny-sharded/resolve/{commit}/{file.name} 200")) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_push_to_hub_round_trip(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """A model pushed by push_to_hub loads with the same weights, and its weights went through LFS."""
    repo = f"acme/pushed-{version}"
    pushed = new_client(version).run("push_transformers.py", models / "second", repo)
    assert pushed.requests.matching(f"^POST /{repo}.git/info/lfs/objects/batch 200")
    assert pushed.requests.matching(f"^POST /api/models/{repo}/commit/main[^ ]* 200")
    loaded = new_client(version).run("load_transformers.py", repo)
    assert loaded.value["weights"] == tensors(models / "second" / "model.safetensors")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_private_repo_needs_its_token(
    version: str, new_client: NewClient, models: Path, published: dict[str, str], bob: str
) -> None:
    """A private model loads for its member, and does not exist for anybody else."""
    member = new_client(version).run("load_transformers.py", "acme/secret-llama")
    assert member.value["weights"] == tensors(models / "llama" / "model.safetensors")
    assert {r.user for r in member.requests.matching("/acme/secret-llama/resolve/")} == {"alice"}
    for token, status in ((None, 401), (bob, 404)):
        refused = new_client(version, token=token).run(
            "load_transformers.py", "acme/secret-llama", fails=True
        )
        assert {r.status for r in refused.requests.matching("/acme/secret-llama")} == {status}


@pytest.mark.parametrize("version", VERSIONS)
def test_somebody_elses_token_reads_public_models(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """People keep their real HF_TOKEN: on public content a token that is not ours counts as none."""
    client = new_client(version, token="hf_" + "Z" * 34)
    answer = client.run("load_transformers.py", "acme/tiny-llama")
    assert answer.value["weights"] == tensors(models / "llama" / "model.safetensors")
