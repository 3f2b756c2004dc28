"""What the stand-in does beyond the recorded answers: paging, names, access, redirects, ranges, what it remembers."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import ssl
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from tests.fakehub import FakeHub, Generated, Repo, Seen, lfs
from tests.fakehub.egress import certificate

BIG = Generated(3_000_000, 1)


@pytest.fixture
def repo(hub: FakeHub) -> Repo:
    repo = hub.model("Org/Name")
    repo.commit({"config.json": b'{"a":1}', "data/train 1.txt": b"one\n", "model.safetensors": BIG})
    return repo


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def following(client: httpx.Client, url: str) -> tuple[list[dict[str, object]], int]:
    """All items of a listing by its Link headers, and how many pages there were."""
    items: list[dict[str, object]] = []
    pages = 0
    while url:
        response = client.get(url)
        assert response.status_code == 200
        items += response.json()
        pages += 1
        url = response.links.get("next", {}).get("url", "")
    return items, pages


# listings


def test_a_tree_of_many_pages_is_whole(hub: FakeHub, client: httpx.Client) -> None:
    """Absolute links lead through all of it, a thousand at a time, nothing twice and nothing left out."""
    hub.dataset("org/many").commit({f"data/{number:05d}.txt": b"x" for number in range(2500)})
    items, pages = following(client, "/api/datasets/org/many/tree/main?recursive=true")
    assert [item["path"] for item in items] == ["data", *(f"data/{number:05d}.txt" for number in range(2500))]
    assert pages == 3
    assert len(hub.seen(kind="tree", repo="org/many")) == 3


def test_expanded_pages_are_small_and_say_who_changed_what_last(hub: FakeHub, client: httpx.Client) -> None:
    """Fifty a page; a folder's last commit is that of the last change below it."""
    repo = hub.model("org/many")
    first = repo.commit({f"data/{number:03d}.txt": b"x" for number in range(60)} | {"README.md": b"1"})
    second = repo.commit({"data/007.txt": b"y"}, title="Seven")
    items, pages = following(client, "/api/models/org/many/tree/main?recursive=true&expand=True")
    last = {item["path"]: item["lastCommit"] for item in items}
    assert pages == 2
    assert last["data"] == {"id": second.id, "title": "Seven", "date": "2026-01-01T00:01:00.000Z"}
    assert last["data/008.txt"]["id"] == last["README.md"]["id"] == first.id  # type: ignore[index]


def test_a_limit_is_kept_by_the_cursor(repo: Repo, client: httpx.Client) -> None:
    """Pages of one, each with the cursor of the next."""
    items, pages = following(client, "/api/models/Org/Name/tree/main?limit=1")
    assert [item["path"] for item in items] == ["config.json", "data", "model.safetensors"]
    assert pages == 3


def test_a_cursor_of_somebody_elses_is_refused(repo: Repo, client: httpx.Client) -> None:
    """A cursor is no page number."""
    assert client.get("/api/models/Org/Name/tree/main?cursor=2").status_code == 400


def test_folders_are_listed_quoted_or_not(hub: FakeHub, client: httpx.Client) -> None:
    """The path as one quoted segment, or in its own slashes."""
    hub.model("org/deep").commit({"a/b/c.txt": b"x"})
    for path in ("a%2Fb", "a/b"):
        (item,) = client.get(f"/api/models/org/deep/tree/main/{path}").json()
        assert item["path"] == "a/b/c.txt"


def test_paths_info_takes_forms_and_json(repo: Repo, client: httpx.Client) -> None:
    """What is absent is left out; a folder is one."""
    url = "/api/models/Org/Name/paths-info/main"
    form = client.post(url, data={"paths": ["config.json", "data", "absent"], "expand": "true"})
    assert [(item["path"], item["type"]) for item in form.json()] == [
        ("config.json", "file"),
        ("data", "directory"),
    ]
    assert all("lastCommit" in item for item in form.json())
    assert client.post(url, json={"paths": "config.json"}).json()[0]["size"] == 7
    assert client.post(url, json={"paths": ["absent"]}).json() == []


