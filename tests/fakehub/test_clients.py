"""huggingface_hub, unmodified and in a process of its own, takes the stand-in for the Hub."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.fakehub import FakeHub, Generated

pytestmark = pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="no huggingface_hub here")

BIG = Generated(20_000_000, 5)
CONFIG = b'{"model_type":"stand-in"}'


def run(hub: FakeHub, home: Path, *calls: str, token: str = "") -> list[Any]:
    """What these calls of the library return, one after the other; the name of what one raises instead."""
    script = f"""
import json
from huggingface_hub import *
answers = []
for call in {calls!r}:
    try:
        answers.append(eval(call))
    except Exception as error:
        answers.append(type(error).__name__)
print(json.dumps(answers, default=str))
"""
    settings = {
        "HF_HOME": str(home),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN": token,
    }
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", script], env=kept | settings, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture
def hub_with_repo(hub: FakeHub) -> FakeHub:
    repo = hub.model("org/name")
    hub.alias("old/name", repo)
    files: dict[str, Any] = {f"data/{number:04d}.txt": b"%d" % number for number in range(30)}
    repo.commit(files | {"config.json": CONFIG, "model.safetensors": BIG})
    repo.tag("v1")
    hub.page_size = 10
    return hub


def test_it_downloads_files_by_every_kind_of_revision(hub_with_repo: FakeHub, tmp_path: Path) -> None:
    """A small file by the resolve-cache and a large one by the CDN; no token goes to the CDN."""
    hub = hub_with_repo
    sha = hub.model("org/name").head()
    for revision in ("main", "v1", sha):
        call = f"hf_hub_download('org/name', 'model.safetensors', revision='{revision}')"
        (path,) = map(Path, run(hub, tmp_path / revision, call, token=hub.user("alice")))
        assert path.parent.name == sha
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.resolve().name == BIG.sha256
    (small,) = map(Path, run(hub, tmp_path / "small", "hf_hub_download('old/name', 'config.json')"))
    assert small.read_bytes() == CONFIG
    assert {seen.token for seen in hub.seen(site="cdn")} == {None}
    assert {seen.user for seen in hub.seen("model.safetensors", site="hub")} == {"alice"}


def test_it_downloads_a_snapshot(hub_with_repo: FakeHub, tmp_path: Path) -> None:
    """Every page of the tree, every file; the ledger counts each byte once."""
    hub = hub_with_repo
    (folder,) = map(Path, run(hub, tmp_path, "snapshot_download('org/name')"))
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert len(files) == 32
    assert files["config.json"].read_bytes() == CONFIG
    assert hashlib.sha256(files["model.safetensors"].read_bytes()).hexdigest() == BIG.sha256
    assert len(hub.seen(kind="tree")) == 4
    assert hub.sent("model.safetensors") == BIG.size


def test_it_resumes_what_was_cut(hub_with_repo: FakeHub, tmp_path: Path) -> None:
    """The client goes on behind the last 10 MiB that it has whole, by a Range, and the file is right."""
    hub = hub_with_repo
    hub.cut_after("model.safetensors", 15_000_000)
    (path,) = map(Path, run(hub, tmp_path, "hf_hub_download('org/name', 'model.safetensors')"))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == BIG.sha256
    assert [(seen.status, seen.range) for seen in hub.seen(kind="content")] == [
        (200, None),
        (206, f"bytes={10 << 20}-"),
    ]
    assert hub.sent("model.safetensors") == 15_000_000 + BIG.size - (10 << 20)


REFUSALS = {
    "hf_hub_download('org/name', 'absent.json')": "RemoteEntryNotFoundError",
    "hf_hub_download('org/name', 'config.json', revision='absent')": "RevisionNotFoundError",
    "hf_hub_download('org/gated', 'config.json')": "GatedRepoError",
    "hf_hub_download('org/secret', 'config.json')": "RepositoryNotFoundError",
    "list(HfApi().list_repo_tree('org/disabled'))": "DisabledRepoError",
    "list(HfApi().list_repo_tree('org/name', 'absent'))": "RemoteEntryNotFoundError",
    "model_info('org/absent')": "RepositoryNotFoundError",
    "model_info('org/gated').gated": "auto",
}


def test_it_understands_what_it_is_refused(hub_with_repo: FakeHub, tmp_path: Path) -> None:
    """Each refusal is the client's own exception, to somebody with a token."""
    hub = hub_with_repo
    hub.model("org/gated", gated="auto").commit({"config.json": CONFIG})
    hub.model("org/secret", private=True).commit({"config.json": CONFIG})
    hub.model("org/disabled").commit({"config.json": CONFIG})
    hub.model("org/disabled").disabled = True
    assert run(hub, tmp_path, *REFUSALS, token=hub.user("alice")) == list(REFUSALS.values())
