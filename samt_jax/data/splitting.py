"""The fixed rules by which examples are divided, and how they are standardised."""

import numpy as np
from jaxtyping import Float, Int, UInt8

from samt_jax.data.dataset import DataError

SEED = 0


def divide(
    indices: Int[np.ndarray, " n"],
    size: int,
    labels: Int[np.ndarray, " n"] | None = None,
) -> tuple[Int[np.ndarray, " rest"], Int[np.ndarray, " size"]]:
    """Divides indices into the rest and a part of `size`, always in the same way.

    The rule is scikit-learn's `train_test_split` with seed 0, stratified by `labels`
    where they are given; both parts keep the original order.

    Args:
      indices: What to divide.
      size: How many go into the second part.
      labels: Class of each index; every class then keeps its share.

    Returns:
      The rest and the part, each in the order of `indices`.

    Raises:
      DataError: Too few examples of a class to stratify.

    Example:
      >>> rest, part = divide(np.arange(6), 2, np.array([0, 0, 0, 1, 1, 1]))
      >>> len(rest), len(part)
      (4, 2)
    """
    # Imported here: it takes longer than everything else that `samt --help` needs.
    from sklearn.model_selection import train_test_split

    try:
        rest, part = train_test_split(
            np.arange(len(indices)), test_size=size, stratify=labels, random_state=SEED
        )
    except ValueError as error:
        raise DataError(
            f"{len(indices):,} examples are too few for a part of {size:,} in which "
            "every class has its share; put more of the data set in place."
        ) from error
    return indices[np.sort(rest)], indices[np.sort(part)]


def channel_scale(
    images: UInt8[np.ndarray, "n height width channels"],
) -> tuple[Float[np.ndarray, " channels"], Float[np.ndarray, " channels"]]:
    """Returns mean and standard deviation of each channel, 1 where it is constant.

    They come from exact sums of integers, so no order of summation changes them.
    """
    channels = [images[..., channel] for channel in range(images.shape[-1])]
    sums = [int(x.sum(dtype=np.int64)) for x in channels]
    # The square of a byte fits in 16 bits; a float copy of CIFAR would not fit so well.
    squares = [int(np.square(x, dtype=np.uint16).sum(dtype=np.int64)) for x in channels]
    count = images.size // images.shape[-1]
    mean = np.array(sums) / count
    variance = [
        (count * square - total**2) / count**2
        for total, square in zip(sums, squares, strict=True)
    ]
    deviation = np.sqrt(variance)
    return mean, np.where(deviation > 0, deviation, 1.0)


def standardise_images(
    images: UInt8[np.ndarray, "n height width channels"],
    mean: Float[np.ndarray, " channels"],
    deviation: Float[np.ndarray, " channels"],
) -> Float[np.ndarray, "n height width channels"]:
    """Centres and scales each channel, in float32.

    One channel at a time: an inner loop of three numbers is slower than all the rest.
    """
    result = np.empty(images.shape, np.float32)
    for channel in range(images.shape[-1]):
        out = result[..., channel]
        np.subtract(images[..., channel], np.float32(mean[channel]), out=out)
        out *= np.float32(1 / deviation[channel])
    return result


def column_scale(
    rows: Float[np.ndarray, "n columns"],
) -> tuple[Float[np.ndarray, " columns"], Float[np.ndarray, " columns"]]:
    """Returns mean and standard deviation of each column, 1 where it is constant."""
    deviation = rows.std(axis=0)
    return rows.mean(axis=0), np.where(deviation > 0, deviation, 1.0)