def test_revisions_have_many_names(repo: Repo, client: httpx.Client) -> None:
    """Branch, tag, pull request, convert ref, commit id, short id; refs list them."""
    repo.tag("v1")
    repo.branch("dev/one")
    pull = repo.commit({"x": b"x"}, on="refs/pr/1")
    converted = repo.commit({"0.parquet": b"p"}, on="refs/convert/parquet", onto="")
    head = repo.head()
    names = {
        "main": head,
        "v1": head,
        "dev%2Fone": head,
        "refs%2Fpr%2F1": pull.id,
        head: head,
        head[:7]: head,
    }
    names["refs%2Fconvert%2Fparquet"] = converted.id
    for name, id in names.items():
        assert client.get(f"/api/models/Org/Name/revision/{name}").json()["sha"] == id
    refs = client.get("/api/models/Org/Name/refs").json()
    assert [ref["name"] for ref in refs["branches"]] == ["main", "dev/one"]
    assert refs["converts"][0] == {
        "name": "parquet",
        "ref": "refs/convert/parquet",
        "targetCommit": converted.id,
    }
    assert "pullRequests" not in refs
    assert list(converted.files) == ["0.parquet"]


def test_lists_are_filtered_and_paged(hub: FakeHub, client: httpx.Client) -> None:
    """By author, word and tag, sorted, a page at a time; what is private is not there."""
    for number in range(5):
        repo = hub.model(f"org/bert-{number}")
        repo.facts |= {"downloads": number, "tags": ["fill-mask"] if number else []}
        repo.commit({"config.json": b"{}"})
    hub.model("org/bert-secret", private=True)
    hub.model("other/bert")
    url = "/api/models?author=org&search=BERT&filter=fill-mask&sort=downloads&limit=3"
    items, pages = following(client, url)
    assert [item["downloads"] for item in items] == [4, 3, 2, 1]
    assert pages == 2
    assert "sha" not in items[0]
    assert "sha" in client.get("/api/models?full=true").json()[0]
    assert client.get("/api/models?expand=nonsense").status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/models/Org/Name/tree", 404),
        ("GET", "/api/models/Org/Name/nonsense/main", 404),
        ("GET", "/api/nonsense", 404),
        ("GET", "/api/resolve-cache/nonsense/Org/Name/main/x", 404),
        ("GET", "/Org/Name", 404),
        ("GET", "/Org/Name/resolve/main", 404),
        ("POST", "/api/models/Org/Name/paths-info/main", 400),
    ],
)
def test_what_there_is_not_is_refused(
    method: str, path: str, status: int, repo: Repo, client: httpx.Client
) -> None:
    """A request that is no good is no defect of the stand-in."""
    answer = client.request(method, path, content=b"[", headers={"Content-Type": "application/json"})
    assert answer.status_code == status


# names


def test_a_renamed_repo_redirects_with_its_query_and_on_post(
    hub: FakeHub, client: httpx.Client, repo: Repo
) -> None:
    """307 and relative, so that the body is sent again; files are answered at once."""
    hub.rename(repo, "Org/New")
    moved = client.get("/api/models/Org/Name/tree/main?recursive=true")
    assert (moved.status_code, moved.headers["location"]) == (
        307,
        "/api/models/Org/New/tree/main?recursive=true",
    )
    posted = client.post(
        "/api/models/org/name/paths-info/main", json={"paths": ["data"]}, follow_redirects=True
    )
    assert posted.json()[0]["path"] == "data"
    assert "/models/Org/New/" in client.get("/Org/Name/resolve/main/config.json").headers["location"]
    hub.redirect_resolve = True
    location = client.get("/Org/Name/resolve/main/config.json").headers["location"]
    assert location == "/Org/New/resolve/main/config.json"


