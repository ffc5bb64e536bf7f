import pytest

from samt_jax.data import DATASETS, report_datasets


@pytest.fixture
def by_name(tmp_path):
    def report(data_dir):
        reports = report_datasets(data_dir=data_dir, cache_dir=tmp_path / "cache")
        assert [one.name for one in reports] == list(DATASETS)
        return {one.name: one for one in reports}

    return report


def test_an_empty_folder_has_digits_only_and_says_what_to_put_where(by_name, tmp_path):
    reports = by_name(tmp_path / "nothing")
    assert [name for name, one in reports.items() if one.found] == ["digits"]
    for name, one in reports.items():
        if name == "digits":
            continue
        assert one.missing and not one.prepared
        assert all(file in one.advice for file in one.missing)
        assert one.folder in one.advice and one.advice.endswith(".")
    assert "or load kmnist_reduced" in reports["kmnist"].advice


def test_looking_opens_no_file_and_makes_no_folder(by_name, tmp_path):
    folder = tmp_path / "data" / "kmnist"
    folder.mkdir(parents=True)
    for kind in ("images-idx3", "labels-idx1"):
        (folder / f"t10k-{kind}-ubyte.gz").write_bytes(b"not even gzip")
    reports = by_name(tmp_path / "data")
    assert reports["kmnist_reduced"].found and not reports["kmnist_reduced"].advice
    assert reports["kmnist"].missing == (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
    )
    assert not (tmp_path / "cache").exists()


def test_a_damaged_list_of_checksums_is_reported_not_raised(by_name, tmp_path):
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    (folder / "SHA256SUMS").write_bytes(b"\xff")
    report = by_name(tmp_path / "data")["cifar10"]
    assert not report.found and "SHA256SUMS is damaged" in report.advice


def test_the_real_folder_is_found(by_name, original):
    file = "fashion_mnist/train-images-idx3-ubyte.gz"
    reports = by_name(original(file, "uci/bike/data.csv.gz"))
    for name in ("fashion_mnist", "bike", "bike_full"):
        assert reports[name].found and not reports[name].missing
