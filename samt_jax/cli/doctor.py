"""`samt doctor`: what is there, whether runs are safe here, and what to do about it."""

from typing import Any

from rich.table import Table

from samt_jax.cli.display import result_console
from samt_jax.cli.environment import environment
from samt_jax.cli.options import Doctor
from samt_jax.cli.probes import probe_all
from samt_jax.data import report_datasets
from samt_jax.optimizers import OPTIMIZERS
from samt_jax.runs import to_json


def run(options: Doctor) -> int:
    """Prints versions, devices, threads, data sets, optimizers, and what was tried.

    Args:
      options: What was asked for, already checked.

    Returns:
      The exit code.
    """
    report = examine(options)
    if options.json:
        print(to_json(report))
    else:
        _print(report)
    return 0


def examine(options: Doctor) -> dict[str, Any]:
    """What there is to say, as one mapping.

    Args:
      options: What was asked for.

    Returns:
      Versions, devices, threads, data sets, optimizers and probes.
    """
    found = report_datasets(data_dir=options.data_dir)
    return environment() | {
        "datasets": [report._asdict() for report in found],
        "optimizers": {
            name: {"summary": row.summary, "learning_rate": row.learning_rate}
            for name, row in OPTIMIZERS.items()
        },
        "probes": [probe._asdict() for probe in probe_all(options.out)],
    }


def _print(report: dict[str, Any]) -> None:
    versions = Table("package", "version")
    for name, version in report["versions"].items():
        versions.add_row(name, version or "not installed")
    datasets = Table("data set", "what it is", "found")
    # Names of files and folders are broken, never cut short.
    datasets.add_column("what to do", overflow="fold")
    for row in report["datasets"]:
        found = "yes" if row["found"] else "no"
        datasets.add_row(row["name"], row["label"], found, row["advice"])
    optimizers = Table("optimizer", "what it is", "learning rate")
    for name, row in report["optimizers"].items():
        rate = row["learning_rate"]
        optimizers.add_row(
            name, row["summary"], "none" if rate is None else f"{rate:g}"
        )
    probes = Table("tried out", "good")
    for header in ("found", "what to do"):
        probes.add_column(header, overflow="fold")
    for row in report["probes"]:
        good = "yes" if row["good"] else "no"
        probes.add_row(row["name"], good, row["found"], row["advice"])
    console = result_console()
    console.print(f"Python {report['python']}, {report['threads']} threads")
    console.print(f"processor: {report['processor']}")
    console.print(f"devices: {', '.join(report['devices'])}")
    for table in (versions, datasets, optimizers, probes):
        console.print(table)