def test_a_legacy_name_has_one_segment(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """In the API it redirects, in resolve it is answered."""
    hub.alias("name", repo)
    assert client.get("/api/models/name/refs?include_prs=1").headers["location"] == (
        "/api/models/Org/Name/refs?include_prs=1"
    )
    assert client.get("/name/resolve/main/config.json").status_code == 307
    assert client.get("/api/models/name", follow_redirects=True).json()["id"] == "Org/Name"


@pytest.mark.parametrize(
    "path", ["a b/c#d.txt", "100%.txt", "ü/ß?.txt", "../up.txt", "a\\b", 'q"uote.txt', "x//y", "/etc/passwd"]
)
def test_odd_paths_are_listed_and_served(path: str, hub: FakeHub, client: httpx.Client) -> None:
    """Whatever a repo holds can be listed, and fetched by its percent-encoded path."""
    hub.model("org/odd").commit({path: b"odd"})
    listed = client.get("/api/models/org/odd/tree/main?recursive=true").json()
    assert [item["path"] for item in listed if item["type"] == "file"] == [path]
    quoted = "".join(f"%{byte:02X}" if byte != ord("/") else "/" for byte in path.encode())
    hop, location = as_it_is(hub, f"/org/odd/resolve/main/{quoted}")
    assert hop.startswith(b"Temporary Redirect.")
    assert as_it_is(hub, location)[0] == b"odd"


def as_it_is(hub: FakeHub, target: str) -> tuple[bytes, str]:
    """Body and Location of a GET whose path nobody tidied up, as httpx does with `..`."""
    address = httpx.URL(hub.url)
    with closing(HTTPConnection(address.host, address.port, timeout=10)) as connection:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.read(), response.headers["location"]


# access


def test_a_private_repo_is_not_there_for_others(hub: FakeHub, client: httpx.Client) -> None:
    """401 to nobody and to a broken token, 404 to somebody; its keeper, its organization and readers have it."""
    repo = hub.model("org/secret", private=True)
    repo.commit({"config.json": b"{}"})
    keeper, reader, other = hub.user("k", orgs=["org"]), hub.user("r"), hub.user("o")
    repo.readers.add("r")
    url = "/org/secret/resolve/main/config.json"
    assert [client.get(url, headers=bearer(token)).status_code for token in (keeper, reader, other, "hf_broken")] == [
        200, 200, 404, 401,
    ]  # fmt: skip
    assert client.get(url).status_code == 401
    assert (
        client.get("/api/models/org/secret", headers=bearer(other)).headers["x-error-code"] == "RepoNotFound"
    )
    assert [seen.user for seen in hub.seen("config.json")] == ["k", "r", "o", None, None]


def test_a_gate_opens_for_whom_it_is_granted(hub: FakeHub, client: httpx.Client) -> None:
    """Info is public; content is 401 to nobody, 403 to somebody, and there for who was granted it."""
    repo = hub.model("org/gated", gated="manual")
    repo.commit({"config.json": b"{}", "w.bin": BIG})
    token = hub.user("alice")
    assert client.get("/api/models/org/gated").json()["gated"] == "manual"
    for url in (
        "/org/gated/resolve/main/w.bin",
        "/api/models/org/gated/tree/main",
        "/org/gated/raw/main/w.bin",
    ):
        assert client.get(url).status_code == 401
        refused = client.get(url, headers=bearer(token))
        assert (refused.status_code, refused.headers["x-error-code"]) == (403, "GatedRepo")
    repo.granted.add("alice")
    assert client.get("/org/gated/resolve/main/w.bin", headers=bearer(token)).status_code == 302
    assert client.get("/api/models/org/gated/auth-check", headers=bearer(token)).status_code == 200


def test_whoami_needs_a_token(hub: FakeHub, client: httpx.Client) -> None:
    """It says who, and of which organizations."""
    token = hub.user("alice", orgs=["acme"])
    said = client.get("/api/whoami-v2", headers=bearer(token)).json()
    assert (said["name"], [org["name"] for org in said["orgs"]]) == ("alice", ["acme"])
    assert client.get("/api/whoami-v2").status_code == 401


def test_nobody_writes(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """A write is refused and shows in the ledger, so that a mirror can be shown to send none."""
    url = "/api/models/Org/Name/commit/main"
    assert client.post(url, content=b"{}").status_code == 401
    assert client.post(url, content=b"{}", headers=bearer(hub.user("Org"))).status_code == 403
    assert client.post("/Org/Name.git/info/lfs/objects/batch", json={}).status_code == 401
    assert len(hub.seen(kind="write")) == 3


# bytes


def test_a_large_file_comes_from_another_host(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """By a signed URL, whole or by ranges, without a token; both SHA-256 and Xet hash are announced."""
    head = client.head("/Org/Name/resolve/main/model.safetensors")
    url = httpx.URL(head.headers["location"])
    assert url.host != httpx.URL(hub.url).host
    assert (head.headers["x-linked-size"], head.headers["x-linked-etag"]) == ("3000000", f'"{BIG.sha256}"')
    body = httpx.get(url)
    assert hashlib.sha256(body.content).hexdigest() == BIG.sha256
    assert body.headers["etag"] == f'"{BIG.xet}"'
    part = httpx.get(url, headers={"Range": "bytes=2999990-", "If-Range": '"another"'})
    assert (part.status_code, part.content) == (206, BIG.read(2_999_990))
    assert part.headers["content-range"] == "bytes 2999990-2999999/3000000"
    assert httpx.get(url, headers={"Range": "bytes=-5"}).content == BIG.read(2_999_995)
    assert hub.sent("model.safetensors") == 3_000_000 + 10 + 5


def test_the_cdn_refuses_a_token(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """Whoever sends the Hub's token there learns it, and the ledger shows the token."""
    url = client.head("/Org/Name/resolve/main/model.safetensors").headers["location"]
    assert httpx.get(url, headers=bearer("hf_leaked")).status_code == 400
    (seen,) = hub.seen(site="cdn")
    assert (seen.token, seen.file, seen.kind) == ("hf_leaked", "model.safetensors", "content")
    assert "authorization" not in seen.headers


def test_a_signed_url_is_good_for_a_while_and_as_it_is(
    hub: FakeHub, client: httpx.Client, repo: Repo
) -> None:
    """Expired or changed it is 403; a new one works."""
    resolve = "/Org/Name/resolve/main/model.safetensors"
    url = client.head(resolve).headers["location"]
    assert httpx.head(url).status_code == 200
    assert httpx.head(url.replace("Expires=", "Expires=9")).status_code == 403
    hub.expire_urls()
    assert httpx.head(url).status_code == 403
    assert httpx.head(client.head(resolve).headers["location"]).status_code == 200
    hub.url_seconds = -1
    assert httpx.head(client.head(resolve).headers["location"]).status_code == 403


def test_the_resolve_cache_works_without_its_query(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """As clients ask that keep the path only; ranges and 304 too, but no branch."""
    path = client.get("/Org/Name/resolve/main/config.json").headers["location"].partition("?")[0]
    whole = client.get(path)
    assert (whole.status_code, whole.content) == (200, b'{"a":1}')
    assert whole.headers["x-repo-commit"] == repo.head()
    assert client.get(path, headers={"Range": "bytes=1-3"}).content == b'"a"'
    assert client.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert client.get(path, headers={"Range": "bytes=7-"}).status_code == 416
    assert client.get(path.replace(repo.head(), "main")).status_code == 404


def test_some_public_files_come_at_once(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """The direct 200 of a few public repos, when a test wants it."""
    hub.direct_public = True
    answer = client.get("/Org/Name/resolve/main/config.json")
    assert (answer.status_code, answer.content) == (200, b'{"a":1}')


def test_gzip_takes_the_range_and_the_length_away(hub: FakeHub, client: httpx.Client) -> None:
    """Text that is asked for with gzip comes whole; asked for as it is, it comes by the range."""
    text = b"a line of text\n" * 1000
    hub.model("org/text").commit({"vocab.txt": text})
    path = client.get("/org/text/resolve/main/vocab.txt").headers["location"]
    ranged = {"Range": "bytes=15000-"}
    assert client.get(path, headers={"Range": "bytes=14990-"}).content == text[14990:]
    with client.stream("GET", path, headers={"Accept-Encoding": "gzip"} | ranged) as answer:
        packed = b"".join(answer.iter_raw())
    assert (answer.status_code, gzip.decompress(packed)) == (200, text)
    assert "content-length" not in answer.headers


def test_accept_asks_for_what_xet_needs(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """The same URL is JSON to who accepts nothing else: what Vary is for."""
    url = "/Org/Name/resolve/main/model.safetensors"
    said = client.get(url, headers={"Accept": "application/vnd.xet-fileinfo+json"}).json()
    assert (said["hash"], said["size"]) == (BIG.xet, BIG.size)
    assert client.head(url, headers={"User-Agent": "ollama/0.9"}).status_code == 307


def test_large_files_that_are_not_on_xet(hub: FakeHub, client: httpx.Client) -> None:
    """No Xet header, no xetHash, and a URL of another form."""
    hub.model("org/old").commit({"old.bin": lfs(b"old", xet=False)})
    head = client.head("/org/old/resolve/main/old.bin")
    assert "x-xet-hash" not in head.headers
    assert "link" not in head.headers
    assert httpx.get(head.headers["location"]).content == b"old"
    assert "xetHash" not in client.get("/api/models/org/old/tree/main").json()[0]


def test_raw_is_the_git_blob(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """The pointer of a large file, with its own ETag, and never 304."""
    answer = client.get("/Org/Name/raw/main/model.safetensors")
    assert answer.text.startswith("version https://git-lfs.github.com/spec/v1\n")
    again = client.get(
        "/Org/Name/raw/main/model.safetensors", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 200


def test_an_empty_file_is_one(hub: FakeHub, client: httpx.Client) -> None:
    """Zero bytes, a length of zero."""
    hub.model("org/empty").commit({"__init__.py": b""})
    answer = client.get("/org/empty/resolve/main/__init__.py", follow_redirects=True)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")


def test_who_follows_a_xet_hint_shows_in_the_ledger(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """The CAS that is named knows nothing, and remembers who asked."""
    head = client.head("/Org/Name/resolve/main/model.safetensors")
    token = client.get(head.links["xet-auth"]["url"]).json()
    assert token["casUrl"] == hub.cas_url
    assert httpx.get(head.links["xet-reconstruction-info"]["url"]).status_code == 404
    assert [seen.kind for seen in hub.requests] == ["resolve", "xet-read-token", "cas"]


# running


def test_it_stops_and_comes_back_on_the_same_ports(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """An upstream that is gone for a while, with everything it had."""
    before = hub.url
    assert client.get("/api/models/Org/Name").status_code == 200
    hub.stop()
    with pytest.raises(httpx.TransportError):
        client.get("/api/models/Org/Name")
    hub.start()
    assert hub.url == before
    assert client.get("/api/models/Org/Name").json()["sha"] == repo.head()


@pytest.mark.anyio
async def test_it_runs_beside_an_event_loop(anyio_backend: str) -> None:
    """`async with`, for tests that are asynchronous: the loop is free while it answers."""
    async with FakeHub() as hub, httpx.AsyncClient(base_url=hub.url) as client:
        hub.model("org/a").commit({"x": b"1"})
        assert (await client.get("/api/models/org/a")).status_code == 200


def test_a_defect_inside_is_raised_at_the_end() -> None:
    """An answer that could not be made is no failed download: leaving the block says what broke."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(AssertionError, match="ZeroDivisionError"), FakeHub() as hub:
        hub.add("*", broken, None, {})
        with pytest.raises(httpx.TransportError):
            httpx.get(hub.url)


def test_addresses_in_answers_can_be_others(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """Links to the public Hub, to see whether somebody follows them with a token."""
    hub.public_url = "https://huggingface.co"
    link = client.get("/api/models/Org/Name/tree/main?limit=1").links["next"]["url"]
    assert link.startswith("https://huggingface.co/api/models/Org/Name/tree/main?")


def test_the_ledger_begins_anew(hub: FakeHub, client: httpx.Client, repo: Repo) -> None:
    """What was asked before does not count any more; what is asked is a line each."""
    client.get("/api/models/Org/Name")
    hub.forget()
    client.get("/api/models/Org/Name/refs?include_prs=1", headers={"Range": "bytes=0-"})
    (seen,) = hub.requests
    assert isinstance(seen, Seen)
    assert str(seen).startswith("2 hub GET /api/models/Org/Name/refs?include_prs=1 [bytes=0-] 200 ")
    assert hub.transcript() == str(seen)
    assert hub.sent("*") == 0


def test_it_speaks_tls(tmp_path: Path) -> None:
    """For an upstream behind a company's CA, and for rules that want https."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    tls, trusted = certificate(tmp_path, "127.0.0.1", "127.0.0.2")
    trust = ssl.create_default_context(cafile=str(trusted))
    with FakeHub(tls=tls) as hub, httpx.Client(verify=trust) as client:
        hub.model("org/a").commit({"w.bin": BIG})
        answer = client.get(f"{hub.url}/org/a/resolve/main/w.bin", follow_redirects=True)
        assert (answer.url.scheme, answer.content == BIG.read()) == ("https", True)
