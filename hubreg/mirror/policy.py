"""
What a snapshot of a mirrored repo must be like before it is handed out. Pure: policies and facts in, findings out.

Each policy looks at one fact: who published it, under which licence, in which formats, whether it brings code, how
large it is. `AGE` is of names that move: it is followed by `mirror.sync`, which stays at the commit before, and finds
nothing in a commit that somebody asks for by its id.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hubreg.errors import Invalid
from hubreg.mirror.rules import Rule, check_pattern
from hubreg.model import RepoType

_SHOWN = 3  # paths in a finding
_VALUE = re.compile(r"[a-z0-9][a-z0-9._+-]{0,95}")

# Files from which loading a model means running what they hold, or may: pickles and what is built of them.
_RUNNABLE = frozenset("bin ckpt dill h5 hdf5 joblib keras mar pb pickle pkl pt pt2 pth".split())
_CODE = frozenset("bat dll dylib exe js ps1 py pyc pyd sh so".split())


class Subject(enum.StrEnum):
    """What a policy looks at, and what its values are."""

    PUBLISHER = "publisher"  # namespaces, one of which it must be
    LICENCE = "licence"  # identifiers, one of which it must have
    FORMATS = "formats"  # none: no file that is run when it is loaded, so weights are safetensors or GGUF
    CODE = "code"  # none: no scripts, and no `auto_map` that names some
    SIZE = "size"  # bytes of all files at most
    AGE = "age"  # seconds since upstream changed it, before a name that moved is followed


class Verdict(enum.StrEnum):
    """What happens to a snapshot that is not as it must be, the mildest first."""

    WARN = "warn"  # handed out, and logged
    QUARANTINE = "quarantine"  # refused until somebody releases that commit
    DENY = "deny"  # refused


@dataclass(frozen=True, slots=True)
class Policy:
    """`pattern` is as a rule's. `values` are what `Subject` says."""

    pattern: str
    subject: Subject
    verdict: Verdict
    values: tuple[str, ...] = ()
    id: int = 0

    def is_for(self, type_: RepoType, name: str) -> bool:
        return Rule(self.pattern).matches(type_, name)

    @property
    def number(self) -> int:
        """Of those subjects that are measured."""
        return int(self.values[0])


@dataclass(frozen=True, slots=True)
class Facts:
    """A snapshot: its repo's namespace and licences, and of its files paths and sizes. `mapped`: config has code."""

    publisher: str
    licences: tuple[str, ...]
    files: Sequence[tuple[str, int]]
    mapped: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    policy: Policy
    sentence: str


def checked(pattern: str, subject: Subject, verdict: Verdict, values: Sequence[str]) -> Policy:
    """A policy in the form that is kept. Raises `Invalid`."""
    kept = tuple(value.lower() for value in values)
    if subject in (Subject.SIZE, Subject.AGE):
        if len(kept) != 1 or not re.fullmatch("[0-9]{1,15}", kept[0], re.ASCII):
            raise Invalid(
                f"{subject.value} wants one number, of {'bytes' if subject is Subject.SIZE else 'seconds'}."
            )
    elif subject in (Subject.PUBLISHER, Subject.LICENCE):
        if not kept or not all(map(_VALUE.fullmatch, kept)):
            raise Invalid(f"{subject.value} wants the names of those that may be.")
    elif kept:
        raise Invalid(f"{subject.value} wants no value.")
    return Policy(check_pattern(pattern), subject, verdict, kept)


def judge(policies: Iterable[Policy], facts: Facts) -> list[Finding]:
    """What is wrong with a snapshot, the worst first. The policies are those for its repo."""
    found = [Finding(policy, said) for policy in policies if (said := _objection(policy, facts))]
    order = list(Verdict)
    return sorted(found, key=lambda finding: -order.index(finding.policy.verdict))


def _objection(policy: Policy, facts: Facts) -> str:
    match policy.subject:
        case Subject.PUBLISHER:
            return (
                ""
                if facts.publisher.lower() in policy.values
                else f"{facts.publisher} is no publisher to be trusted"
            )
        case Subject.LICENCE:
            allowed = set(policy.values)
            if facts.licences and all(licence in allowed for licence in facts.licences):
                return ""
            return f"its licence is {', '.join(facts.licences) or 'not said'}"
        case Subject.FORMATS:
            return _named("files that are run when they are loaded", facts, _RUNNABLE)
        case Subject.CODE:
            return _named("code", facts, _CODE) or ("its config names code to be run" if facts.mapped else "")
        case Subject.SIZE:
            size = sum(size for _, size in facts.files)
            return f"it has {size} bytes, more than {policy.number}" if size > policy.number else ""
        case Subject.AGE:
            return ""


def _named(what: str, facts: Facts, suffixes: frozenset[str]) -> str:
    found = [path for path, _ in facts.files if path.lower().rpartition(".")[2] in suffixes]
    more = ", ..." if len(found) > _SHOWN else ""
    return f"it has {what}: {', '.join(found[:_SHOWN])}{more}" if found else ""
