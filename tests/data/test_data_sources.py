"""The sources that read files: small files written here, real sets where they are installed."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from fedtier.data import csv_directory, fashion, npz_directory
from fedtier.data.load import load_device, load_held_out
from fedtier.data.sources import device_selection, held_out_selection
from fedtier.errors import ConfigError

WHERE = "agent.toml [data]"


def device(spec, preprocessing=(), node="d1"):
    return load_device(spec, preprocessing, node=node, where=WHERE)


# npz-directory


def write_npz(path: Path, x, y):
    np.savez(path, x=x, y=y)


def test_npz_directory_takes_the_file_named_like_the_node(tmp_path):
    x = np.arange(40, dtype=np.float64).reshape(20, 2)
    write_npz(tmp_path / "d1.npz", x, np.arange(20) % 3)
    data = device({"source": "npz-directory", "path": str(tmp_path)})
    assert data.train.x.shape == (17, 2)
    assert data.holdout.x.tolist() == x[17:].tolist()
    assert data.train.y.tolist() == (np.arange(17) % 3).tolist()


def test_npz_directory_holds_out_named_devices_as_groups(tmp_path):
    for name in ("a", "b"):
        write_npz(tmp_path / f"{name}.npz", np.ones((4, 2), dtype=np.float32), np.zeros(4, int))
    spec = {"source": "npz-directory", "path": str(tmp_path), "devices": ["b", "a"]}
    groups = load_held_out(spec, [], where=WHERE).groups
    assert [(name, len(examples)) for name, examples in groups] == [("b", 4), ("a", 4)]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((4, 2))}, "cannot be read"),
        ({"x": np.ones((4, 2)), "y": np.zeros(3, int)}, "one row of at least one value"),
        ({"x": np.ones((4, 2)), "y": np.zeros((4, 1), int)}, "whole number in y"),
        ({"x": np.ones((4, 2)), "y": np.zeros(4, complex)}, "whole number in y"),
        ({"x": np.ones((4, 2)), "y": np.full(4, np.inf)}, "NaN or infinity"),
        ({"x": np.ones(4), "y": np.zeros(4, int)}, "one row"),
        ({"x": np.full((4, 2), "a"), "y": np.zeros(4, int)}, "Give real numbers"),
        ({"x": np.full((4, 2), np.nan), "y": np.zeros(4, int)}, "NaN or infinity"),
        ({"x": np.ones((4, 2)), "y": np.full(4, -1)}, "Labels count from 0"),
        ({"x": np.ones((0, 2)), "y": np.zeros(0, int)}, "has no rows"),
    ],
)
def test_npz_directory_refuses_what_is_not_x_and_y(tmp_path, arrays, message):
    np.savez(tmp_path / "d1.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        device({"source": "npz-directory", "path": str(tmp_path)})


@pytest.mark.parametrize(("shape", "found"), [((20,), (1,)), ((20, 3), (3,)), ((20, 2, 4), (2, 4))])
def test_npz_directory_takes_numbers_as_targets(tmp_path, shape, found):
    y = np.random.default_rng(1).normal(size=shape)
    np.savez(tmp_path / "d1.npz", x=np.ones((20, 2)), y=y)
    data = device({"source": "npz-directory", "path": str(tmp_path), "holdout_percent": 15})
    assert (data.train.y.dtype, data.train.y.shape) == (np.float32, (17, *found))
    assert data.holdout.y.tobytes() == y[17:].astype(np.float32).tobytes()
    assert data.untrained == ()


def test_a_windows_number_is_that_of_its_last_row(tmp_path):
    np.savez(tmp_path / "d1.npz", x=np.ones((20, 2)), y=np.arange(20.0))
    spec = {"source": "npz-directory", "path": str(tmp_path), "holdout_percent": 50}
    window = [{"name": "window", "length": 4, "stride": 3}]
    data = load_device(spec, window, node="d1", where=WHERE)
    assert data.train.y.ravel().tolist() == [3.0, 6.0, 9.0]
    assert data.holdout.y.ravel().tolist() == [13.0, 16.0, 19.0]


def test_npz_directory_never_unpickles(tmp_path):
    np.savez(tmp_path / "d1.npz", x=np.array([{"a": 1}], dtype=object), y=np.zeros(1, int))
    with pytest.raises(ConfigError, match="plain arrays"):
        device({"source": "npz-directory", "path": str(tmp_path)})


def test_npz_directory_refuses_a_file_that_is_empty_or_cut_or_of_one_array(tmp_path):
    place = tmp_path / "d1.npz"
    np.savez_compressed(place, x=np.ones((400, 2)), y=np.zeros(400, int))
    whole = place.read_bytes()
    np.save(tmp_path / "single.npy", np.ones(3))
    damaged = whole[:60] + bytes(8) + whole[68:]
    for content in (b"", whole[:100], damaged, (tmp_path / "single.npy").read_bytes()):
        place.write_bytes(content)
        with pytest.raises(ConfigError, match="must hold the plain arrays x and y"):
            device({"source": "npz-directory", "path": str(tmp_path)})


def test_npz_directory_says_how_to_write_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"d1.npz does not exist. Write it with numpy.savez"):
        npz_directory.device_recordings({"path": str(tmp_path)}, node="d1", where=WHERE)


# traits, which both directories give to recordings

MIRROR = [{"name": "mirror", "trait": "side", "equals": 1, "signs": [-1, 1]}]


@pytest.fixture(params=["npz-directory", "csv-directory"])
def directory(request, tmp_path):
    """A source and its table, with the same rows for devices a and b."""
    x, y = np.arange(40, dtype=np.float32).reshape(20, 2) + 1, np.arange(20) % 3
    for name in ("a", "b"):
        write_npz(tmp_path / f"{name}.npz", x, y)
        lines = ["u,v,y", *(f"{u},{v},{label}" for (u, v), label in zip(x, y, strict=True))]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = {"features": ["u", "v"], "label": "y"} if request.param == "csv-directory" else {}
    return {"source": request.param, "path": str(tmp_path), **columns}


def test_a_trait_of_the_table_reaches_the_transform_that_asks_for_it(directory):
    left, right = (
        device({**directory, "traits": {"side": side}}, MIRROR, node="a") for side in (0, 1)
    )
    assert left.train.x[0].tolist() == [1.0, 2.0]
    assert right.train.x[0].tolist() == [-1.0, 2.0]
    assert left.digest != right.digest
    assert left.digest != device(directory, node="a").digest


def test_traits_enter_the_data_digest_even_if_nothing_asks_for_them(directory):
    digests = {
        device({**directory, **more}, node="a").digest
        for more in ({}, {"traits": {"side": 0}}, {"traits": {"side": 1}}, {"traits": {"site": 1}})
    }
    assert len(digests) == 4


def test_held_out_devices_have_traits_in_common_and_of_their_own(directory):
    def first_row(**table):
        groups = load_held_out({**directory, **table}, MIRROR, where=WHERE).groups
        return {name: examples.x[0, 0] for name, examples in groups}

    assert first_row(devices=["b", "a"], traits={"side": 1}) == {"b": -1.0, "a": -1.0}
    own = {"a": {"side": 1}, "b": {}}
    assert first_row(devices=own, traits={"side": 0}) == {"a": -1.0, "b": 1.0}
    with pytest.raises(ConfigError, match=r"'side', which recording 'b' lacks.*side = 1"):
        first_row(devices=own)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"traits": 1}, "traits is 1; it must be a table of whole numbers from -2147483648"),
        ({"traits": {"side": 1.5}}, "traits.side is 1.5; it must be a whole number"),
        ({"traits": {"side": True}}, "traits.side is True"),
        ({"traits": {"a=1,b": 2}}, "holds the name 'a=1,b'; a name has 1 to 40 characters"),
        ({"trait": {"side": 1}}, "'trait' is unknown. Did you mean 'traits'"),
        ({"device": "a\0"}, "null character"),
        ({"path": "~nobody-of-that-name/x"}, "Write the path in full"),
    ],
)
def test_a_wrong_trait_or_name_is_refused_before_a_file_is_opened(directory, table, message):
    with pytest.raises(ConfigError, match=message):
        device_selection({**directory, **table}, node="a", where=WHERE)


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ({}, "devices is {}; it must be a list of names, or a table of names with the traits"),
        ([], "it must be a list of names"),
        ({"a": 1}, "devices: a is 1; it must be a table of whole numbers"),
        ({"a": {"side": "left"}}, "devices: a.side is 'left'"),
        (["a", "a"], "use different texts"),
    ],
)
def test_wrong_held_out_devices_are_refused_with_their_name(directory, devices, message):
    with pytest.raises(ConfigError, match=message):
        held_out_selection({**directory, "devices": devices}, where=WHERE)


# csv-directory

CSV = {"source": "csv-directory", "features": ["ax", "ay"], "label": "state"}


def write_csv(path: Path, rows: int, *, state="idle", header="time,ay,state,ax"):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header, *(f"{i},{i}.5,{state},{-i}" for i in range(rows))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_csv_directory_reads_a_folder_of_recordings_by_column_name(tmp_path):
    write_csv(tmp_path / "d1" / "b.csv", 20, state="worn")
    write_csv(tmp_path / "d1" / "a.csv", 20, state="idle")
    spec = {**CSV, "path": str(tmp_path), "labels": ["idle", "worn"]}
    data = device(spec, [{"name": "window", "length": 3, "stride": 3}])
    assert data.train.x.shape == (10, 2, 3)
    assert data.train.x[0].tolist() == [[0, -1, -2], [0.5, 1.5, 2.5]]
    assert data.train.y.tolist() == [0] * 5 + [1] * 5
    assert data.holdout.x[:, 1, 0].tolist() == [17.5, 17.5]


def test_csv_directory_reads_one_file_for_each_device_and_groups_held_out(tmp_path):
    write_csv(tmp_path / "d1.csv", 10, state="1")
    write_csv(tmp_path / "d2.csv", 10, state="0")
    assert device({**CSV, "path": str(tmp_path)}).train.y.tolist() == [1] * 9
    spec = {**CSV, "path": str(tmp_path), "devices": ["d2", "d1"]}
    groups = load_held_out(spec, [], where=WHERE).groups
    assert [(name, examples.y[0]) for name, examples in groups] == [("d2", 0), ("d1", 1)]


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        ("ax,ayy,state\n1,2,0\n", {}, "no column 'ay'. Did you mean 'ayy'"),
        ("ax,ay,state\n1,x,0\n", {}, "line 2 column 'ay' is 'x', which is no number"),
        (
            "ax;ay;state\n1;-0,25;0\n",
            {"delimiter": ";"},
            "column 'ay' is '-0,25'.* not with a comma",
        ),
        ("ax,ay,state\n1,2,0\n , 2,0\n", {}, "line 3 column 'ax' is empty. Give a number"),
        ("ax,ay,state\n1,2,0\n\n1,nan,0\n", {}, "d1.csv line 4 column 'ay' is nan: NaN, inf"),
        ("ay,ax,state\n1,1e39,0\n", {}, r"line 2 column 'ax' is 1e\+39: .* float32 holds"),
        ("ax,ay,state\n1,2,-1\n", {}, "label '-1' is not a whole number from 0 to 999999"),
        (f"ax,ay,state\n1,2,{'9' * 30}\n", {}, "is not a whole number from 0 to 999999. Name the"),
        ("ax,ay,state\n1,2,0\n1,2\n", {}, "line 3 has 2 values"),
        ("ax,ay,state\n1,2,idel\n", {"labels": ["idle"]}, "Did you mean 'idle'"),
        ("ax,ay,state\n", {}, "has no rows"),
        ("", {}, r"no column 'ax'\. Known: nothing\.$"),
        ("ax;ay;state\n1;2;0\n", {}, r"Known: ax;ay;state\. Is the delimiter ';'\?$"),
        ("ax\tay\tstate\n1\t2\t0\n", {}, r"Is the delimiter '\\t'\?$"),
        ("ax,ay,state\n1,2,0\n", {"delimiter": ";"}, r"Is the delimiter ','\?$"),
        ("time,ay,state\n1,2,0\n", {}, r"no column 'ax'\. .*state, time\.$"),
        ("ax,ay,state\n1,2,0\n", {"delimiter": ";;"}, "one character"),
        ("ax,ay,state\n1,2,0\n", {"label": "ax"}, "is a feature too"),
        ("ax,ay,state\n1,2,0\n", {"label_column": "x"}, "'label_column' is unknown"),
    ],
)
def test_csv_directory_names_the_line_and_the_remedy(tmp_path, text, more, message):
    (tmp_path / "d1.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        device({**CSV, "path": str(tmp_path), **more})


@pytest.mark.parametrize("name", ["d1.CSV", "d1/DAY1.CSV", "d1/day1.Csv"])
def test_csv_directory_takes_an_ending_in_capitals(tmp_path, name):
    write_csv(tmp_path / name, 10, state="1")
    assert len(device({**CSV, "path": str(tmp_path)}).train) == 9


def test_csv_directory_says_what_a_folder_without_csv_holds(tmp_path):
    (tmp_path / "d1").mkdir()
    with pytest.raises(ConfigError, match=r"d1 holds no \.csv file and nothing else\. Put"):
        device({**CSV, "path": str(tmp_path)})
    for name in ("a.xlsx", "b.xlsx", "c.txt", "d.txt"):
        (tmp_path / "d1" / name).touch()
    with pytest.raises(ConfigError, match=r"what it holds: a\.xlsx, b\.xlsx, c\.txt, \.\.\.\. Put"):
        device({**CSV, "path": str(tmp_path)})


def test_values_that_are_not_finite_are_named_with_file_and_row(tmp_path):
    x = np.ones((20, 3, 2))
    x[7, 1, 0], x[7, 2, 1], x[9, 0, 0] = np.nan, np.nan, np.inf
    np.savez(tmp_path / "d1.npz", x=x, y=np.zeros(20, int))
    with pytest.raises(ConfigError) as caught:
        device({"source": "npz-directory", "path": str(tmp_path)})
    assert f"recording 'd1' ({tmp_path}/d1.npz) holds NaN or infinity" in str(caught.value)
    assert "in 2 of its 20 rows, first in row 7, counted from 0: samples[7, 1, 0] is nan" in str(
        caught.value
    )


def test_csv_directory_says_where_the_files_belong(tmp_path):
    spec = {"path": str(tmp_path), "features": ["a"], "label": "b"}
    with pytest.raises(ConfigError, match=r"neither .*d1/\*.csv nor .*d1.csv exists"):
        csv_directory.device_recordings(spec, node="d1", where=WHERE)


# fashion-mnist


def write_idx(path: Path, array: np.ndarray, *, cut: int | None = None):
    magic = {1: 0x801, 3: 0x803}[array.ndim]
    body = struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()
    with gzip.open(path, "wb") as file:
        file.write(body[:cut])


@pytest.fixture
def small_set(tmp_path):
    rng = np.random.default_rng(7)
    for name, count in (("train", 5000), ("t10k", 30)):
        images = rng.integers(0, 256, size=(count, 2, 3), dtype=np.uint8)
        images[:, 0, 0] = np.arange(count) % 251  # says which image it is
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", (np.arange(count) % 10).astype("u1"))
    return tmp_path


SCALE = [{"name": "scale", "divide_by": 255}]


def test_fashion_mnist_gives_each_device_its_own_share(small_set):
    spec = {
        "source": "fashion-mnist",
        "path": str(small_set),
        "partition": "dirichlet",
        "alpha": 0.5,
        "devices": 4,
        "seed": 1,
    }
    shares = [
        fashion.device_recordings(
            {k: v for k, v in spec.items() if k != "source"} | {"index": index},
            node="d",
            where=WHERE,
        )[0]
        for index in range(4)
    ]
    assert sum(len(share) for share in shares) == 5000
    for share in shares:  # the image and its label are still of the same row
        assert share.samples.shape[1:] == (1, 2, 3)
        numbers = share.samples[:, 0, 0, 0].astype(int)
        assert all(
            any(n + 251 * k < 5000 and (n + 251 * k) % 10 == y for k in range(20))
            for n, y in zip(numbers, share.labels, strict=True)
        )
    data = device({**spec, "index": 2}, SCALE)
    assert len(data.train) + len(data.holdout) == len(shares[2])
    assert data.train.x.max() <= 1.0


def test_fashion_mnist_holds_out_the_test_images(small_set):
    spec = {"source": "fashion-mnist", "path": str(small_set), "first": 20}
    ((name, examples),) = load_held_out(spec, SCALE, where=WHERE).groups
    assert (name, examples.x.shape) == ("test", (20, 1, 2, 3))


def test_fashion_mnist_says_which_package_to_install(tmp_path):
    with pytest.raises(ConfigError, match="sudo apt-get install dataset-fashion-mnist"):
        load_held_out(
            {"source": "fashion-mnist", "path": str(tmp_path / "none")}, SCALE, where=WHERE
        )
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not gzip")
    with pytest.raises(ConfigError, match="Install it again"):
        load_held_out({"source": "fashion-mnist", "path": str(tmp_path)}, SCALE, where=WHERE)


def test_fashion_mnist_refuses_a_file_that_ends_early(small_set):
    images = np.zeros((30, 2, 3), dtype=np.uint8)
    write_idx(small_set / "t10k-images-idx3-ubyte.gz", images, cut=100)
    with pytest.raises(ConfigError, match="ends after 14 images of 30"):
        load_held_out({"source": "fashion-mnist", "path": str(small_set)}, SCALE, where=WHERE)


def test_fashion_mnist_refuses_damaged_compression(small_set):
    place = small_set / "t10k-images-idx3-ubyte.gz"
    place.write_bytes(place.read_bytes()[:12] + b"\xff" * 40)
    with pytest.raises(ConfigError, match="Install it again"):
        load_held_out({"source": "fashion-mnist", "path": str(small_set)}, SCALE, where=WHERE)


def test_fashion_mnist_says_how_many_test_images_there_are(small_set):
    spec = {"source": "fashion-mnist", "path": str(small_set), "first": 31}
    with pytest.raises(ConfigError, match=r"first is 31, and .* has 30 test images"):
        load_held_out(spec, SCALE, where=WHERE)


def test_the_installed_fashion_mnist_has_ten_thousand_balanced_test_images(fashion_mnist_images):
    spec = {"source": "fashion-mnist", "path": str(fashion_mnist_images)}
    ((_, examples),) = load_held_out(spec, SCALE, where=WHERE).groups
    assert examples.x.shape == (10_000, 1, 28, 28)
    assert np.bincount(examples.y).tolist() == [1000] * 10
