"""The paper's theory (§4) in numbers: what holds, and what each assumption is for.

    python -m benchmarks.theory run
    python -m benchmarks.theory real
    python -m benchmarks.theory section

`run` makes the lines of `benchmarks/results/theory.jsonl` that are not there yet, about
ten minutes on one core: the arms of `theory_arms.py` on the problem of
`theory_problem.py`. `real` asks of a network on Fashion-MNIST when Assumption 4 holds,
see `theory_real.py`, five minutes more. `section` prints what the report says of them,
and draws `benchmarks/pictures/theory.png`.
"""

import argparse

from benchmarks.theory_real import run_real
from benchmarks.theory_runs import RESULTS, run_arms, run_contraction
from benchmarks.theory_section import section


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.theory")
    parser.add_argument("what", choices=("run", "real", "section"))
    options = parser.parse_args()
    if options.what == "run":
        run_contraction(RESULTS)
        run_arms(RESULTS)
    elif options.what == "real":
        run_real(RESULTS)
    else:
        print(section())


if __name__ == "__main__":
    main()
