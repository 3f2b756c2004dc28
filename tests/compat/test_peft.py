"""peft 0.21 and 0.17: an adapter and the base that its config names."""

from pathlib import Path

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import tensors


@pytest.mark.quick
@pytest.mark.parametrize("version", ["venv-new", "venv-old"], ids=["0.21", "0.17"])
def test_an_adapter_finds_its_base(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """AutoPeft loads the pushed adapter and, by the name in its config, the pushed base."""
    answer = new_client(version).run("load_peft.py", "acme/tiny-lora")
    assert answer.value["adapter"] == tensors(models / "lora" / "adapter_model.safetensors")
    assert answer.value["base"] == tensors(models / "llama" / "model.safetensors")
    adapter, base = published["acme/tiny-lora"], published["acme/tiny-llama"]
    assert answer.requests.matching(f"^GET /acme/tiny-lora/resolve/{adapter}/adapter_model.safetensors 200")
    assert answer.requests.matching(f"^GET /acme/tiny-llama/resolve/{base}/model.safetensors 200")
    assert answer.requests.matching("^HEAD /acme/tiny-lora/resolve/main/adapter_config.json 307")
