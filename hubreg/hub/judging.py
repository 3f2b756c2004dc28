"""Whether snapshots of mirrored repos are as the policies want them, before they are handed out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hubreg.errors import Refused
from hubreg.mirror.policy import Facts, Finding, Policy, Subject, Verdict, judge
from hubreg.model import CommitId, Entry
from hubreg.store import mirror, repos
from hubreg.store.db import Reader
from hubreg.store.repos import Repo

log = logging.getLogger("hubreg.mirror")

# Of these subjects the repo's row says all that there is to say.
_OF_REPOS = frozenset((Subject.PUBLISHER, Subject.LICENCE, Subject.AGE))


def wants_files(policies: Sequence[Policy]) -> bool:
    """Whether any of them looks at the files of a snapshot."""
    return any(policy.subject not in _OF_REPOS for policy in policies)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found wrong with a commit, the worst first. `released`: somebody let it out of quarantine."""

    repo: Repo
    commit: CommitId
    findings: Sequence[Finding]
    released: bool

    @property
    def verdict(self) -> Verdict | None:
        """What happens to it, None where all is well."""
        verdicts = [finding.policy.verdict for finding in self.findings]
        held = [each for each in verdicts if each is not Verdict.QUARANTINE or not self.released]
        return held[0] if held else None

    @property
    def reasons(self) -> str:
        return "; ".join(finding.sentence for finding in self.findings)


async def judged(
    reader: Reader, repo: Repo, commit: CommitId, policies: Sequence[Policy], files: Sequence[Entry]
) -> Judgement:
    """A commit of a mirrored repo by the policies for it. What the repo says of itself is what its `main` says."""
    tags = (await repos.tags(reader, [repo.id]))[repo.id]
    config = msgspec.json.decode(repo.config)
    facts = Facts(
        publisher=repo.ref.namespace,
        licences=tuple(tag.removeprefix("license:").lower() for tag in tags if tag.startswith("license:")),
        files=[(entry.path, entry.size) for entry in files],
        mapped="custom_code" in tags or (isinstance(config, dict) and "auto_map" in config),
    )
    findings = judge(policies, facts)
    released = bool(findings) and await mirror.is_released(reader, repo.id, commit)
    return Judgement(repo, commit, findings, released)


def enforce(judgement: Judgement) -> None:
    """Raise `Refused` for what is denied or in quarantine; say what is only warned of in the log."""
    full, commit, reasons = judgement.repo.ref.full, judgement.commit, judgement.reasons
    match judgement.verdict:
        case Verdict.DENY:
            raise Refused(f"A policy of this server does not let {full} at {commit} out: {reasons}.")
        case Verdict.QUARANTINE:
            raise Refused(
                f"{full} at {commit} is in quarantine: {reasons}.",
                hint=f"An administrator lets it out: `hubreg mirror release {full} --revision {commit}`.",
            )
        case Verdict.WARN:
            log.warning("%s at %s: %s", full, commit, reasons)
