"""What a loaded data set is, and the one error that loading raises."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

ACCURACY_UNIT = "%"
RMSE_UNIT = "standard deviations of the training target"


class DataError(ValueError):
    """A data set is missing, damaged or asked for wrongly; one sentence says which."""


class Examples(NamedTuple):
    """Inputs and targets of one part of a data set, examples along the first axis.

    Attributes:
      inputs: Standardised with the statistics of the training part. Images are
        ``(n, height, width, channels)``, tables ``(n, columns)``.
      targets: Class labels ``(n,)``, or the standardised target ``(n, 1)``.
    """

    inputs: Float[np.ndarray, "n ..."]
    targets: Int[np.ndarray, " n"] | Float[np.ndarray, "n 1"]


class TargetScale(NamedTuple):
    """Undoes the standardisation: ``target = mean + scale * standardised``.

    Attributes:
      mean: Mean of the training target, in the units of the file.
      scale: Standard deviation of the training target, likewise.
    """

    mean: float
    scale: float


class Dataset(NamedTuple):
    """A data set ready for training: three parts, and what a report must say of it.

    Attributes:
      name: The name it was loaded by.
      label: The name to print; says where it is reduced, partial or cut.
      task: `"classification"` or `"regression"`.
      train: What to train on; all statistics come from here.
      validation: Carved from the training set by a fixed rule; choose settings here.
      test: Read once, at the end.
      num_outputs: Outputs a network needs: the classes, or 1.
      metric: `"accuracy"` or `"rmse"`.
      metric_unit: The unit to report it in: `"%"` for accuracy, `"standard deviations
        of the training target"` for the root mean squared error.
      target_scale: Undoes the standardisation of a regression target; else `None`.
      notes: Whole sentences that a report on this data owes its reader.
    """

    name: str
    label: str
    task: Literal["classification", "regression"]
    train: Examples
    validation: Examples
    test: Examples
    num_outputs: int
    metric: Literal["accuracy", "rmse"]
    metric_unit: str
    target_scale: TargetScale | None = None
    notes: tuple[str, ...] = ()
