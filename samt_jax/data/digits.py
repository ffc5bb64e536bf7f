"""The embedded set: 1,797 digits of 8 × 8 pixels, which scikit-learn ships."""

import hashlib

import numpy as np

from samt_jax.data.dataset import ACCURACY_UNIT, DataError, Dataset, Examples
from samt_jax.data.splitting import channel_scale, divide, standardise_images

SHA256 = "fe61bc84cd6a594d5ed1b937b7d8f8f791d4091d2a9df91fe5d6066156a4db6e"
NUM_TEST = 360
NUM_VALIDATION = 144


def load_digits() -> Dataset:
    """Loads the digits: 1,293 for training, 144 for validation, 360 for testing.

    The parts are divided by the fixed rule of
    :func:`~samt_jax.data.splitting.divide`, stratified by class.

    Reference: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI
    machine learning repository, 1998.
    """
    # Imported here: scikit-learn takes longer to import than this package.
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    images = pixels.astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int32)
    check_digits(images, labels)
    pool, test = divide(np.arange(len(labels)), NUM_TEST, labels)
    train, validation = divide(pool, NUM_VALIDATION, labels[pool])

    scale = channel_scale(images[train])

    def examples(rows: np.ndarray) -> Examples:
        inputs = standardise_images(images[rows], *scale)
        return Examples(inputs, labels[rows])

    return Dataset(
        name="digits",
        label="Digits",
        task="classification",
        train=examples(train),
        validation=examples(validation),
        test=examples(test),
        num_outputs=10,
        metric="accuracy",
        metric_unit=ACCURACY_UNIT,
    )


def check_digits(images: np.ndarray, labels: np.ndarray) -> None:
    """Holds the digits against their checksum: another order is another split.

    Args:
      images: Grey levels 0 to 16, uint8.
      labels: Classes, int32.

    Raises:
      DataError: They are not the 1,797 digits of UCI.
    """
    found = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if found != SHA256:
        raise DataError(
            f"scikit-learn's digits have SHA-256 {found[:12]}…, the original "
            f"{SHA256[:12]}…; install scikit-learn again."
        )
