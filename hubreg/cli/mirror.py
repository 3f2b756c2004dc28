"""`hubreg mirror`: which repos come from where. It works on the data directory; a running server sees it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from hubreg.cli.answers import answer, refusals, table
from hubreg.cli.options import AsJson, ConfigFile, DataDirectory
from hubreg.config import load
from hubreg.errors import Unusable
from hubreg.identity.accounts import SYSTEM
from hubreg.identity.sealing import Sealing
from hubreg.mirror.rules import TTL, Mode
from hubreg.mirror.upstreams import HOSTS, Upstreams
from hubreg.model import Millis, RepoType
from hubreg.ops import directory
from hubreg.store.db import wall
from hubreg.store.mirror import Upstream

T = TypeVar("T")

mirror = typer.Typer(no_args_is_help=True, help="Upstream Hubs, whose repos are served from here.")

Patterns = Annotated[
    list[str] | None,
    typer.Option(
        "--for",
        metavar="PATTERN",
        help="Repos that it is for: org/*, org, org/model-?. Default: all.",
        show_default=False,
    ),
]
Repo = Annotated[str, typer.Argument(metavar="REPO", help="namespace/name")]
Kind = Annotated[RepoType, typer.Option("--type", help="What it is.")]
Revision = Annotated[str, typer.Option(help="The branch or tag.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File that holds the token; - is stdin.", show_default=False),
]


def on(data: Path | None, config_file: Path | None, use: Callable[[Upstreams], Awaitable[T]]) -> T:
    """Do something with the mirror of a data directory."""
    prepared = directory.prepare(load(config_file, {"data": data}), wall)

    async def used() -> T:
        async with directory.opened(prepared.layout, wall) as db:
            return await use(Upstreams(db, Sealing(prepared.layout.read_secret())))

    return asyncio.run(used())


def read_token(file: Path | None) -> str:
    """A token, from where no list of processes shows it."""
    if file is None:
        return ""
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text()
    except UnicodeDecodeError as error:
        raise Unusable(f"{file} holds no token: it is no text.") from error
    return text.strip()


@mirror.command("add")
def add_upstream(
    name: Annotated[str, typer.Argument(help="What it is called here: hub")],
    url: Annotated[str, typer.Argument(help="https://huggingface.co, or another Hub.")],
    patterns: Patterns = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="mirror: fetched when asked for. pinned: likewise, names stay at the commit they were first seen at."
            " offline: only what is here. deny: see `hubreg mirror deny`."
        ),
    ] = Mode.MIRROR,
    ttl: Annotated[
        int,
        typer.Option(metavar="SECONDS", help="How long what a branch or tag means is not asked for again."),
    ] = TTL,
    token_file: TokenFile = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="SUFFIX",
            help="Other hosts that it may redirect to: .example.org. Default: those of huggingface.co.",
            show_default=False,
        ),
    ] = None,
    proxy: Annotated[str, typer.Option(metavar="URL", help="Proxy towards it.", show_default=False)] = "",
    ca_file: Annotated[
        str,
        typer.Option(metavar="FILE", help="Certificates (PEM) that it is trusted by.", show_default=False),
    ] = "",
    foreign_tokens: Annotated[
        bool,
        typer.Option(
            "--foreign-tokens", help="Let callers bring its own tokens, for what is private or gated."
        ),
    ] = False,
    first: Annotated[bool, typer.Option("--first", help="Before the rules that there are.")] = False,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Mirror the repos of a Hub, or change how it is reached.

    Its token, if it is given one, is kept sealed, goes to that Hub only, and is nobody's right to what it opens. Rules
    are looked at in order; the first that is for a repo counts.
    """
    with refusals(as_json=as_json):
        upstream = Upstream(
            0, name, url, read_token(token_file), HOSTS if hosts is None else tuple(hosts), proxy, ca_file
        )
        wanted = patterns or ["*"]
        how: dict[str, Any] = {"mode": mode, "ttl": ttl, "foreign_tokens": foreign_tokens, "first": first}
        on(data, config, lambda ups: ups.add(SYSTEM, upstream, wanted, **how))
        facts = {"name": name, "url": url.rstrip("/"), "for": wanted, "mode": mode.value, "ttl": ttl}
        answer(f"Repos of {url} are mirrored: {', '.join(wanted)} ({mode.value}).", facts, as_json=as_json)


