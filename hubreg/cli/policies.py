"""`hubreg mirror require` and the rest about policies. What judges all that is here is `hubreg.cli.checking`."""

from __future__ import annotations

from typing import Annotated

import typer

from hubreg.cli.answers import answer, refusals, table
from hubreg.cli.mirror import Kind, Patterns, Repo, on
from hubreg.cli.options import AsJson, ConfigFile, DataDirectory
from hubreg.config import load
from hubreg.identity.accounts import SYSTEM
from hubreg.mirror.policy import Policy, Subject, Verdict
from hubreg.model import RepoType


def require(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="publisher: one of these namespaces. licence: one of these. formats: no pickles and the like. code: no"
            " scripts. size: at most so many bytes. age: a name that moved is followed so many seconds later."
        ),
    ],
    values: Annotated[list[str] | None, typer.Argument(metavar="[VALUE]...", show_default=False)] = None,
    patterns: Patterns = None,
    verdict: Annotated[
        Verdict,
        typer.Option(
            "--else",
            help="What happens to others. warn: logged. quarantine: refused until released. deny: refused.",
        ),
    ] = Verdict.DENY,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Have snapshots of mirrored repos be so before they are handed out. See what it would do: `hubreg mirror check`.
    """
    with refusals(as_json=as_json):
        wanted = patterns or ["*"]
        made = on(data, config, lambda ups: ups.require(SYSTEM, wanted, subject, values or [], verdict))
        answer(
            f"Of {', '.join(wanted)}: {_said(made[0])}, else {verdict.value}.",
            [_facts(each) for each in made],
            as_json=as_json,
        )


def policies(data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """
    What snapshots are required to be.
    """
    with refusals(as_json=as_json):
        found = on(data, config, lambda ups: ups.policies())
        if as_json:
            answer("", [_facts(each) for each in found], as_json=True)
            return
        rows = [(str(each.id), each.pattern, _said(each), each.verdict.value) for each in found]
        table(("policy", "for", "required", "else"), rows)


def drop(
    policy: Annotated[int, typer.Argument(help="The number of a policy.")],
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Require something no more.
    """
    with refusals(as_json=as_json):
        on(data, config, lambda ups: ups.drop(SYSTEM, policy))
        answer(f"Policy {policy} dropped.", {"policy": policy}, as_json=as_json)


def release(
    repo: Repo,
    revision: Annotated[
        str, typer.Option(help="A commit, or a branch or tag for the one where it is.")
    ] = "main",
    kind: Kind = RepoType.MODEL,
    data: DataDirectory = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """
    Let a commit of a mirrored repo out of quarantine, for good. What is denied stays so.
    """
    with refusals(as_json=as_json):
        found, commit = on(data, config, lambda ups: ups.release(SYSTEM, kind, repo, revision))
        facts = {"repo": found.ref.full, "commit": commit}
        answer(f"{found.ref.full} at {commit} is released.", facts, as_json=as_json)


def check(data: DataDirectory = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """
    What the policies find in all that is here. Nothing is changed, and upstream is not asked.
    """
    from hubreg.cli.checking import run

    with refusals(as_json=as_json):
        found = run(load(config, {"data": data}))
        if as_json:
            answer("", found, as_json=True)
            return
        table(
            ("repo", "commit", "verdict", "why"),
            [(each["repo"], each["commit"][:12], each["verdict"], each["why"]) for each in found],
        )


def _facts(policy: Policy) -> dict[str, object]:
    return {
        "id": policy.id,
        "for": policy.pattern,
        "subject": policy.subject.value,
        "values": list(policy.values),
        "else": policy.verdict.value,
    }


def _said(policy: Policy) -> str:
    return " ".join([policy.subject.value, *policy.values])
