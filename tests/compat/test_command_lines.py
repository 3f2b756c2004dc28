"""`hf` of 2.4 and 1.33, and `huggingface-cli` of 0.36: a folder goes up and comes down the same."""

from pathlib import Path

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import content

CLIENTS = [
    pytest.param("venv-new", ["hf"], ["hf", "auth", "whoami"], id="hf-2.4"),
    pytest.param("venv-mid", ["hf"], ["hf", "auth", "whoami"], id="hf-1.33"),
    pytest.param("venv-old", ["huggingface-cli"], ["huggingface-cli", "whoami"], id="huggingface-cli-0.36"),
]


@pytest.mark.quick
@pytest.mark.parametrize(("environment", "cli", "whoami"), CLIENTS)
def test_a_folder_goes_up_and_comes_down(
    environment: str, cli: list[str], whoami: list[str], new_client: NewClient, models: Path, tmp_path: Path
) -> None:
    """upload creates the repo and sends weights through LFS; download gives every byte back."""
    repo = f"alice/up-{environment}"
    client = new_client(environment)
    assert "alice" in client.command(*whoami).output
    up = client.command(*cli, "upload", repo, models / "sharded", "--commit-message", "by the command line")
    assert up.requests.matching("^POST /api/repos/create 200")
    assert up.requests.matching(f"^POST /{repo}.git/info/lfs/objects/batch 200")
    assert up.requests.matching(f"^POST /api/models/{repo}/commit/main[^ ]* 200")
    down = client.command(*cli, "download", repo, "--local-dir", tmp_path / "down")
    assert content(tmp_path / "down") == content(models / "sharded")
    assert down.requests.matching(f"^GET /{repo}/resolve/[0-9a-f]{{40}}/model-00001-of-00003.safetensors 200")


@pytest.mark.parametrize(("environment", "cli", "whoami"), CLIENTS)
def test_the_same_folder_again_sends_nothing(
    environment: str, cli: list[str], whoami: list[str], new_client: NewClient, models: Path
) -> None:
    """A second upload of the same bytes moves no content and makes no commit."""
    repo = f"alice/again-{environment}"
    client = new_client(environment)
    client.command(*cli, "upload", repo, models / "llama")
    again = client.command(*cli, "upload", repo, models / "llama")
    assert not again.requests.matching("^PUT |^POST [^ ]*/commit/")


@pytest.mark.parametrize(("environment", "cli", "whoami"), CLIENTS)
def test_a_dataset_and_one_file_of_a_revision(
    environment: str, cli: list[str], whoami: list[str], new_client: NewClient, models: Path, tmp_path: Path
) -> None:
    """A dataset goes up into a folder of the repo; one file comes down by commit."""
    repo = f"alice/rows-{environment}"
    client = new_client(environment)
    client.command(*cli, "upload", repo, models / "dataset" / "data", "data", "--repo-type", "dataset")
    names = ["data/train.jsonl", "--repo-type", "dataset", "--revision", "main", "--local-dir", str(tmp_path)]
    down = client.command(*cli, "download", repo, *names)
    pushed = models / "dataset" / "data" / "train.jsonl"
    assert (tmp_path / "data" / "train.jsonl").read_bytes() == pushed.read_bytes()
    assert down.requests.matching(f"^HEAD /datasets/{repo}/resolve/main/data/train.jsonl 307")


@pytest.mark.parametrize(("environment", "cli", "whoami"), CLIENTS)
def test_without_the_right_nothing_goes_up(
    environment: str, cli: list[str], whoami: list[str], new_client: NewClient, models: Path, bob: str
) -> None:
    """Somebody who is not in the organization is refused before a byte of content moves."""
    client = new_client(environment, token=bob)
    refused = client.command(*cli, "upload", "acme/not-yours", models / "llama", fails=True)
    assert not refused.requests.matching("^PUT ")
    assert {r.status for r in refused.requests.matching("^POST /api/repos/create")} == {403}


def test_hf_makes_and_removes_what_it_is_told(new_client: NewClient, models: Path) -> None:
    """`hf repos` creates, tags, branches and deletes."""
    client = new_client("venv-new")
    client.command("hf", "repos", "create", "alice/made", "--private")
    client.command("hf", "upload", "alice/made", models / "llama" / "config.json", "config.json")
    client.command("hf", "repos", "tag", "create", "alice/made", "v1")
    client.command("hf", "repos", "branch", "create", "alice/made", "staging")
    assert "v1" in client.command("hf", "repos", "tag", "list", "alice/made").output
    gone = client.command("hf", "repos", "delete", "alice/made", "--yes")
    assert gone.requests.matching("^DELETE /api/repos/delete 200")
