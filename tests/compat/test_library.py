"""huggingface_hub 2.4, 1.33 and 0.36 as a library: the hard requirements that it can see."""

import re
from hashlib import sha256
from pathlib import Path

import pytest

from tests.compat.conftest import NewClient
from tests.compat.live import content


@pytest.mark.parametrize("version", ["venv-new", "venv-mid", "venv-old"], ids=["2.4", "1.33", "0.36"])
def test_every_way_to_read(
    version: str, new_client: NewClient, models: Path, published: dict[str, str]
) -> None:
    """Files, snapshots and ranges give the pushed bytes, and every wrong request raises the class meant for it."""
    commit = published["acme/tiny-encoder"]
    answer = new_client(version).run("library.py", "acme/tiny-encoder")
    data = (models / "bert" / "model.safetensors").read_bytes()
    digest = sha256(data).hexdigest()
    facts = answer.value
    assert (facts["downloaded"], facts["snapshot"], facts["etag"]) == (digest, digest, digest)
    assert bytes.fromhex(facts["middle"]) == data[8:108]
    assert (facts["size"], facts["commit"], facts["head"]) == (len(data), commit, commit)
    folders = {"1_Pooling"}
    assert set(facts["listed"]) == {*content(models / "bert"), ".gitattributes", *folders}
    assert facts["branches"] == {"main": commit}
    assert facts["exists"] == [True, False]
    assert facts["other_case"] == "acme/tiny-encoder"
    assert facts["remembered"], "X-Repo-Commit is missing on a 404 of a file"
    assert facts["exceptions"] == {
        "file": "EntryNotFoundError" if version == "venv-old" else "RemoteEntryNotFoundError",
        "revision": "RevisionNotFoundError",
        "repo": "RepositoryNotFoundError",
        "anonymous": "RepositoryNotFoundError",
        "private": "RepositoryNotFoundError",
        "gated": "GatedRepoError",
    }
    assert answer.requests.matching("^POST /api/repos/create 409")
    assert answer.requests.matching(f"^GET /acme/tiny-encoder/resolve/(main|{commit})/model.safetensors 206")
    assert answer.requests.matching("^HEAD /acme/tiny-encoder/resolve/main/absent.txt 404")


@pytest.mark.parametrize("version", ["venv-new", "venv-mid"], ids=["2.4", "1.33"])
def test_the_harnesses_are_asked_once(version: str, new_client: NewClient, published: dict[str, str]) -> None:
    """The list of agent harnesses is answered with 200, so that a cache keeps it."""
    client = new_client(version)
    answers = [client.run("library.py", "acme/tiny-encoder") for _ in range(2)]
    asked = [len(a.requests.matching("^GET /api/agent-harnesses 200")) for a in answers]
    assert asked == [1, 0]


@pytest.mark.parametrize("version", ["venv-new", "venv-mid", "venv-old"], ids=["2.4", "1.33", "0.36"])
def test_a_gated_repo_needs_consent(
    version: str, new_client: NewClient, published: dict[str, str], bob: str
) -> None:
    """A gated repo is described to everybody and read by its members; another user is told that it is gated."""
    hf = "huggingface-cli" if version == "venv-old" else "hf"
    words = (hf, "download", "acme/gated-llama", "config.json")
    assert new_client(version).command(*words).requests.matching("^GET /acme/gated-llama/resolve/[^ ]* 200")
    refused = new_client(version, token=bob).command(*words, fails=True)
    assert {r.status for r in refused.requests.matching("/acme/gated-llama/resolve/")} == {403}
    assert re.search("restricted|requires approval|gated", refused.output, re.I), refused.output
