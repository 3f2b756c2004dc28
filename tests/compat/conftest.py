"""
Every test here runs an unmodified client in a process of its own against a live server.

Without options, or with `--quick`, one load per client; `--full` for everything; `--vllm` for vLLM; `--xet-matrix` for
every version of hf_xet. The environments come from `scripts/compat`. A client that is missing fails its tests when
COMPAT_REQUIRED or CI is set, and skips them otherwise.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compat.live import ENVIRONMENTS, Client, Hub, build_guard, require

REQUIRED = bool(os.environ.get("COMPAT_REQUIRED") or os.environ.get("CI"))
TEST_SECONDS = 900

NewClient = Callable[..., Client]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("compat")
    group.addoption("--quick", action="store_true", help="one load per client (the default)")
    group.addoption("--full", action="store_true", help="everything but vLLM and the matrix of Xet")
    group.addoption("--vllm", action="store_true", help="vLLM, for real, on the CPU")
    group.addoption("--xet-matrix", action="store_true", help="every version of hf_xet that is claimed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: the one load per client that CI runs")
    config.addinivalue_line("markers", "vllm: needs the vllm environment and some minutes")
    config.addinivalue_line("markers", "xet_matrix: needs an environment for each version of hf_xet")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is here, and keep what was asked for."""
    here = Path(__file__).parent
    full = config.getoption("--full", False)
    only = {name: config.getoption(f"--{name.replace('_', '-')}", False) for name in ("vllm", "xet_matrix")}
    dropped = []
    for item in items:
        if not item.path.is_relative_to(here):
            continue
        item.add_marker(pytest.mark.compat)
        item.add_marker(pytest.mark.timeout(TEST_SECONDS))
        marked = [asked for name, asked in only.items() if item.get_closest_marker(name)]
        wanted = marked[0] if marked else full or item.get_closest_marker("quick")
        if not wanted:
            dropped.append(item)
    if dropped:
        items[:] = [item for item in items if item not in dropped]
        config.hook.pytest_deselected(items=dropped)


def need(name: str) -> Path:
    """The folder of an environment; the test fails or is skipped without it."""
    place = ENVIRONMENTS / name
    if sentence := require([(place / ".ready", name)]):
        if REQUIRED:
            pytest.fail(sentence)
        pytest.skip(sentence)
    return place


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The server, with users `alice` and `bob` and an organization `acme` that alice keeps."""
    server = Hub(tmp_path_factory.mktemp("hub"))
    server.start()
    try:
        server.command("user", "add", "alice", "--fullname", "Alice")
        server.command("user", "add", "bob")
        server.command("org", "add", "acme")
        server.command("org", "member", "acme", "alice", "--role", "admin")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def alice(hub: Hub) -> str:
    """A token that writes."""
    return hub.token("alice")


@pytest.fixture(scope="session")
def bob(hub: Hub) -> str:
    """A token of somebody who is not in acme."""
    return hub.token("bob")


@pytest.fixture(scope="session")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return build_guard(tmp_path_factory.mktemp("guard"))


@pytest.fixture(scope="session")
def new_client(
    hub: Hub, alice: str, guard: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> NewClient:
    """Make a client of an environment with an empty cache; alice's unless a token (or None) is given."""

    def make(environment: str, *, token: str | None = alice) -> Client:
        place = need(environment)
        return Client(hub, place, tmp_path_factory.mktemp(environment) / "home", guard, token)

    return make


@pytest.fixture(scope="session")
def models(new_client: NewClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tiny models, adapters and rows, made here by the clients' own libraries."""
    folder = tmp_path_factory.mktemp("models")
    new_client("venv-new").run("make_models.py", folder)
    return folder


@pytest.fixture(scope="session")
def published(new_client: NewClient, models: Path) -> dict[str, str]:
    """All of `models`, pushed by the newest client; repo id to the commit at main."""
    commits: dict[str, str] = new_client("venv-new").run("publish.py", models).value
    return commits
