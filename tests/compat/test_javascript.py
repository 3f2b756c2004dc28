"""@huggingface/hub, @huggingface/transformers and @huggingface/gguf of npm."""

import json
from pathlib import Path

import pytest

from tests.compat.conftest import NewClient

COMMIT = "[0-9a-f]{40}"


@pytest.mark.quick
def test_huggingface_hub_uploads_and_reads(new_client: NewClient) -> None:
    """Two files go up, one inline and one by LFS, and come back whole, in part, and absent as null."""
    answer = new_client("node").run("hub.mjs", "alice/from-js")
    facts = answer.value
    assert facts["config"] == '{"model_type":"tiny"}'
    assert facts["same"] is True
    assert facts["part"] == 10
    assert facts["absent"] is None
    assert facts["exists"] is True
    assert facts["listed"] == [".gitattributes", "config.json", "model.safetensors"]
    assert facts["sha"] == facts["commit"]
    assert answer.requests.matching("^POST /alice/from-js.git/info/lfs/objects/batch 200")
    assert answer.requests.matching("^GET /alice/from-js/resolve/main/model.safetensors 307")
    assert answer.requests.matching(f"^GET /alice/from-js/resolve/{COMMIT}/model.safetensors 206")


@pytest.mark.quick
def test_transformers_js_runs_a_graph(new_client: NewClient, models: Path, published: dict[str, str]) -> None:
    """transformers.js finds config, tokenizer and graph, and returns the rows that the graph holds."""
    answer = new_client("node").run("transformers.mjs", "acme/tiny-onnx")
    tokens, dims, values = (answer.value[key] for key in ("tokens", "dims", "values"))
    table = json.loads((models / "onnx" / "table.json").read_text())
    assert dims == [1, len(tokens), 8]
    assert values == pytest.approx([x for token in tokens for x in table[token]], abs=1e-6)
    commit = published["acme/tiny-onnx"]
    assert answer.requests.matching(f"^GET /acme/tiny-onnx/resolve/{commit}/onnx/model.onnx 200")
    assert answer.requests.matching("^GET /acme/tiny-onnx/resolve/main/config.json 307")


def test_transformers_js_takes_a_revision(
    new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """With a revision the graph comes from it, though some files are asked for at main all the same."""
    answer = new_client("node").run("transformers.mjs", "acme/tiny-onnx", "v1")
    assert answer.value == new_client("node").run("transformers.mjs", "acme/tiny-onnx").value
    assert answer.requests.matching("^GET /acme/tiny-onnx/resolve/v1/onnx/model.onnx 307")
    assert answer.requests.matching("^GET /acme/tiny-onnx/resolve/main/")


@pytest.mark.quick
def test_gguf_js_reads_a_header(new_client: NewClient, published: dict[str, str]) -> None:
    """The header of a GGUF file is read with ranges."""
    answer = new_client("node", token=None).run("gguf.mjs", "acme/tiny-gguf", "tiny.gguf")
    assert answer.value == {"name": "tiny", "version": 3}
    assert answer.requests.matching(f"^GET /acme/tiny-gguf/resolve/{COMMIT}/tiny.gguf 206")