@mirror.command("deny")
def deny(
    patterns: Annotated[list[str], typer.Argument(metavar="PATTERN...", help="org/*, org, */name-?")],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Let nothing of these names be mirrored: namespaces that are this server's own, or are not wanted.

    Namespaces of users and organisations of this server are never looked for upstream; this is for others.
    """
    with refusals(as_json=as_json):
        on(data, config, lambda ups: ups.deny(SYSTEM, patterns))
        answer(f"Nothing of {', '.join(patterns)} is mirrored.", {"denied": patterns}, as_json=as_json)


@mirror.command("list")
def list_upstreams(data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """
    Upstreams with their rules, in the order in which they are looked at.
    """
    with refusals(as_json=as_json):
        listed = on(data, config, lambda ups: ups.all())
        denied = on(data, config, lambda ups: ups.denied())
        facts = [
            {
                "name": each.upstream.name,
                "url": each.upstream.url,
                "active": each.upstream.active,
                "token": each.token,
                "repos": each.repos,
                "rules": [
                    {"id": rule.id, "for": rule.pattern, "mode": rule.mode.value, "ttl": rule.ttl}
                    for rule in each.rules
                ],
            }
            for each in listed
        ]
        if as_json:
            rules = [{"id": rule.id, "for": rule.pattern, "mode": rule.mode.value} for rule in denied]
            answer("", {"upstreams": facts, "denied": rules}, as_json=True)
            return
        rows = [
            (
                each.upstream.name,
                each.upstream.url,
                str(rule.id),
                rule.pattern,
                rule.mode.value,
                str(rule.ttl),
            )
            for each in listed
            for rule in each.rules
        ]
        rows += [("", "", str(rule.id), rule.pattern, rule.mode.value, "") for rule in denied]
        table(("upstream", "url", "rule", "for", "mode", "ttl"), rows)


@mirror.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="An upstream, or the number of a rule.")],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Ask an upstream no more, or drop a rule. Repos that came from it stay as they are here.
    """
    with refusals(as_json=as_json):
        if name.isascii() and name.isdigit():
            on(data, config, lambda ups: ups.remove_rule(SYSTEM, int(name)))
            answer(f"Rule {name} removed.", {"rule": int(name)}, as_json=as_json)
            return
        forgotten = on(data, config, lambda ups: ups.remove(SYSTEM, name))
        what = "removed" if forgotten else "is asked no more; the repos that came from it stay"
        answer(f"{name} {what}.", {"name": name, "forgotten": forgotten}, as_json=as_json)


@mirror.command("pin")
def pin(
    repo: Repo,
    revision: Revision = "main",
    kind: Kind = RepoType.MODEL,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Keep a branch or tag of a mirrored repo at the commit where it is here.
    """
    _pin(repo, revision, kind, data, config, pinned=True, as_json=as_json)


@mirror.command("unpin")
def unpin(
    repo: Repo,
    revision: Revision = "main",
    kind: Kind = RepoType.MODEL,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Let it follow upstream again.
    """
    _pin(repo, revision, kind, data, config, pinned=False, as_json=as_json)


def _pin(
    repo: str,
    revision: str,
    kind: RepoType,
    data: Path | None,
    config: Path | None,
    *,
    pinned: bool,
    as_json: bool,
) -> None:
    with refusals(as_json=as_json):
        found = on(data, config, lambda ups: ups.pin(SYSTEM, kind, repo, revision, pinned=pinned))
        facts = {"repo": found.ref.full, "revision": revision, "pinned": pinned}
        what = "stays where it is" if pinned else "follows upstream"
        answer(f"{revision} of {found.ref.full} {what}.", facts, as_json=as_json)


@mirror.command("grant")
def grant(
    repo: Repo,
    user: Annotated[str, typer.Argument(help="A user of this server.")],
    revoke: Annotated[bool, typer.Option("--revoke", help="Take it back.")] = False,
    kind: Kind = RepoType.MODEL,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Let a user read a mirrored repo that is private or gated upstream, whatever upstream says.
    """
    with refusals(as_json=as_json):
        found = on(data, config, lambda ups: ups.grant(SYSTEM, kind, repo, user, granted=not revoke))
        facts = {"repo": found.ref.full, "user": user, "granted": not revoke}
        what = "may no longer" if revoke else "may"
        answer(f"{user} {what} read {found.ref.full}.", facts, as_json=as_json)


@mirror.command("link")
def link(
    user: Annotated[str, typer.Argument(help="A user of this server.")],
    upstream: Annotated[str, typer.Argument(help="The upstream, as it is called here.")],
    token_file: TokenFile = None,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Keep a user's own token of an upstream, sealed: what they may read there, they may read here. None forgets it.
    """
    with refusals(as_json=as_json):
        token = read_token(token_file)
        on(data, config, lambda ups: ups.link(SYSTEM, user, upstream, token))
        what = "has the rights that they have" if token else "has no rights of their own"
        facts = {"user": user, "upstream": upstream, "linked": bool(token)}
        answer(f"{user} {what} at {upstream}.", facts, as_json=as_json)


@mirror.command("status")
def status(data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """
    What has come from upstreams, how old it is, and how often it was sent since, as of a minute ago.
    """
    with refusals(as_json=as_json):
        budget = load(config, {"data": data}).mirror_budget
        totals = on(data, config, lambda ups: ups.totals())
        listed = on(data, config, lambda ups: ups.all())
        facts = {
            "files": totals.blobs,
            "bytes": totals.size,
            "budget": budget,
            "oldest": _time(totals.oldest),
            "least_lately_used": _time(totals.idle),
            "hits": totals.hits,
            "bytes_saved": totals.saved,
            "misses": totals.misses,
            "bytes_fetched": totals.fetched,
            "evicted": totals.evicted,
            "bytes_evicted": totals.freed,
            "repos": {each.upstream.name: each.repos for each in listed},
        }
        if as_json:
            answer("", facts, as_json=True)
            return
        rows = [(each.upstream.name, f"{each.repos:,} repos") for each in listed]
        rows += [
            ("files", f"{totals.blobs:,}"),
            ("bytes", f"{totals.size:,}" + (f" of {budget:,}" if budget else "")),
            ("oldest", _time(totals.oldest) or "-"),
            ("least lately used", _time(totals.idle) or "-"),
            ("hits", f"{totals.hits:,}"),
            ("bytes saved", f"{totals.saved:,}"),
            ("misses", f"{totals.misses:,}"),
            ("bytes fetched", f"{totals.fetched:,}"),
            ("evicted", f"{totals.evicted:,}"),
            ("bytes evicted", f"{totals.freed:,}"),
        ]
        table(("mirror", ""), rows)


def _time(at: Millis | None) -> str | None:
    """To the second, UTC."""
    return None if at is None else datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
