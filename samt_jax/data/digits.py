"""The embedded set: 1,797 digits of 8 × 8 pixels, which scikit-learn ships."""

import numpy as np

from samt_jax.data.dataset import ACCURACY_UNIT, Dataset, Examples
from samt_jax.data.splitting import channel_scale, divide, standardise_images

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
    pool, test = divide(np.arange(len(labels)), NUM_TEST, labels)
    train, validation = divide(pool, NUM_VALIDATION, labels[pool])

    scale = channel_scale(images[train])

    def examples(rows: np.ndarray) -> Examples:
        inputs = standardise_images(images[rows], *scale)
        return Examples(inputs, labels[rows].astype(np.int32))

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
