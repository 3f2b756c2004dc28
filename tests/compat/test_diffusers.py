"""diffusers 0.42 and 0.35: a pipeline of several folders."""

from pathlib import Path

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import tensors


@pytest.mark.quick
@pytest.mark.parametrize("version", ["venv-new", "venv-old"], ids=["0.42", "0.35"])
def test_a_pipeline_is_loaded(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """The pipeline draws, its weights are those pushed, all of one commit."""
    answer = new_client(version).run("load_diffusion.py", "acme/tiny-diffusion")
    assert answer.value["weights"] == tensors(
        models / "diffusion" / "unet" / "diffusion_pytorch_model.safetensors"
    )
    assert answer.value["shape"] == [1, 8, 8, 3]
    commit = published["acme/tiny-diffusion"]
    files = answer.requests.matching(r"^GET /acme/tiny-diffusion/resolve/[^ ]* 200")
    assert {r.path.split("/")[4] for r in files} == {commit}
    assert files.matching("/unet/diffusion_pytorch_model.safetensors 200")
