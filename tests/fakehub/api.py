"""The Hub's metadata routes: info, lists, trees, refs, commits, people. HUB 5."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from tests.fakehub.access import at, opened, visible
from tests.fakehub.answers import Call, Refused
from tests.fakehub.content import Content
from tests.fakehub.info import FULL, ROW, by_default, check_expand, expanded, facts, tree_item
from tests.fakehub.repos import KINDS, Commit, Item, Kind, Repo, iso
from tests.fakehub.wire import Answer, Headers

PLURALS: dict[str, Kind] = {f"{kind}s": kind for kind in KINDS}
NO_SUCH_USER = "This user does not exist"  # `user-not-found-404`
NO_SUCH_PAGE = "Sorry, we can't find the page you are looking for."  # `org-not-found-404`
MOST_PATHS = 2000  # of paths-info (HUB 5.4)


def answer(call: Call) -> Answer:
    """Whatever begins with /api/, but for the file routes."""
    words = [unquote(word) for word in call.request.path.split("/")[2:]]
    if words[0] in PLURALS:
        return (
            _list(call, PLURALS[words[0]])
            if len(words) == 1
            else _of_repo(call, PLURALS[words[0]], words[1:])
        )
    if words == ["whoami-v2"]:
        return _whoami(call)
    if words == ["agent-harnesses"]:  # `agent-harnesses-200`: the client asks once a day, before all else
        call.seen.kind = "harnesses"
        return call.json({"harnesses": {}, "standardEnvVars": ["AI_AGENT", "AGENT"]})
    if len(words) == 3 and words[0] in ("users", "organizations") and words[2] == "overview":
        return _overview(call, words[0], words[1])
    if call.request.method not in ("GET", "HEAD"):
        return refuse_write(call)
    raise Refused(404, NO_SUCH_PAGE)


def refuse_write(call: Call) -> Answer:
    """Nobody writes here: 401 without a token (`write-route-anonymous-401`), 403 with one."""
    call.seen.kind = "write"
    if call.user is None:
        raise Refused(401, "Invalid username or password.")
    raise Refused(403, "The stand-in takes no writes.")


# one repo


def _of_repo(call: Call, kind: Kind, words: list[str]) -> Answer:
    two = len(words) > 1 and not (
        call.world.find(kind, words[0]) and not call.world.find(kind, "/".join(words[:2]))
    )
    name, rest = ("/".join(words[:2]), words[2:]) if two else (words[0], words[1:])
    verb = rest[0] if rest else "revision"
    call.seen.kind = "info" if verb == "revision" else verb
    if call.request.method not in ("GET", "HEAD") and verb != "paths-info":
        return refuse_write(call)
    repo = visible(call, kind, name)
    if repo.id != name:
        return _to_canonical(call, repo, segments=2 if two else 1)
    if verb not in VERBS or (verb in OF_A_REVISION and len(rest) < 2):
        raise Refused(404, NO_SUCH_PAGE)
    return VERBS[verb](call, repo, rest[1:])


def _to_canonical(call: Call, repo: Repo, segments: int) -> Answer:
    """Another case, an old or a legacy name: 307, relative, tail and query kept, on POST too (`redirect-307-*`)."""
    raw = call.request.path.split("/")
    location = "/".join([*raw[:3], quote(repo.id), *raw[3 + segments :]])
    return call.redirect(307, f"{location}?{call.request.query}" if call.request.query else location)


def _info(call: Call, repo: Repo, rest: list[str]) -> Answer:
    """Public for gated and disabled repos, too (`model-info-disabled-200`)."""
    commit = at(repo, rest[0]) if rest else repo.resolve("main")
    said = facts(repo, commit, blobs=call.request.flag("blobs"))
    if asked := call.request.values("expand"):
        return call.json(expanded(repo.kind, said, asked))
    if call.request.flag("securityStatus"):
        said["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return call.json(by_default(repo, said))


def _tree(call: Call, repo: Repo, rest: list[str]) -> Answer:
    """`tree/{rev}/{path}`, the path quoted as a whole or not, page by page."""
    if call.world.gated_trees:
        opened(call, repo)
    revision, path = rest[0], "/".join(rest[1:]).strip("/")
    commit = at(repo, revision)
    paths = commit.tree.paths(path, recursive=call.request.flag("recursive"))
    if paths is None:  # absent, or a file (`api-tree-missing-path-404`)
        raise Refused(404, f'{path} does not exist on "{revision}"', "EntryNotFound")
    expand = call.request.flag("expand")
    most = call.world.expanded_page_size if expand else call.world.page_size
    limit = max(1, min(call.request.number("limit", most), most))
    start = _read_cursor(call.request.value("cursor"))
    page = [item for path in paths[start : start + limit] if (item := commit.tree.find(path))]
    shown = [_shown(call, commit, item, expand) for item in page]
    following = start + limit
    if following >= len(paths):
        return call.json(shown)
    cursor = _tree_cursor(page[-1], commit.tree.oid, following, limit)
    return call.json(shown, headers=_next(call, expand, limit, cursor))


def _shown(call: Call, commit: Commit, item: Item, expand: bool) -> dict[str, Any]:
    last = commit.last_of(item.path) if expand else None
    return tree_item(item, last, call.world.security_status)


def _tree_cursor(last: Item, tree: str, following: int, limit: int) -> str:
    """As recorded, base64(base64(JSON) + ":" + limit) (`tree-page1-link`); `at` is ours. Opaque to clients."""
    inner = b64encode(json.dumps({"file_name": last.path, "tree_oid": tree, "at": following}).encode())
    return b64encode(inner + b":%d" % limit).decode()


def _read_cursor(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        inner = b64decode(cursor, validate=True).rpartition(b":")[0]
        return int(json.loads(b64decode(inner, validate=True))["at"])
    except (NotBase64, ValueError, KeyError) as error:
        raise Refused(400, "Invalid cursor") from error


def _next(call: Call, expand: bool, limit: int, cursor: str) -> Headers:
    """An absolute Link, with the parameters in the recorded order (`tree-page1-link`)."""
    flags = f"expand={str(expand).lower()}&recursive={str(call.request.flag('recursive')).lower()}"
    url = f"{call.world.public_url}{call.request.path}?{flags}&limit={limit}&cursor={quote(cursor, safe='')}"
    return [("link", f'<{url}>; rel="next"')]


def _paths_info(call: Call, repo: Repo, rest: list[str]) -> Answer:
    """The tree items of the paths that exist; the others are left out (`paths-info-200`)."""
    if call.request.method != "POST":
        raise Refused(404, NO_SUCH_PAGE)
    if call.world.gated_trees:
        opened(call, repo)
    paths, expand = _asked_paths(call)
    if len(paths) > MOST_PATHS:
        raise Refused(413, "Payload too large")
    commit = at(repo, rest[0])
    found = [item for path in paths if (item := commit.tree.find(path.strip("/")))]
    return call.json([_shown(call, commit, item, expand) for item in found])


def _asked_paths(call: Call) -> tuple[list[str], bool]:
    """A form from Python, JSON from JavaScript (HUB 1.5)."""
    body = call.request.body.decode("utf-8", "replace")
    if "json" in call.request.headers.get("content-type", ""):
        try:
            asked = json.loads(body)
            paths = asked.get("paths", [])
        except (ValueError, AttributeError) as error:
            raise Refused(400, "Invalid JSON") from error
        return [paths] if isinstance(paths, str) else paths, bool(asked.get("expand"))
    form = parse_qs(body)
    return form.get("paths", []), form.get("expand", [""])[-1].lower() in ("true", "1")


def _refs(call: Call, repo: Repo, rest: list[str]) -> Answer:
    """Pull requests only when asked for (`refs-200`)."""

    def under(prefix: str) -> list[dict[str, str]]:
        found = ((ref, id) for ref, id in repo.refs.items() if ref.startswith(prefix))
        return [{"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": id} for ref, id in found]

    lists = {
        "tags": under("refs/tags/"),
        "branches": under("refs/heads/"),
        "converts": under("refs/convert/"),
    }
    if call.request.flag("include_prs"):
        lists["pullRequests"] = under("refs/pr/")
    return call.json(lists)


def _commits(call: Call, repo: Repo, rest: list[str]) -> Answer:
    """Newest first, `p` counts from 0, with a total (`commits-page-200`)."""
    opened(call, repo)
    history = list(at(repo, rest[0]).history())
    page, limit = call.request.number("p", 0), call.request.number("limit", 50)
    formatted = "formatted" in call.request.values("expand")
    shown = [_commit(commit, formatted) for commit in history[page * limit : (page + 1) * limit]]
    headers = [("x-total-count", str(len(history)))]
    if (page + 1) * limit < len(history):
        url = f"{call.world.public_url}{call.request.path}?p={page + 1}&limit={limit}"
        headers.append(("link", f'<{url}>; rel="next"'))
    return call.json(shown, headers=headers)


def _commit(commit: Commit, formatted: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "authors": list(commit.authors),
        "date": iso(commit.date),
    }
    if formatted:
        shown["formatted"] = {"title": commit.title, "message": commit.message}
    return shown


def _xet_read_token(call: Call, repo: Repo, rest: list[str]) -> Answer:
    """The shape of `xet-write-token-200`. The CAS that it names knows nothing: who goes there has been misled."""
    opened(call, repo)
    at(repo, rest[0])
    expires = call.expires()
    said = {"accessToken": f"xet-{repo.public_id}", "casUrl": call.world.cas_url, "exp": expires}
    headers = [
        ("x-xet-access-token", str(said["accessToken"])),
        ("x-xet-cas-url", call.world.cas_url),
        ("x-xet-token-expiration", str(expires)),
    ]
    return call.json(said, headers=headers)


def _safetensors_metadata(call: Call, repo: Repo, rest: list[str]) -> Answer:
    """The headers of all shards that an index names; as huggingface_hub 2.4 reads it, not recorded."""
    files = (opened(call, repo).resolve("main") or at(repo, "main")).files
    index = files.get("/".join(rest))
    if index is None:
        raise Refused(404, "Entry not found", "EntryNotFound")
    said = json.loads(index.content.read())
    shards = dict.fromkeys(said.pop("weight_map").values())
    return call.json({"index": said, "headers": {shard: _header(files[shard].content) for shard in shards}})


def _header(content: Content) -> Any:
    size = int.from_bytes(content.read(0, 8), "little")
    return json.loads(content.read(8, 8 + size))


def _auth_check(call: Call, repo: Repo, rest: list[str]) -> Answer:
    opened(call, repo)
    return call.json({})


VERBS = {
    "revision": _info,
    "tree": _tree,
    "paths-info": _paths_info,
    "refs": _refs,
    "commits": _commits,
    "xet-read-token": _xet_read_token,
    "safetensors-metadata": _safetensors_metadata,
    "auth-check": _auth_check,
}
OF_A_REVISION = {"tree", "paths-info", "commits", "xet-read-token", "safetensors-metadata"}


# lists and people


def _list(call: Call, kind: Kind) -> Answer:
    """Those that the caller may see, filtered, sorted, by the page (`list-models-page-200`)."""
    call.seen.kind = "list"
    if call.request.method not in ("GET", "HEAD"):
        return refuse_write(call)
    asked = call.request.values("expand")
    check_expand(kind, asked)
    rows = [
        facts(repo, repo.resolve("main"))
        for repo in list(call.world.repos.values())
        if _listed(call, kind, repo)
    ]
    if sort := call.request.value("sort"):
        rows.sort(key=lambda row: (type(row.get(sort, 0)).__name__, row.get(sort, 0)), reverse=True)
    wanted = ["_id", "id", *asked] if asked else _row_keys(call, kind)
    start = _read_cursor(call.request.value("cursor"))
    limit = max(1, min(call.request.number("limit", 1000), 1000))
    page = [{key: row[key] for key in wanted if key in row} for row in rows[start : start + limit]]
    headers: Headers = []
    if start + limit < len(rows):
        kept = "&".join(
            part for part in call.request.query.split("&") if part and not part.startswith("cursor=")
        )
        inner = b64encode(json.dumps({"at": start + limit}).encode())
        cursor = quote(b64encode(inner + b":%d" % limit).decode(), safe="")
        url = f"{call.world.public_url}{call.request.path}?{kept}{'&' if kept else ''}cursor={cursor}"
        headers.append(("link", f'<{url}>; rel="next"'))
    return call.json(page, headers=headers)


def _listed(call: Call, kind: Kind, repo: Repo) -> bool:
    """Whether a repo is of this kind, seen by the caller, and what the parameters ask for."""
    author, search = call.request.value("author"), call.request.value("search")
    gated = call.request.value("gated").lower()
    return (
        repo.kind == kind
        and repo.readable(call.name, call.orgs)
        and (not author or repo.namespace.lower() == author.lower())
        and search.lower() in repo.id.lower()
        and set(call.request.values("filter")) <= set(repo.facts.get("tags", []))
        and (not gated or bool(repo.gated) == (gated == "true"))
    )


def _row_keys(call: Call, kind: Kind) -> list[str]:
    keys = [*ROW[kind], *(FULL if call.request.flag("full") else [])]
    if call.request.flag("cardData") or (call.request.flag("full") and kind != "model"):
        keys.append("cardData")
    if call.request.flag("config"):
        keys.append("config")
    return list(dict.fromkeys(keys))


def _whoami(call: Call) -> Answer:
    """`whoami-v2-200` with the keys that `whoami-v2-org-shape` adds for organizations."""
    call.seen.kind = "whoami"
    user = call.user
    if user is None:
        raise Refused(401, "Invalid username or password.")
    orgs = [{"type": "org", "id": "0" * 24, "name": org, "fullname": org, "email": None} for org in user.orgs]
    more = {
        "canPay": False,
        "periodEnd": None,
        "avatarUrl": "/avatars/0.svg",
        "roleInOrg": "read",
        "isEnterprise": False,
    }
    token = {"displayName": "stand-in", "role": "read", "createdAt": "2026-01-01T00:00:00.000Z"}
    return call.json(
        {
            "type": "user",
            "id": user.public_id,
            "name": user.name,
            "fullname": user.fullname,
            "canPay": False,
            "billingMode": "prepaid",
            "periodEnd": None,
            "isPro": user.plan == "pro",
            "avatarUrl": "/avatars/0.svg",
            "orgs": [org | more for org in orgs],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def _overview(call: Call, kind: str, name: str) -> Answer:
    """Users redirect on case, organizations answer in any (HUB 1.2). Their bodies are what the test put there."""
    call.seen.kind = "overview"
    people = call.world.people if kind == "users" else call.world.organizations
    known = {each.lower(): each for each in people}
    if name.lower() not in known:
        raise Refused(404, NO_SUCH_USER if kind == "users" else NO_SUCH_PAGE)
    right = known[name.lower()]
    if kind == "users" and right != name:
        return call.redirect(307, f"/api/users/{right}/overview")  # `redirect-307-user-case`
    return call.json(people[right])
