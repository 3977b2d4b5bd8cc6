"""The summary of `make test`, `.test-results/summary.json`: what was tested, when, and the results."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.harness.tier import TIERS
from tests.tiers.flaky import Verdict
from tests.tiers.pytests import ROOT, Result

FILE = ROOT / ".test-results" / "summary.json"


def write(results: Sequence[Result], verdict: Verdict, *, ok: bool, began: datetime, file: Path = FILE) -> None:
    """Write the summary.

    `seconds` are wall-clock time, `tiers.*.testSeconds` add up over tests that ran in parallel.
    """
    summary = {
        "commit": _git("rev-parse", "HEAD"),
        "clean": _git("status", "--porcelain") == "",
        "ok": ok,
        "counts": counts(results, verdict),
        "failed": [test.name for test in verdict.failed],
        "flaky": [first.name for first, _ in verdict.flaky],
        "tiers": {tier: _of_tier(tier, results) for tier in TIERS},
        "runs": {result.name: round(result.seconds) for result in results},
        "seconds": round((datetime.now(UTC) - began).total_seconds()),
        "began": began.isoformat(timespec="seconds"),
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(summary, indent=2) + "\n")


def counts(results: Sequence[Result], verdict: Verdict) -> dict[str, int]:
    """The numbers of passed, failed and skipped tests; flaky ones count as passed."""
    found = Counter(test.outcome for result in results for test in result.tests)
    flaky = len(verdict.flaky)
    return {
        "passed": found["passed"] + flaky,
        "failed": found["failed"] - flaky,
        "skipped": found["skipped"],
        "flaky": flaky,
    }


def _of_tier(tier: str, results: Sequence[Result]) -> dict[str, float]:
    tests = [test for result in results for test in result.tests if test.tier == tier]
    return {"tests": len(tests), "testSeconds": round(sum(test.seconds for test in tests), 1)}


def _git(*arguments: str) -> str | None:
    """The output of git; None without git or outside of a checkout."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
