"""sentence-transformers 6 and 5.1, and the same model through hf-hub in Rust."""

import math
from pathlib import Path

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import Answer, tensors

COMMIT = "[0-9a-f]{40}"


def near(one: list[float], other: list[float]) -> bool:
    return len(one) == len(other) and all(
        math.isclose(a, b, abs_tol=1e-4) for a, b in zip(one, other, strict=True)
    )


@pytest.fixture(scope="module")
def local(new_client: NewClient, models: Path) -> Answer:
    """The embedding that the model gives from the folder it was pushed from."""
    return new_client("venv-new").run("load_sentences.py", models / "bert")


@pytest.mark.quick
@pytest.mark.parametrize("version", ["venv-new", "venv-old"], ids=["6", "5.1"])
def test_an_encoder_is_loaded(
    version: str, new_client: NewClient, models: Path, published: dict[str, str], local: Answer
) -> None:
    """The weights are those pushed, the embedding is that of the local folder."""
    answer = new_client(version).run("load_sentences.py", "acme/tiny-encoder")
    assert answer.value["weights"] == tensors(models / "bert" / "model.safetensors")
    assert near(answer.value["embedding"], local.value["embedding"])
    commit = published["acme/tiny-encoder"]
    assert answer.requests.matching(f"^GET /acme/tiny-encoder/resolve/{commit}/model.safetensors 200")
    assert answer.requests.matching(f"^GET /acme/tiny-encoder/resolve/{commit}/1_Pooling/config.json 200")


@pytest.mark.quick
def test_rust_loads_the_encoder(new_client: NewClient, published: dict[str, str], local: Answer) -> None:
    """hf-hub 1.0 in Rust gets the files by HEAD and GET and embeds as Python does."""
    client = new_client("venv-mid")
    answer = client.run("embed_rust.py", "acme/tiny-encoder")
    assert near(answer.value["embedding"], local.value["embedding"])
    commit = published["acme/tiny-encoder"]
    assert answer.requests.matching("^HEAD /acme/tiny-encoder/resolve/main/config.json 307")
    assert answer.requests.matching(f"^GET /acme/tiny-encoder/resolve/{commit}/model.safetensors 200")
    warm = client.run("embed_rust.py", "acme/tiny-encoder")
    assert warm.value == answer.value
    assert not warm.requests.matching("^GET [^ ]*model.safetensors 200"), str(warm.requests)


def test_rust_takes_an_endpoint_with_a_slash(
    new_client: NewClient, published: dict[str, str], local: Answer
) -> None:
    """hf-hub joins the endpoint and the path with a slash: with one more at the end, paths begin with two."""
    client = new_client("venv-mid")
    answer = client.run("embed_rust.py", "acme/tiny-encoder", HF_ENDPOINT=f"{client.hub.url}/")
    assert near(answer.value["embedding"], local.value["embedding"])
