"""git and git-lfs of Debian: a clone, a push, and what the other clients then load."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import Client, content


def address(client: Client, token: str, path: str) -> str:
    """The URL of a repo with the credentials in it, as people paste it."""
    parts = urlsplit(client.hub.url)
    return parts._replace(netloc=f"alice:{token}@{parts.netloc}", path=path).geturl()


def prepare(client: Client) -> None:
    """Git's configuration in the client's own home."""
    for words in (
        ["config", "--global", "user.email", "alice@example.com"],
        ["config", "--global", "user.name", "alice"],
        ["config", "--global", "init.defaultBranch", "main"],
        ["lfs", "install"],
    ):
        client.command("git", *words)


@pytest.mark.quick
def test_a_clone_is_what_was_uploaded(
    new_client: NewClient, alice: str, models: Path, published: dict[str, str], tmp_path: Path
) -> None:
    """git clone checks out every file, the large ones through git-lfs; git itself finds nothing wrong with it."""
    client = new_client("git")
    prepare(client)
    clone = client.command("git", "clone", address(client, alice, "/acme/secret-llama"), tmp_path / "clone")
    assert content(tmp_path / "clone") == content(models / "llama")
    head = client.command("git", "rev-parse", "HEAD", cwd=tmp_path / "clone").output.strip()
    assert head == published["acme/secret-llama"]
    client.command("git", "fsck", "--strict", cwd=tmp_path / "clone")
    assert client.command("git", "status", "--porcelain", cwd=tmp_path / "clone").output == ""
    assert clone.requests.matching(r"^GET /acme/secret-llama(\.git)?/info/refs\?service=git-upload-pack 200")
    assert clone.requests.matching(r"^POST /acme/secret-llama.git/info/lfs/objects/batch 200")


def test_a_push_is_loaded_by_the_others(
    new_client: NewClient, alice: str, models: Path, tmp_path: Path
) -> None:
    """A commit pushed with git, its weights with git-lfs, comes down by `hf download` byte for byte."""
    client, reader = new_client("git"), new_client("venv-mid")
    prepare(client)
    reader.command("hf", "repos", "create", "alice/by-git")
    here = tmp_path / "here"
    client.command("git", "clone", address(client, alice, "/alice/by-git"), here)
    (here / "model.safetensors").write_bytes(data := os.urandom(200_000))
    (here / "notes.md").write_text("# pushed by git\n")
    client.command("git", "add", ".", cwd=here)
    client.command("git", "commit", "--quiet", "-m", "by git", cwd=here)
    pushed = client.command("git", "push", "origin", "main", cwd=here)
    assert len(pushed.requests.matching("^PUT ")) == 1
    assert pushed.requests.matching(r"^POST /alice/by-git(\.git)?/git-receive-pack 200")
    reader.command("hf", "download", "alice/by-git", "--local-dir", tmp_path / "down")
    assert (tmp_path / "down" / "model.safetensors").read_bytes() == data
    assert (tmp_path / "down" / "notes.md").read_text() == "# pushed by git\n"


def test_a_commit_of_the_hub_is_pulled(
    new_client: NewClient, alice: str, models: Path, tmp_path: Path
) -> None:
    """What `hf upload` adds to a cloned repo arrives with git pull."""
    client, writer = new_client("git"), new_client("venv-new")
    prepare(client)
    writer.command("hf", "upload", "alice/pulled", models / "llama")
    client.command("git", "clone", address(client, alice, "/alice/pulled"), tmp_path / "clone")
    writer.command("hf", "upload", "alice/pulled", models / "second")
    client.command("git", "pull", cwd=tmp_path / "clone")
    assert content(tmp_path / "clone") == content(models / "second")


@pytest.mark.quick
def test_git_lfs_needs_no_git_of_ours(new_client: NewClient, alice: str, tmp_path: Path) -> None:
    """`git lfs push` to an lfs.url sends an object once, and another clone fetches the same bytes."""
    client = new_client("git")
    prepare(client)
    new_client("venv-mid").command("hf", "repos", "create", "alice/by-lfs")
    url = address(client, alice, "/alice/by-lfs.git/info/lfs")
    here, bare = tmp_path / "here", tmp_path / "bare.git"
    client.command("git", "init", "--quiet", "--bare", bare)
    client.command("git", "init", "--quiet", here)
    client.command("git", "config", "lfs.url", url, cwd=here)
    client.command("git", "lfs", "track", "*.bin", cwd=here)
    (here / "weights.bin").write_bytes(data := os.urandom(300_000))
    client.command("git", "add", ".", cwd=here)
    client.command("git", "commit", "--quiet", "-m", "weights", cwd=here)
    client.command("git", "remote", "add", "origin", bare, cwd=here)
    pushed = client.command("git", "push", "origin", "main", cwd=here)
    assert pushed.requests.matching("^POST /alice/by-lfs.git/info/lfs/objects/batch 200")
    assert len(pushed.requests.matching("^PUT ")) == 1
    assert "git-lfs/" in pushed.requests.matching("batch")[0].agent
    assert not client.command("git", "lfs", "push", "--all", "origin", cwd=here).requests.matching("^PUT ")

    there = tmp_path / "there"
    fetched = client.command("git", "clone", "--config", f"lfs.url={url}", bare, there)
    assert (there / "weights.bin").read_bytes() == data
    assert fetched.requests.matching("^GET /[^ ]* 200")
