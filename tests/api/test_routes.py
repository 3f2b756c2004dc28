"""The table of URLs: what each part may be, and that every row says what it is for."""

from __future__ import annotations

import pytest

from hubreg.api import discussions, lfs, refs, repos, resolve, site
from hubreg.api.routes import ROUTES, Table, parts
from hubreg.errors import Invalid, MethodNotAllowed, NotFound

TABLE = Table()


def found(path: str, method: str = "GET") -> tuple[object, dict[str, str]]:
    route, match = TABLE.find(method, path)
    return route.handler, {name: text for name, text in parts(match).items() if name not in ("web", "word")}


@pytest.mark.parametrize(
    ("prefix", "type_"),
    [("", "model"), ("datasets/", "dataset"), ("spaces/", "space")],
    ids=["models", "datasets", "spaces"],
)
def test_the_three_types_of_repo_share_the_rows(prefix: str, type_: str) -> None:
    """The API has a plural, files have a prefix that models lack; both come out as one word."""
    assert found(f"/{prefix}org/name/resolve/main/a/b%20c.json") == (
        resolve.file,
        {"type": type_, "repo": "org/name", "revision": "main", "path": "a/b c.json"},
    )
    assert found(f"/api/{type_}s/org/name/revision/v1") == (
        repos.info,
        {"type": type_, "repo": "org/name", "revision": "v1"},
    )


@pytest.mark.parametrize(
    "revision", ["refs%2Fpr%2F1", "refs/pr/1", "refs%2Fconvert%2Fparquet", "refs/convert/parquet"]
)
def test_a_revision_may_be_a_whole_ref(revision: str) -> None:
    """Python encodes the slashes, JavaScript does not (CLIENT_API 9)."""
    whole = revision.replace("%2F", "/")
    assert found(f"/api/models/org/name/tree/{revision}/sub/dir")[1] == {
        "type": "model", "repo": "org/name", "revision": whole, "path": "sub/dir",
    }  # fmt: skip
    assert found(f"/api/models/org/name/tree/{revision}")[1]["revision"] == whole
    assert found(f"/api/models/org/name/commits/{revision}")[1]["revision"] == whole


def test_an_encoded_slash_belongs_to_its_part() -> None:
    """A branch with a slash is one segment; a path may be encoded as a whole (HUB 1.4)."""
    assert found("/api/models/o/n/revision/feature%2Fx")[1]["revision"] == "feature/x"
    assert found("/api/models/o/n/tree/main/data%2Ftrain")[1]["path"] == "data/train"
    assert found("/api/models/o/n/branch/feature%2Fx", "POST")[1]["branch"] == "feature/x"
    assert found("/api/models/o/n/branch/feature/x", "DELETE")[1]["branch"] == "feature/x"


def test_a_name_of_one_segment_is_a_repo_too() -> None:
    """The Hub's oldest repos have no namespace: asking for one is no unknown URL."""
    assert found("/api/models/gpt2") == (repos.info, {"type": "model", "repo": "gpt2"})
    assert found("/api/models/gpt2/revision/main")[1]["repo"] == "gpt2"
    assert found("/gpt2/resolve/main/config.json")[1]["repo"] == "gpt2"
    assert found("/datasets/squad/resolve/main/f") == (
        resolve.file,
        {"type": "dataset", "repo": "squad", "revision": "main", "path": "f"},
    )


@pytest.mark.parametrize(
    ("path", "handler"),
    [
        ("refs", refs.refs),
        ("auth-check", repos.may_read),
        ("discussions", discussions.page),
        ("lfs-files", lfs.inventory),
        ("likers", site.unsupported),
    ],
)
def test_a_name_of_one_segment_with_a_verb_behind_it(path: str, handler: object) -> None:
    """May be read in two ways; only who knows which repos there are can choose."""
    url = f"/api/models/gpt2/{path}"
    _, match = TABLE.find("GET", url)
    shorter = TABLE.shorter(url, match)
    assert shorter is not None
    assert (shorter[0].handler, parts(shorter[1])["repo"]) == (handler, "gpt2")


@pytest.mark.parametrize(
    "path", ["gpt2", "org/name", "org/tree", "org/revision", "refs/name", "org/secrets", "org/refs/refs"]
)
def test_most_paths_have_one_reading(path: str) -> None:
    """Words that need more behind them are none, nor are those of another type of repo."""
    url = f"/api/models/{path}"
    assert TABLE.shorter(url, TABLE.find("GET", url)[1]) is None


@pytest.mark.parametrize(
    "name", ["refs", "tree", "resolve", "scan", "metrics", "discussions", "lfs-files", "revision"]
)
def test_a_repo_may_be_called_like_a_verb(name: str) -> None:
    """The longest reading of a name wins."""
    assert found(f"/api/models/org/{name}") == (repos.info, {"type": "model", "repo": f"org/{name}"})
    assert found(f"/api/spaces/org/{name}/tree/main")[1]["repo"] == f"org/{name}"
    assert found(f"/org/{name}/resolve/main/f")[1]["repo"] == f"org/{name}"


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks", "/api/collections", "/api/collections/ns/slug-0", "/api/jobs/ns", "/api/papers/search",
        "/api/buckets/ns", "/api/settings/webhooks", "/api/kernels/ns/k", "/api/models/o/n/likers",
        "/api/datasets/o/n/parquet/default/train", "/api/spaces/o/n/runtime",
        "/api/spaces/hardware", "/uploads", "/oauth/token", "/buckets/ns/b", "/v2/ns/m/manifests/latest",
        "/api/models/o/n/user-access-request/pending", "/api/users/u/likes",
    ],
)  # fmt: skip
def test_what_the_hub_has_and_hubreg_does_not(path: str) -> None:
    """Is a row of its own, so that it answers 501."""
    assert found(path)[0] is site.unsupported


def test_what_is_no_url_at_all() -> None:
    """Is not found; one that has another method says which."""
    with pytest.raises(NotFound):
        found("/api/models/o/n/tree")
    with pytest.raises(MethodNotAllowed) as caught:
        found("/api/models/o/n/commit/main")
    assert caught.value.headers == {"Allow": "POST"}
    with pytest.raises(MethodNotAllowed) as caught:
        found("/api/models/o/n/refs", "OPTIONS")
    assert caught.value.headers == {"Allow": "GET, HEAD"}


@pytest.mark.parametrize("text", ["%ff", "%C3%28", "%ED%A0%80", "\xff"])
def test_what_is_no_utf8_is_refused(text: str) -> None:
    """Also the encoding of half a character pair, which Python's strings could hold and nothing else can."""
    with pytest.raises(Invalid):
        found(f"/api/models/o/n/revision/{text}")


def test_bytes_that_should_have_been_encoded_are_read() -> None:
    """A client that sends UTF-8 as it is means the same."""
    assert found("/api/models/o/n/revision/" + "é".encode().decode("latin-1"))[1]["revision"] == "é"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.methods} {route.path}"[:80])
def test_every_row_says_what_it_is_for(route: object) -> None:
    """In one line, from which the documentation's table is made."""
    summary = getattr(route, "summary", "")
    assert summary.endswith(".")
    assert len(summary) <= 120


def test_no_row_hides_another() -> None:
    """Methods and path of each row are its own."""
    rows = [(method, route.path) for route in ROUTES for method in route.methods.split()]
    assert len(rows) == len(set(rows))
