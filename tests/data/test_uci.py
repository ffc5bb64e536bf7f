import gzip

import numpy as np
import pytest
from damage import assert_same_or_refused, damaged
from hypothesis import given
from hypothesis import strategies as st

from samt_jax.data import DataError, load
from samt_jax.data.catalog import TABLES
from samt_jax.data.uci import read_table

TABLE = np.array([[1.0, -2.5, 3e-4], [0.0, 1e5, 7.0]])
FILE = gzip.compress(b"1,-2.5,3e-4\n0,1e5,7\n", mtime=0)


def test_a_table_is_read_as_written():
    np.testing.assert_array_equal(read_table(FILE, (2, 3)), TABLE)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"1,2,3\n", "has 1 rows of 3, the original 2 of 3"),
        (b"1,2\n3,4\n", "has 2 rows of 2, the original 2 of 3"),
        (b"1,2,3\n4,5,6\n7,8,9\n", "has 3 rows of 3"),
        (b"1,2,3\n4,5\n", "is damaged"),
        (b"1,2,3\n4,5,six\n", "is damaged"),
        (b"1,2,3\n4,5,nan\n", "not finite, nan in row 2, column 3"),
        (b"1,2,3\n4,5,1e999\n", "a number that is not finite"),
        (b"1,2,3\n4,5,\xff\n", "is damaged"),
        (b"", "has 0 rows"),
        (b"1" * 1000, "more than the 192 bytes"),
    ],
)
def test_anything_but_numbers_of_the_known_shape_is_refused(text, sentence):
    with pytest.raises(DataError, match=sentence):
        read_table(gzip.compress(text), (2, 3))


@given(damaged(FILE))
def test_damaged_tables_are_read_right_or_refused(data):
    assert_same_or_refused(lambda: read_table(data, (2, 3)), TABLE)


@given(st.one_of(st.binary(max_size=180), st.text("0123456789.,-e\n#", max_size=180)))
def test_well_packed_nonsense_has_the_right_shape_or_is_refused(content):
    data = content.encode() if isinstance(content, str) else content
    try:
        numbers = read_table(gzip.compress(data), (2, 3))
    except DataError as error:
        assert str(error).endswith(".")
    else:
        assert numbers.shape == (2, 3) and np.isfinite(numbers).all()


@pytest.mark.parametrize("split", [-1, 10, "1"])
def test_a_split_that_is_not_there_is_refused(split):
    with pytest.raises(DataError, match=r"has no split .* choose one of 0 to 9"):
        load("pol", split=split)


@pytest.mark.parametrize("name", ["data.csv.gz", "test_mask.csv.gz"])
def test_a_missing_file_is_named_with_where_to_put_it(tmp_path, name, original):
    files = original("uci/pol/data.csv.gz", "uci/pol/test_mask.csv.gz") / "uci/pol"
    here = tmp_path / "uci" / "pol"
    here.mkdir(parents=True)
    for file in files.iterdir():
        if file.name != name:
            (here / file.name).write_bytes(file.read_bytes())
    with pytest.raises(DataError, match=f"^pol lacks {name}: put .* into {here}"):
        load("pol", data_dir=tmp_path)


class TestRealTables:
    @pytest.fixture(params=list(TABLES))
    def name(self, request, original):
        folder = TABLES[request.param].folder
        self.data_dir = original(f"{folder}/data.csv.gz", f"{folder}/test_mask.csv.gz")
        return request.param

    def test_parts_cover_every_row_once_and_are_standardised(self, name):
        dataset = load(name, data_dir=self.data_dir)
        spec = TABLES[name]
        sizes = [len(part.targets) for part in dataset[3:6]]
        assert sum(sizes) == spec.num_rows
        # A tenth of the rows for testing, a tenth of the others for validation.
        assert abs(sizes[2] - spec.num_rows / 10) <= 1
        assert sizes[1] == (sizes[0] + sizes[1]) // 10
        inputs, targets = dataset.train
        columns = spec.num_columns - 1 - len(spec.left_out)
        assert inputs.shape[1:] == (columns,) and targets.shape[1:] == (1,)
        assert inputs.dtype == targets.dtype == np.float32
        np.testing.assert_allclose(inputs.mean(axis=0), 0.0, atol=1e-4)
        deviation = inputs.std(axis=0)
        constant = 1 if name == "kegg_undirected" else 0
        assert (deviation == 0).sum() == constant
        np.testing.assert_allclose(deviation[deviation > 0], 1.0, atol=1e-3)
        np.testing.assert_allclose(targets.mean(), 0.0, atol=1e-4)
        np.testing.assert_allclose(targets.std(), 1.0, atol=1e-4)
        assert dataset.metric == "rmse" and "training target" in dataset.metric_unit
        assert dataset.notes

    def test_the_same_split_comes_out_every_time(self, name):
        first, second = (load(name, data_dir=self.data_dir, split=3) for _ in range(2))
        np.testing.assert_array_equal(first.train.inputs, second.train.inputs)
        np.testing.assert_array_equal(
            first.validation.targets, second.validation.targets
        )


def test_the_ten_splits_test_every_row_once(original):
    folder = original("uci/pol/data.csv.gz", "uci/pol/test_mask.csv.gz")
    sets = [load("pol", data_dir=folder, split=split) for split in range(10)]

    def unscaled(dataset, part):
        mean, scale = dataset.target_scale
        return mean + scale * part.targets[:, 0].astype(float)

    tested = np.concatenate([unscaled(dataset, dataset.test) for dataset in sets])
    whole = np.concatenate([unscaled(sets[0], part) for part in sets[0][3:6]])
    np.testing.assert_allclose(np.sort(tested), np.sort(whole), atol=1e-4)


def test_bike_leaves_out_what_gives_the_target_away(original):
    folder = original("uci/bike/data.csv.gz", "uci/bike/test_mask.csv.gz")
    honest, full = (load(name, data_dir=folder) for name in ("bike", "bike_full"))
    np.testing.assert_array_equal(honest.train.inputs, full.train.inputs[:, :15])
    np.testing.assert_array_equal(honest.test.targets, full.test.targets)

    def r_squared(dataset):
        # The target is the logarithm of a count: exp undoes it, and the count is linear
        # in casual and registered riders.
        scale = dataset.target_scale.scale
        counts = np.exp(scale * dataset.train.targets.astype(float))
        inputs = np.c_[dataset.train.inputs, np.ones(len(counts))]
        residual = counts - inputs @ np.linalg.lstsq(inputs, counts, rcond=None)[0]
        return 1 - residual.var() / counts.var()

    assert r_squared(full) > 0.999
    assert r_squared(honest) < 0.7
