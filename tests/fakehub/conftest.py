from collections.abc import Iterator

import httpx
import pytest

from tests.fakehub import FakeHub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture
def client(hub: FakeHub) -> Iterator[httpx.Client]:
    """Follows no redirect and takes no compression, as upstream is best asked."""
    with httpx.Client(base_url=hub.url, headers={"Accept-Encoding": "identity"}, timeout=10) as client:
        yield client
