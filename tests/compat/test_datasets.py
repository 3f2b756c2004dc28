"""datasets 5 and 4.4: rows pushed are rows loaded, whole and as a stream."""

import json
from pathlib import Path

import pytest

from tests.compat.conftest import NewClient

VERSIONS = [pytest.param("venv-new", id="5"), pytest.param("venv-old", id="4.4")]


@pytest.mark.quick
@pytest.mark.parametrize("version", VERSIONS)
def test_rows_are_loaded(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """load_dataset gives every row of both splits, pinned to the commit of the README."""
    answer = new_client(version).run("load_dataset.py", "acme/rows")
    for split in ("train", "test"):
        lines = (models / "dataset" / "data" / f"{split}.jsonl").read_text().splitlines()
        assert answer.value["rows"][split] == [json.loads(line) for line in lines]
    assert answer.value["streamed"] == answer.value["rows"]["train"][:3]
    commit = published["acme/rows"]
    assert answer.requests.matching(f"^GET /datasets/acme/rows/resolve/{commit}/data/train.jsonl 20[06]")
    assert answer.requests.matching(f"^GET /api/datasets/acme/rows/tree/{commit}")


@pytest.mark.parametrize("version", VERSIONS)
def test_pushed_rows_come_back(version: str, new_client: NewClient, published: dict[str, str]) -> None:
    """Dataset.push_to_hub writes parquet through LFS, and load_dataset reads the same rows."""
    repo = f"acme/rows-{version}"
    pushed = new_client(version).run("push_dataset.py", repo)
    assert pushed.requests.matching(f"^POST /datasets/{repo}.git/info/lfs/objects/batch 200")
    loaded = new_client(version).run("load_dataset.py", repo)
    assert loaded.value["rows"]["train"] == [{"id": n, "text": f"pushed {n}"} for n in range(20)]
    assert loaded.requests.matching(
        f"^GET /datasets/{repo}/resolve/{pushed.value['commit']}/data/[^ ]*parquet 20"
    )
