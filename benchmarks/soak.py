"""The fault campaigns at length, with a record to be committed.

    python -m benchmarks.soak kills --count 1000 --minutes 60
    python -m benchmarks.soak corruptions --count 100000

Appends one JSON line a campaign to `benchmarks/results/soak.jsonl`: the seed, which is
a fresh one unless it is given, what was done, where kills landed, what was wrong, how
long it took and on what. A seed that finds something wrong belongs into the tests.
"""

import argparse
import json
import pathlib
import secrets
import subprocess
import sys
import time

from benchmarks.corruptions import corrupt_checkpoints
from benchmarks.faults import kill_runs
from samt_jax.cli.environment import PACKAGES, installed_version

RESULTS = pathlib.Path(__file__).parent / "results" / "soak.jsonl"


def main() -> int:
    """Runs one campaign, and keeps its record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("campaign", choices=("kills", "corruptions"))
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--minutes", type=float, default=600)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    commit, started = _commit(), time.monotonic()
    if options.campaign == "kills":
        record = kill_runs(options.count, options.seed, minutes=options.minutes)
    else:
        record = corrupt_checkpoints(options.count, options.seed)
    versions = {name: installed_version(name) for name in PACKAGES}
    line = {
        "campaign": options.campaign,
        "asked_for": options.count,
        "seed": options.seed,
        **record,
        "seconds": round(time.monotonic() - started, 1),
        # Not `environment()`: it would start JAX in the process that forks.
        "versions": {name: version for name, version in versions.items() if version},
        "commit": commit,
    }
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line))
    return 1 if record["wrong"] else 0


def _commit() -> str:
    git = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(
        git, capture_output=True, text=True, check=False
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
