"""Means and spreads over seeds, as all tables have them."""

from collections.abc import Sequence

import numpy as np


def mean_and_sd(
    values: Sequence[float] | np.ndarray, *, of: int | None = None, digits: int = 2
) -> str:
    """Mean ± standard deviation over seeds.

    Args:
      values: One a run: of one there is no deviation, of none nothing.
      of: How many runs there were; those without a value diverged. By default these.
      digits: After the point.

    Returns:
      The words.

    Example:
      >>> mean_and_sd([1.0, 3.0]), mean_and_sd([1.0], of=3, digits=0)
      ('2.00 ± 1.41', '1 (2 of 3 diverged)')
    """
    words = [f"{np.mean(values):.{digits}f}"] if len(values) else []
    if len(values) > 1:
        words.append(f"± {np.std(values, ddof=1):.{digits}f}")
    if of is not None and len(values) < of:
        words.append(f"({of - len(values)} of {of} diverged)")
    return " ".join(words)
