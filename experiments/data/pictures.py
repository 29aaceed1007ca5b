"""A folder of pictures by class, as anybody may have one. The rules: docs/custom-data.md."""

from __future__ import annotations

import unicodedata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data.catalog import RULES
from experiments.data.checks import require_text
from experiments.data.spec import Arrays, ExampleSpec
from experiments.data.suspicions import as_compared, of_sixteen_bits

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # no EPS: Pillow would start another program for it
LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # what file managers leave behind
GREY_MODES = {"1", "L", "LA"}


def read_folder(folder: Path, /, *, size: tuple[int, ...] | None) -> tuple[Arrays, ExampleSpec, list[str]]:
    """Read FOLDER/train/CLASS/* and FOLDER/test/CLASS/*, or FOLDER/CLASS/*, in the order of their names.

    Names are compared in one Unicode form (NFC): macOS may write them in another than Linux.

    Args:
        folder: Where the pictures are.
        size: (height, width) in pixels that they are brought to, bilinearly; None where all have one size.

    Returns:
        x as uint8 (n, h, w, channels): 1 channel where all pictures are grey, else 3; y as int64 (n,). What an example
        looks like. And what may have been meant otherwise.

    Raises:
        ValueError: If the folders break a rule, or a picture cannot be read: it is named.
    """
    places = _places(folder)
    files = {part: _files_by_class(place, root=folder) for part, place in places.items()}
    class_names = tuple(files["train"])
    for part, by_class in files.items():
        for name in sorted(set(by_class) ^ set(class_names)):
            here, there = (part, "train") if name in by_class else ("train", part)
            near = [other for other in files[there] if as_compared(other) == as_compared(name)]
            fix = f"; {there} has {near[0]!r}, here it is {name!r}: rename one" if near else ""
            raise ValueError(f"train and test must have the same classes, but {name} is in {here}, not in {there}{fix}")
    listed = {part: [file for each in by_class.values() for file in each] for part, by_class in files.items()}
    pictures, largest = _pictures([file for each in listed.values() for file in each], root=folder, size=size)
    n_train = len(listed["train"])
    labels = [label for each in files.values() for label, name in enumerate(class_names) for _ in each[name]]
    y = np.array(labels, np.int64)
    arrays: Arrays = {
        "x_train": pictures[:n_train], "y_train": y[:n_train], "x_test": pictures[n_train:], "y_test": y[n_train:]
    }  # fmt: skip
    spec = ExampleSpec(input_shape=pictures.shape[1:], class_names=class_names, scale=255.0)
    return arrays, spec, of_sixteen_bits(largest)


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, by name, without what is hidden."""
    found = (path for path in folder.iterdir() if not path.name.startswith(".") and path.name.lower() not in LITTER)
    return sorted(found, key=lambda path: _in_one_form(path.name))


def _in_one_form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _places(folder: Path) -> dict[str, Path]:
    """Part -> folder that holds its classes."""
    names = [path.name for path in _visible(folder)]
    if "train" in names and "test" in names:
        for name in names:
            if name not in ("train", "test"):
                raise ValueError(
                    f"{folder.name} must hold only train and test, but holds {name}; move it away "
                    "(validation is drawn from train: data.validation_fraction)"
                )
        return {part: folder / part for part in ("train", "test")}
    for name in ("train", "test"):
        if name in names and any(path.is_dir() for path in _visible(folder / name)):
            raise ValueError(
                f"{folder.name} must hold both train and test, but holds only {name}; without a test set give "
                f"data.path=FOLDER/{name}, of which data.test_fraction is held out"
            )
    return {"train": folder}


def _files_by_class(place: Path, *, root: Path) -> dict[str, list[Path]]:
    """Class -> its pictures' paths, both in the order of their names."""
    found = {}
    for folder in _visible(place):
        if not folder.is_dir():
            raise ValueError(
                f"{_name(place, root)} must hold only one folder per class, but holds {folder.name}; move it away"
            )
        files = _visible(folder)
        for file in files:
            if file.is_dir() or file.suffix.lower() not in SUFFIXES:
                raise ValueError(
                    f"{_name(folder, root)} must hold only pictures ({', '.join(sorted(SUFFIXES))}), but holds "
                    f"{'the folder ' if file.is_dir() else ''}{file.name}; move it away"
                )
        if not files:
            raise ValueError(f"{_name(folder, root)} must hold pictures, but is empty; remove the folder, or fill it")
        require_text(folder.name, what=f"the name of every folder in {_name(place, root)}")
        name = _in_one_form(folder.name)
        if name in found:
            raise ValueError(
                f"{_name(place, root)} must hold one folder per class, but {name} is there in two Unicode forms; join "
                "the two"
            )
        found[name] = files
    if not found:
        raise ValueError(f"{_name(place, root)} must hold one folder of pictures per class, but holds none; {RULES}")
    return found


def _name(path: Path, root: Path) -> str:
    """A path as a person knows it: from the folder that was given on."""
    return str(Path(root.resolve().name) / path.relative_to(root))


def _pictures(files: list[Path], *, root: Path, size: tuple[int, ...] | None) -> tuple[NDArray[np.uint8], int]:
    """Pictures of one size: (n, h, w, 1) where all are grey, else (n, h, w, 3); and the largest number of 16 bits."""
    found: list[NDArray[np.uint8]] = []
    largest = 0
    for file in files:
        pixels, largest_here = _picture(file, name=_name(file, root), size=size)
        found.append(pixels)
        largest = max(largest, largest_here)
        (height, width), (first_height, first_width) = found[-1].shape[:2], found[0].shape[:2]
        if (height, width) != (first_height, first_width):
            raise ValueError(
                f"all pictures must have one size, but {_name(files[0], root)} has {first_height}x{first_width} and "
                f"{_name(file, root)} has {height}x{width} (height x width); "
                f"resize them with data.image_size=[{first_height},{first_width}]"
            )
    n_channels = max(picture.shape[2] for picture in found)
    return np.stack([np.broadcast_to(picture, (*picture.shape[:2], n_channels)) for picture in found]), largest


def _picture(file: Path, *, name: str, size: tuple[int, ...] | None) -> tuple[NDArray[np.uint8], int]:
    """One picture, upright as its EXIF data say: (h, w, 1) where it is grey, else (h, w, 3).

    And its largest number, where it has more than 8 bits; else 0.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                # JPEGs of phones (MPO) hold further views of the same thing; the first is the picture.
                n_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
                image.load()
                flat = _eight_bits(ImageOps.exif_transpose(image))
                largest = int(np.asarray(image).max()) if image.mode.startswith("I") else 0
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} must be a picture of sensible size, but: {error} Make it smaller") from error
    except Exception as error:  # decoders raise whatever they come upon
        raise ValueError(f"{name} must be a whole picture, but cannot be read ({error}); replace it") from error
    if n_frames > 1:
        raise ValueError(f"{name} must be one picture, but has {n_frames} frames; save each in a file of its own")
    if size is not None and flat.size != (size[1], size[0]):
        flat = flat.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.array(flat, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis], largest


def _eight_bits(image: Any) -> Any:
    """A picture of mode L (grey) or RGB; 16 bits are rounded to 8, what is transparent shows black.

    Raises:
        ValueError: If its pixels are floats, or whole numbers beyond 16 bits.
    """
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        pixels = np.asarray(image)
        if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("its pixels are not whole numbers from 0 to 65535; save it with 8 or 16 bits")
        return Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
    mode = "L" if image.mode in GREY_MODES else "RGB"
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image.convert(mode)
