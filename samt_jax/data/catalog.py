"""The data sets by name: their files, checksums, counts and what must be said of them.

Checksums of the MNIST family and of the CIFAR archives are those that
tensorflow-datasets records; the others are of the files as their collections give them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from samt_jax.data import cifar, idx
from samt_jax.data.files import FileSpec, Originals
from samt_jax.data.uci import TableSpec


class ImageSpec(NamedTuple):
    """An image set that is prepared by tensorflow-datasets.

    Attributes:
      name: The name it is loaded by.
      label: The name to print when it is whole.
      builder: Its name in tensorflow-datasets.
      folder: Its folder below the data folder.
      num_classes: Labels run from 0 to one less.
      image_shape: Height, width, channels.
      num_images: Images of each split when the set is whole.
      find: Looks for the original files, by name only.
      decode: Reads the original files, each checked first.
      num_validation: Images carved from the training split; `None`: a tenth.
      num_test: Where there is no training split: images that the test part takes from
        the test split; the rest are trained on.
      download: Whether tensorflow-datasets may fetch the set where TensorFlow is.
      remedy: What else can be done where files are missing: a clause, or nothing.
      notes: Sentences that a report on this set owes its reader.
    """

    name: str
    label: str
    builder: str
    folder: str
    num_classes: int
    image_shape: tuple[int, int, int]
    num_images: dict[str, int]
    find: Callable[[Path], Originals]
    decode: Callable[[Path, Originals], dict[str, idx.LabelledImages]]
    num_validation: int | None = None
    num_test: int | None = None
    download: bool = True
    remedy: str = ""
    notes: tuple[str, ...] = ()


_MNIST = {
    "train": idx.IdxPair(
        FileSpec(
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            9_912_422,
        ),
        FileSpec(
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            28_881,
        ),
    ),
    "test": idx.IdxPair(
        FileSpec(
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            1_648_877,
        ),
        FileSpec(
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            4_542,
        ),
    ),
}
_KMNIST = {
    "train": idx.IdxPair(
        FileSpec(
            "train-images-idx3-ubyte.gz",
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            18_165_135,
        ),
        FileSpec(
            "train-labels-idx1-ubyte.gz",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            29_497,
        ),
    ),
    "test": idx.IdxPair(
        FileSpec(
            "t10k-images-idx3-ubyte.gz",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            3_041_136,
        ),
        FileSpec(
            "t10k-labels-idx1-ubyte.gz",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            5_120,
        ),
    ),
}
_FASHION_MNIST = {
    "train": idx.IdxPair(
        FileSpec(
            "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            26_421_880,
        ),
        FileSpec(
            "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            29_515,
        ),
    ),
    "test": idx.IdxPair(
        FileSpec(
            "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            4_422_102,
        ),
        FileSpec(
            "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            5_148,
        ),
    ),
}
_CIFAR10 = cifar.CifarFiles(
    archive=FileSpec(
        "cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        170_052_171,
    ),
    members={
        "train": tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        "test": ("cifar-10-batches-bin/test_batch.bin",),
    },
    labels=FileSpec(
        "labels.npz",
        "08df69b334fadf5733567b9874d027a21739f5125641f3d45514a41679871c14",
        30_991,
    ),
    label_keys=("label",),
    mosaic_notes=(
        "98 of the 60,000 CIFAR-10 images (77 for training, 21 for testing; 93 ships "
        "and 5 horses) are decoded JPEG approximations of the originals.",
    ),
)
_CIFAR100 = cifar.CifarFiles(
    archive=FileSpec(
        "cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        168_513_733,
    ),
    members={
        "train": ("cifar-100-binary/train.bin",),
        "test": ("cifar-100-binary/test.bin",),
    },
    labels=FileSpec(
        "labels.npz",
        "7719331cfd10c4affe51e2b0fc8646f22d19f84def393041926854710d4b8e6f",
        87_744,
    ),
    label_keys=("coarse_label", "label"),
)


def _idx_set(
    name: str, label: str, files: dict[str, idx.IdxPair], **settings: Any
) -> ImageSpec:
    spec = ImageSpec(
        name=name,
        label=label,
        builder=name,
        folder=name,
        num_classes=10,
        image_shape=(*idx.IMAGE_SHAPE, 1),
        num_images={split: idx.NUM_IMAGES[split] for split in files},
        find=partial(idx.find_idx, files=files),
        decode=partial(idx.decode_idx, files=files),
        num_validation=5_000,
    )
    return spec._replace(**settings)


def _cifar_set(
    name: str, label: str, files: cifar.CifarFiles, num_classes: int
) -> ImageSpec:
    return ImageSpec(
        name=name,
        label=label,
        builder=name,
        folder=name,
        num_classes=num_classes,
        image_shape=(cifar.SIDE, cifar.SIDE, 3),
        num_images=dict(cifar.NUM_IMAGES),
        find=partial(cifar.find_cifar, files=files),
        decode=partial(cifar.decode_cifar, files=files),
    )


IMAGE_SETS = {
    spec.name: spec
    for spec in (
        _idx_set("mnist", "MNIST", _MNIST),
        _idx_set("kmnist", "KMNIST", _KMNIST, remedy="or load kmnist_reduced"),
        _idx_set("fashion_mnist", "Fashion-MNIST", _FASHION_MNIST),
        _cifar_set("cifar10", "CIFAR-10", _CIFAR10, 10),
        _cifar_set("cifar100", "CIFAR-100", _CIFAR100, 100),
        _idx_set(
            "kmnist_reduced",
            "KMNIST, reduced",
            {"test": _KMNIST["test"]},
            builder="kmnist",
            folder="kmnist",
            num_validation=1_000,
            num_test=2_000,
            download=False,
            notes=(
                "KMNIST, reduced, is made of KMNIST's 10,000 test images alone (7,000 "
                "for training, 1,000 for validation, 2,000 for testing); its figures "
                "are not comparable with KMNIST's.",
            ),
        ),
    )
}


_BIKE = TableSpec(
    name="bike",
    label="Bike (without casual and registered riders)",
    folder="uci/bike",
    data=FileSpec(
        "data.csv.gz",
        "411f76ae426c0e348a2629dcf6b3b29102c7db465eae780a3454c39db1dfac4f",
        403_769,
    ),
    mask=FileSpec(
        "test_mask.csv.gz",
        "cf13dc25e80c03019cf2b01666f9cc29b03ea222f5c519536023ea56669bf337",
        21_560,
    ),
    num_rows=17_379,
    num_columns=18,
    left_out=(15, 16),
    notes=(
        "The columns of casual and registered riders, which add up to the target's "
        "count, are left out.",
    ),
)
_POL = TableSpec(
    name="pol",
    label="Pol",
    folder="uci/pol",
    data=FileSpec(
        "data.csv.gz",
        "1c16126352954571e78f52d5a9d1b947a38655885d7cadd9407a4c9615fe4e04",
        314_752,
    ),
    mask=FileSpec(
        "test_mask.csv.gz",
        "c5540259aabe58f5c7a534ed6f5141f8c1157d5de592e45884b7fced6091e981",
        18_643,
    ),
    num_rows=15_000,
    num_columns=27,
    notes=("42 of the 15,000 rows of Pol are duplicates.",),
)
_KEGG = TableSpec(
    name="kegg",
    label="KEGG, directed",
    folder="uci/keggdirected",
    data=FileSpec(
        "data.csv.gz",
        "51b7bb56e3f3eae36273cdd5a549c042bdf0ec10948a6f8e6b01a1d6912212cd",
        1_697_006,
    ),
    mask=FileSpec(
        "test_mask.csv.gz",
        "b8a7fc902444fdbc5866e8bf314e4778a303d675ef5267c83c5c25b70dacd357",
        60_608,
    ),
    num_rows=48_827,
    num_columns=21,
    notes=(
        "32,486 of the 48,827 rows of KEGG, directed, are copies of another row, so "
        "training and test rows overlap.",
    ),
)
_KEGG_UNDIRECTED = TableSpec(
    name="kegg_undirected",
    label="KEGG, undirected",
    folder="uci/keggundirected",
    data=FileSpec(
        "data.csv.gz",
        "117419270e50f581df18bf996ffc8b6bf1bb76c9f3640331ac9d6e64cff63d4e",
        2_913_718,
    ),
    mask=FileSpec(
        "test_mask.csv.gz",
        "ea56968ffbf638720943f2758fe0464e1ff532654bc5a67c369a1cda8c6e7f13",
        78_818,
    ),
    num_rows=63_608,
    num_columns=28,
    notes=(
        "45,033 of the 63,608 rows of KEGG, undirected, are copies of another row, so "
        "training and test rows overlap.",
        "One input column of KEGG, undirected, is constant and stays zero.",
    ),
)

TABLES = {
    spec.name: spec
    for spec in (
        _BIKE,
        _BIKE._replace(
            name="bike_full",
            label="Bike (all 17 columns, casual and registered riders among them)",
            left_out=(),
            notes=(
                "Casual and registered riders add up to the target's count: with these "
                "two columns the target is known from the inputs.",
            ),
        ),
        _POL,
        _KEGG,
        _KEGG_UNDIRECTED,
    )
}
