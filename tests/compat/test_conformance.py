"""huggingface_hub's own test suite, unmodified, against a live server; see tests/conformance/README.md."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.compat.conftest import need
from tests.compat.live import ROOT, Hub

SUITE = ROOT / "tests" / "conformance"
MISSES = SUITE / "known_misses.toml"
VERSIONS = ["2.4.0", "1.33.0", "0.36.2"]
# how each generation of the suite calls its user
USERS = {
    "2.4.0": "__DUMMY_HUB_USER__",
    "1.33.0": "__DUMMY_HUB_USER__",
    "0.36.2": "__DUMMY_TRANSFORMERS_USER__",
}
SECONDS = 1800


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of the suite said, test by test."""

    tests: list[dict[str, Any]]
    output: str

    @property
    def passed(self) -> int:
        return sum(test["outcome"] == "passed" for test in self.tests)

    @property
    def missed(self) -> dict[str, str]:
        """Tests that did not pass (a skipped one counts), with the first line of what they say."""
        return {
            test["id"]: f"{test['outcome']}: {str(test.get('message') or '').splitlines()[:1]}"
            for test in self.tests
            if test["outcome"] != "passed"
        }


RunSuite = Callable[..., Outcome]


def accounts(hub: Hub) -> dict[str, dict[str, str]]:
    """The users and organizations that the suites take for granted, and a token of each; by version."""
    for user in sorted(set(USERS.values())):
        hub.command("user", "add", user, "--fullname", "Dummy User", "--email", "julien@huggingface.co")
    hub.command("user", "add", "DVUser")
    hub.command("user", "add", "EnterpriseAdmin")
    hub.command("org", "add", "valid_org_hub", "--fullname", "Dummy Hub Org")
    hub.command("org", "add", "valid_org", "--fullname", "Dummy Org")  # 0.36
    for user in sorted(set(USERS.values())):
        for org in ("valid_org_hub", "valid_org"):
            hub.command("org", "member", org, user, "--role", "write")
    hub.command("org", "add", "EnterpriseOrgPrivate", "--private-by-default")
    hub.command("org", "member", "EnterpriseOrgPrivate", "EnterpriseAdmin", "--role", "admin")
    shared = {
        "OTHER_USER": "DVUser",
        "OTHER_TOKEN": hub.token("DVUser"),
        "ENTERPRISE_USER": "EnterpriseAdmin",
        "ENTERPRISE_ORG": "EnterpriseOrgPrivate",
        "ENTERPRISE_TOKEN": hub.token("EnterpriseAdmin"),
        "FULL_NAME": "Dummy User",
    }
    return {version: shared | {"USER": user, "TOKEN": hub.token(user)} for version, user in USERS.items()}


@pytest.fixture(scope="module")
def run_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSuite]:
    """Run the suite of one version against a server of its own; what went wrong in detail is in the JSON it names."""
    folder = tmp_path_factory.mktemp("suite")
    hub = Hub(folder)
    hub.start()
    try:
        known = accounts(hub)

        def run(version: str, subset: str, *options: str) -> Outcome:
            place = need(f"conf-{version}")
            (folder / "accounts.json").write_text(json.dumps(known[version]))
            result = folder / f"{version}-{subset}.json"
            command = [
                sys.executable,
                SUITE / "run_conformance.py",
                "--endpoint",
                hub.url,
                "--tree",
                place / "tree",
            ]
            command += ["--python", place / "venv" / "bin" / "python", "--accounts", folder / "accounts.json"]
            command += ["--subset", subset, "--json", result, *options]
            done = subprocess.run(
                [str(word) for word in command], capture_output=True, text=True, timeout=SECONDS, check=False
            )
            assert result.exists(), f"the suite did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            print(done.stdout)
            return Outcome(json.loads(result.read_text())["tests"], done.stdout)

        yield run
    finally:
        hub.stop()


def reasons_of(version: str) -> dict[str, str]:
    """known_misses.toml: pattern over test ids to reason."""
    reasons: dict[str, str] = tomllib.loads(MISSES.read_text()).get(version, {})
    return reasons


def outdated(version: str, outcome: Outcome) -> list[str]:
    """The patterns of known_misses.toml all of whose tests pass by now."""
    ids = [test["id"] for test in outcome.tests]
    return [
        pattern
        for pattern in reasons_of(version)
        if any(fnmatchcase(test, pattern) for test in ids)
        and not any(fnmatchcase(test, pattern) for test in outcome.missed)
    ]


def unexplained(version: str, outcome: Outcome) -> str:
    """The misses that known_misses.toml gives no reason for, a line each."""
    reasons = reasons_of(version)
    named = {
        test: next((r for p, r in reasons.items() if fnmatchcase(test, p)), "") for test in outcome.missed
    }
    for test, reason in named.items():
        print(f"missed {test}: {reason or outcome.missed[test]}")
    return "\n".join(f"{test}: {outcome.missed[test]}" for test, reason in named.items() if not reason)


@pytest.mark.quick
def test_the_smoke_passes(run_suite: RunSuite) -> None:
    """The hand-picked minute of the newest suite passes."""
    outcome = run_suite("2.4.0", "smoke")
    assert not unexplained("2.4.0", outcome)
    assert outcome.passed >= 20


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_core_passes(version: str, run_suite: RunSuite) -> None:
    """Tier A of the suite passes, but for the tests that are named with their reason."""
    outcome = run_suite(version, "core")
    print(f"{version}: {outcome.passed} of {len(outcome.tests)} passed")
    assert not unexplained(version, outcome)
    assert not outdated(version, outcome), "these pass: take them out of known_misses.toml"


@pytest.mark.timeout(SECONDS)
def test_the_repository_class_of_0_36_2_passes(run_suite: RunSuite) -> None:
    """The last client that drives git itself clones, commits, pushes, and tracks large files."""
    need("git")
    outcome = run_suite("0.36.2", "teams", "--category", "git", "--git-lfs")
    assert not unexplained("0.36.2", outcome)
    assert outcome.passed >= 30
