"""What the report says of the theory, made of the lines and of nothing else."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.theory_arms import ARMS, NUM_SWEEPS
from benchmarks.theory_bounds import error_bound, safe_ratio, weakest_pull
from benchmarks.theory_picture import draw, in_order, mean_of
from benchmarks.theory_problem import (
    NUM_BLOCKS,
    SIZE,
    LeastSquares,
    curvatures,
    theory_step,
)
from benchmarks.theory_runs import LEARNED_SEEDS, NUM_SEEDS, RESULTS
from benchmarks.trials import Line, lines_of
from samt_jax.plots import save_figure

PICTURES = Path(__file__).parent / "pictures"
PICTURE = "theory.png"
START_ERROR = float(NUM_BLOCKS)
# What a slope is called; a decay like 1/t has -1.
STANDS, LIKE_ONE_OVER_T = -0.1, -0.85
RATIOS = (1, 2, 4, 9, 16, 32)


def section(path: Path = RESULTS, pictures: Path | None = PICTURES) -> str:
    """What the report says of the theory; draws the picture beside.

    Args:
      path: File of the lines.
      pictures: Folder of the picture; `None` draws none.

    Returns:
      A section in Markdown.
    """
    lines = lines_of(path)
    arms = {line["arm"]: line for line in lines if line["kind"] == "arm"}
    title = "## The theory in numbers (§4)\n"
    if not arms:
        return f"{title}\nNot run yet: `python -m benchmarks.theory run`.\n"
    parts = [title, _HEAD, _decay(arms), _constant(arms)]
    parts += [_contraction(line) for line in lines if line["kind"] == "contraction"]
    parts += [_ELEMENT.format(safe=safe_ratio()), _pulls(), _learned(arms)]
    parts += [_BROKEN, _table(arms, "broken"), _predictions(arms)]
    real = [line for line in lines if line["kind"] == "real"]
    parts += [_REAL, _real(real)] if real else []
    missing = [name for name in ARMS if name not in arms]
    parts += [f"Not run yet: {'; '.join(missing)}.\n"] if missing else []
    if pictures is not None:
        save_figure(draw(arms, real), pictures / PICTURE)
        parts.append(f"![Squared error over sweeps](pictures/{PICTURE})\n")
    return "\n".join(parts)


_HEAD = f"""`python -m benchmarks.theory run`. The scheme that the paper analyses: one
fresh sample a visit, every visit projected on a ball about its block's start, steps
between two envelopes. Here on noisy least squares in {NUM_BLOCKS} blocks of
{SIZE // NUM_BLOCKS}, with λ = 1, μ = 4 and a coupling of 0.1 known exactly,
{NUM_SWEEPS:,} sweeps, {NUM_SEEDS} seeds. The error is E Σ‖W_l - W_l*‖²,
{START_ERROR:g} at the start; slopes are those of its logarithm over that of the sweep,
in the last decade, with 95 % intervals by resampling seeds. Element-wise steps go from
one to four times the scalar ones, and from 0.4 to 1.6 times constant ones. The paper
proves the scalar case; its constants are lost in the text at hand, and are those of the
work that it generalises, as recalled.
"""
_CONTRACTION = """What a sweep without noise leaves of the squared error, from the worst
start and, in the mean, from a random one, beside the theorem's q. With
ξ = 2λμ/(λ+μ), as the theorem has it, q promises more than there is; with λ in its place
it holds as long as the square of the gradient, which the theorem counts with the noise,
is small.
"""
_ELEMENT = """Element-wise steps are not covered by the proof, and cannot be as it
stands. It needs a step to pull W towards W*: one number pulls by λ, a diagonal D of
them by the smallest eigenvalue of the symmetric part of D H. With steps between 1 and a
ratio, that is positive for every H of this condition up to a ratio of {safe:.3g}, and
beyond it need not be: Assumption 4's envelopes would have to be that close.
"""
_LEARNED = f"""Steps that the eta models choose, with one meta-sample a visit;
{LEARNED_SEEDS} seeds. The last column is the mean step at the end in units of the lower
envelope; the upper one is 4.
"""
_BROKEN = """Each assumption broken by itself, with scalar steps of 1/t where nothing
else is said. (11) is the projection, σ² the bound on the gradients' second moment.
Where there is no projection, a block is stopped at a distance of a million.
"""
_REAL = """`python -m benchmarks.theory real`. Assumption 4 on a network: Fashion-MNIST,
784-100-10, the paper's direction, ten epochs, mean of the seeds. Lemma 1's bound is
2/(λ_l + μ_l), with the curvatures of each block measured where the run is; "within" is
the share of visits all of whose steps keep it. "Power" is that of t which the mean step
follows after a hundred sweeps, and the last column the largest share of visits that one
envelope from c/t to 4c/t holds.
"""


def verdict(line: Line) -> str:
    """What became of the error, by one rule.

    Args:
      line: An arm's line.

    Returns:
      A few words.
    """
    last, slope = line["error"][-1], line["slope"]
    if last > START_ERROR and slope < LIKE_ONE_OVER_T:
        return "was thrown far, and comes back"
    if last > START_ERROR:
        return "ends farther away than it began"
    if slope > STANDS:
        return "stands still"
    return "decays like 1/t" if slope < LIKE_ONE_OVER_T else "decays more slowly"


def _table(arms: Mapping[str, Line], group: str) -> str:
    rows = ["| broken | arm | slope | error at the end | so the error |",
            "| --- | --- | --- | --- | --- |"]  # fmt: skip
    if group != "broken":
        rows = [
            row.replace("| broken ", "", 1).replace("| --- ", "", 1) for row in rows
        ]
    for name, line in in_order(arms, group):
        cells = [name, _slope(line), _error(line), verdict(line)]
        cells = [line["broken"], *cells] if group == "broken" else cells
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _slope(line: Line) -> str:
    low, high = line["slope_interval"]
    return f"{line['slope']:.2f} [{low:.2f}, {high:.2f}]"


def _error(line: Line) -> str:
    low, high = (ends[-1] for ends in line["error_interval"])
    return f"{line['error'][-1]:.3g} [{low:.3g}, {high:.3g}]"


def _decay(arms: Mapping[str, Line]) -> str:
    text = _table(arms, "decay")
    if "scalar, 1/t" not in arms:
        return text
    line = arms["scalar, 1/t"]
    last = int(line["sweeps"][-1])
    bound = error_bound(last, theory_step, theory_step)[-1]
    return text + (
        "\nThe recursion unrolled, with λ in the place of ξ, bounds the scalar error "
        f"after {last:,} sweeps by {bound:.3g}, {bound / line['error'][-1]:.0f} times "
        "what is measured.\n"
    )


def _constant(arms: Mapping[str, Line]) -> str:
    rows = ["| constant step | scalar: error at the end | element-wise |",
            "| --- | --- | --- |"]  # fmt: skip
    plateaus: dict[str, list[tuple[float, float]]] = {}
    cells: dict[float, dict[str, str]] = {}
    for name, line in in_order(arms, "constant"):
        kind, _, step = name.partition(", constant ")
        cells.setdefault(float(step), {})[kind] = _error(line)
        plateaus.setdefault(kind, []).append((float(step), line["error"][-1]))
    rows += [
        f"| {at:g} | {both.get('scalar', '')} | {both.get('element-wise', '')} |"
        for at, both in cells.items()
    ]
    powers = [
        f"{kind}: {_power(found):.2f}, and {_power(found[-2:]):.2f} between the "
        "smallest two"
        for kind, found in plateaus.items()
        if len(found) > 1
    ]
    return "\n".join(rows) + (
        "\n\nThe plateau grows with the step like a power of it "
        f"({'; '.join(powers)}); the theory has 1, for small steps.\n"
    )


def _power(found: Sequence[tuple[float, float]]) -> float:
    """The power of the steps that the errors follow."""
    steps, errors = np.log(np.array(found).T)
    return float(np.polyfit(steps, errors, 1)[0])


def _contraction(line: Line) -> str:
    rows = [_CONTRACTION,
            "| step | worst | random | q with λ | q with ξ | element-wise, worst |",
            "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    columns = (line[name] for name in (
        "step", "scalar_worst", "scalar_mean", "with_convexity", "with_harmonic",
        "element_worst",
    ))  # fmt: skip
    rows += [
        f"| {step:g} | {' | '.join(f'{each:.3f}' for each in others)} |"
        for step, *others in zip(*columns, strict=True)
    ]
    return "\n".join(rows) + "\n"


def _pulls() -> str:
    head = "| ratio of the bounds | " + " | ".join(map(str, RATIOS)) + " |"
    pulls = " | ".join(f"{weakest_pull(ratio):.2f}" for ratio in RATIOS)
    return f"{head}\n{'| --- ' * (1 + len(RATIOS))}|\n| weakest pull | {pulls} |\n"


def _learned(arms: Mapping[str, Line]) -> str:
    rows = [_LEARNED,
            "| arm | slope | error at the end | so the error | step |",
            "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, line in in_order(arms, "learned"):
        step = line["step"][-1] / float(theory_step(line["sweeps"][-1] - 1))
        rows.append(f"| {name} | {_slope(line)} | {_error(line)} | {verdict(line)} "
                    f"| {step:.2f} |")  # fmt: skip
    return "\n".join(rows) + "\n"


def _predictions(arms: Mapping[str, Line]) -> str:
    """What can be worked out by hand of two of the broken ones."""
    texts = []
    for line in arms.values():
        bias = line["settings"]["problem"]["bias"]
        if bias:
            whole = curvatures(LeastSquares())[1]
            shift = np.sum(np.linalg.solve(whole, np.full(SIZE, bias)) ** 2)
            texts.append("A biased gradient leads to a point at a squared distance of "
                         f"{shift:.3g}; measured: {_error(line)}.")  # fmt: skip
    if "W* outside the ball" in arms:
        found = _error(arms["W* outside the ball"])
        texts.append("With W* at twice the radius, the balls come no nearer than "
                     f"{NUM_BLOCKS * 0.5**2:g}; measured: {found}.")  # fmt: skip
    return " ".join(texts) + "\n"


def _real(lines: Sequence[Line]) -> str:
    stops = lines[0]["stops"]
    stretches = [f"{a:,} to {b:,}" for a, b in itertools.pairwise(stops)]
    shown = [i for i in range(len(stretches)) if i % 2 == 1 or i == len(stretches) - 1]
    rows = ["| method, block | " + " | ".join(f"within, {stretches[i]}" for i in shown)
            + " | μ_l, first to last | λ_l at most | power | in c/t to 4c/t |",
            "| --- " * (5 + len(shown)) + "|"]  # fmt: skip
    for method in dict.fromkeys(line["method"] for line in lines):
        own = [line for line in lines if line["method"] == method]
        for block in own[0]["share"]:
            share = mean_of(own, "share", block)
            smooth, convex = (
                mean_of(own, n, block) for n in ("smoothness", "convexity")
            )
            cells = [f"{method}, {block}", *(f"{100 * share[i]:.0f} %" for i in shown),
                     f"{smooth[0]:.1f} to {smooth[-1]:.1f}", f"{convex.max():.1g}",
                     f"{mean_of(own, 'exponent', block):.2f}",
                     f"{100 * mean_of(own, 'in_envelope', block):.0f} %"]  # fmt: skip
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + f"\n\n{len({line['seed'] for line in lines})} seeds.\n"
