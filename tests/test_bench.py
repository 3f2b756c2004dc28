"""`scripts/bench`: its command line and the arithmetic of its tables. What it measures is not for a test to say."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from scripts.benches.__main__ import BENCHES, parser
from scripts.benches.content import MIB, Bulk
from scripts.benches.report import Report, percentile, ratio
from scripts.benches.wire import Answer

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_takes_the_same_options(name: str, tmp_path: Path) -> None:
    """Quick, so many rounds, in that directory; without them, what the bench itself thinks right."""
    given = parser().parse_args([name, "--quick", "--rounds", "3", "--dir", str(tmp_path)])
    assert (given.bench, given.quick, given.rounds, given.dir) == (name, True, 3, tmp_path)
    default = parser().parse_args([name])
    assert (default.quick, default.rounds, default.dir) == (False, None, None)


@pytest.mark.parametrize("words", [[], ["walk"], ["serve", "--rounds", "0"], ["serve", "--rounds", "x"]])
def test_what_is_not_understood_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2, before anything is started."""
    with pytest.raises(SystemExit) as refused:
        parser().parse_args(words)
    assert refused.value.code == 2
    assert "usage: scripts/bench" in capsys.readouterr().err


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_is_on_the_page(name: str) -> None:
    """And its first line, which --help shows, is a sentence."""
    assert f"scripts/bench {name}" in (ROOT / "docs" / "benchmarks.md").read_text()
    assert str(BENCHES[name].__doc__).strip().partition("\n")[0].endswith(".")


def test_the_script_is_there_to_be_run() -> None:
    """`scripts/bench` is executable and no broken shell."""
    script = ROOT / "scripts" / "bench"
    assert script.stat().st_mode & 0o111 == 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_percentiles_are_values_that_were_measured() -> None:
    """The one that so many do not exceed; of a single value every percentile is that value."""
    values = [float(number) for number in range(1, 101)]
    random.shuffle(values)
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([7.0], 0.01) == percentile([7.0], 0.99) == 7.0


def test_a_ratio_is_that_of_the_rounds() -> None:
    """A round in which the machine was slow for both sides does not change it."""
    assert ratio([2.0, 200.0, 2.0], [1.0, 100.0, 1.0]) == 2.0


def test_a_table_says_what_is_missed() -> None:
    """Each figure beside its target; one without a target has no verdict."""
    report = Report("title")
    report.fact("seen", "5")
    report.at_most("cost", 1.4, 1.3, " x")
    report.at_least("rate", 0.9, 0.85, " x")
    lines = [line.split() for line in report.text().splitlines()]
    assert ["seen", "5"] in lines
    assert ["cost", "1.4", "x", "<=", "1.3", "x", "MISSED"] in lines
    assert ["rate", "0.9", "x", ">=", "0.85", "x", "passed"] in lines


def test_large_files_differ_by_their_seed_and_are_told_in_pieces() -> None:
    """Any part of one is the same bytes as in the whole."""
    one, other = Bulk(3 * MIB, 1), Bulk(3 * MIB, 2)
    whole = b"".join(one.pieces())
    assert len(whole) == 3 * MIB
    assert whole[MIB:] == b"".join(one.pieces(MIB))
    assert one.sha256 != other.sha256


def test_a_header_is_found_whatever_its_case() -> None:
    """And not inside another one's name or value."""
    answer = Answer(200, b"HTTP/1.1 200 OK\r\nX-Content-Length: 9\r\ncontent-length: 2\r\na: etag: 1", b"")
    assert answer.header("Content-Length") == "2"
    assert answer.header("etag") == ""
