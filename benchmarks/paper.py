"""The paper's own numbers, for the tables: one run each, as far as known.

Yan et al., arXiv 2508.04193. Tables 2 and 3: test accuracy in % of multilayer
perceptrons 784-h-10. Table 4: a test error of regression, of which network, and in
which unit, the paper does not say; nor of which variant hypergradient descent (HD) is.
"""

WIDTHS = (100, 200, 300, 400, 500, 600, 700, 800)

_FASHION_MNIST = {
    "DANTE": (88.84, 89.48, 89.82, 89.74, 90.04, 89.97, 90.04, 90.23),
    "HD": (86.86, 87.32, 87.43, 87.59, 87.61, 87.55, 87.72, 87.68),
    "SGD": (88.94, 89.54, 89.60, 89.98, 90.10, 90.06, 90.17, 90.38),
    "Adam": (88.98, 90.04, 89.76, 89.79, 89.97, 89.96, 90.04, 90.03),
    "SAMT-S": (88.76, 89.69, 89.83, 90.14, 90.23, 90.17, 90.15, 90.00),
    "SAMT-E": (88.84, 89.30, 89.59, 89.95, 90.01, 90.01, 90.27, 90.35),
}
_MNIST = {
    "SAMT-E": (97.95, 98.17, 98.39, 98.39, 98.46, 98.52, 98.48, 98.51),
}

# What a summary of the paper quotes for MNIST at 400 units; in no table of it.
QUOTED_MNIST_400 = 98.6

_ERRORS = {
    "DANTE": (0.2350, 0.1360, 0.0357),
    "HD": (0.1731, 0.1184, 0.0377),
    "SGD": (0.1732, 0.1105, 0.3506),
    "Adam": (0.1736, 0.1034, 0.0320),
    "SAMT-S": (0.1728, 0.1155, 0.0365),
    "SAMT-E": (0.1734, 0.0995, 0.0315),
}

# By problem and method, as `problems.py` names the first.
NUMBERS = {
    f"{dataset} {width}": {method: row[i] for method, row in table.items()}
    for dataset, table in (("fashion_mnist", _FASHION_MNIST), ("mnist", _MNIST))
    for i, width in enumerate(WIDTHS)
} | {
    f"{dataset} 100": {method: row[i] for method, row in _ERRORS.items()}
    for i, dataset in enumerate(("bike", "pol", "kegg"))
}
