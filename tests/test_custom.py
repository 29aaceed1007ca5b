"""Anybody's own examples: every file and folder that is taken, and every one that is refused, through `data.load`."""

import io
import re
import shutil
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
from commands import command, refuse_to_start
from PIL import Image

from experiments import data
from experiments.task.datasets import CustomData

GREY = np.full((2, 3), 51, np.uint8)
RED = np.full((2, 3, 3), (255, 0, 0), np.uint8)


def load(path, **changes):
    stated = {"image_size": None, "test_fraction": 0.2, "validation_fraction": 0.25, "split_seed": 0}
    return data.load(CustomData(path=path and str(path), **stated | changes), cache=Path("nowhere"))


FEATURES = np.arange(1, 21, dtype=np.float64).reshape(10, 2)
TEN = {"x_train": FEATURES, "y_train": np.arange(10) % 2}
TESTED = {"x_test": FEATURES[:4], "y_test": np.arange(4) % 2}
SEQUENCES = np.arange(1, 61, dtype=np.float32).reshape(10, 3, 2)
TOKENS = np.arange(1, 31).reshape(10, 3)


def npz(folder, **arrays):
    """A file of ten examples of two features in two classes, but for `arrays`; None leaves one out."""
    path = folder / "mine.npz"
    np.savez(path, **{name: array for name, array in (TEN | arrays).items() if array is not None})
    return path


# Files that are taken


def test_features_keep_their_values_and_a_fifth_of_each_class_becomes_the_test_set(tmp_path):
    loaded = load(npz(tmp_path))
    # 5 of each class: 1 is held out for test, then 1 of the 4 that are left for validation.
    assert loaded.sizes == {"train": 6, "validation": 2, "test": 2}
    assert (loaded.spec.input_shape, loaded.spec.class_names, loaded.spec.scale) == ((2,), ("0", "1"), 1.0)
    assert loaded.origin == "your own arrays from mine.npz, 10 examples"
    rows = np.concatenate([loaded.x_train, loaded.x_validation, loaded.x_test])
    np.testing.assert_array_equal(rows[np.argsort(rows[:, 0])], FEATURES.astype(np.float32))
    assert (loaded.x_train.dtype, loaded.y_train.dtype) == (np.float32, np.int64)


def test_a_test_set_is_kept_whole_and_in_order(tmp_path):
    loaded = load(npz(tmp_path, **TESTED))
    np.testing.assert_array_equal(loaded.x_test, [[1, 2], [3, 4], [5, 6], [7, 8]])
    np.testing.assert_array_equal(loaded.y_test, [0, 1, 0, 1])
    assert loaded.origin == "your own arrays from mine.npz, 14 examples"


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_bytes_are_images_divided_by_255(tmp_path, shape):
    loaded = load(npz(tmp_path, x_train=np.full((10, *shape), 51, np.uint8)))
    assert loaded.spec.input_shape == (4, 5, shape[2] if len(shape) == 3 else 1)
    assert np.unique(loaded.x_train) == np.float32(0.2)  # 51 / 255


def test_float_images_stay_as_they_are(tmp_path):
    loaded = load(npz(tmp_path, x_train=np.full((10, 4, 5, 2), -3.5)))
    assert loaded.spec.input_shape == (4, 5, 2)
    assert np.unique(loaded.x_train) == -3.5


def test_what_stands_after_a_sequences_length_becomes_padding(tmp_path):
    garbage = SEQUENCES.copy()
    garbage[3, 1:] = np.nan
    lengths = np.where(np.arange(10) == 3, 1, 3)
    loaded = load(npz(tmp_path, x_train=garbage, lengths_train=lengths))
    assert (loaded.spec.input_shape, loaded.spec.vocabulary) == ((3, 2), 0)
    rows = np.concatenate([loaded.x_train, loaded.x_validation, loaded.x_test])
    np.testing.assert_array_equal(rows[rows[:, 0, 0] == 19], [[[19, 20], [0, 0], [0, 0]]])  # 3 * 6 + 1 = 19
    assert (rows != 0).any(axis=2).sum() == 28  # 9 whole ones of 3 steps, and 1


def test_whole_numbers_are_tokens_and_the_largest_of_both_parts_counts(tmp_path):
    test = {"x_test": np.array([[40, 1, 1], [1, 1, 7]], np.int32), "y_test": np.array([0, 1])}
    lengths = {"lengths_train": np.full(10, 3), "lengths_test": np.array([2, 3])}
    loaded = load(npz(tmp_path, x_train=TOKENS, **test, **lengths))
    assert (loaded.spec.input_shape, loaded.spec.vocabulary) == ((3,), 41)
    np.testing.assert_array_equal(loaded.x_test, [[40, 1, 0], [1, 1, 7]])
    assert loaded.x_train.dtype == np.int64


@pytest.mark.parametrize(("shape", "n_values"), [((10,), 1), ((10, 1), 1), ((10, 3), 3)])
def test_floats_are_values_to_predict(tmp_path, shape, n_values):
    loaded = load(npz(tmp_path, y_train=np.full(shape, 2.0)))
    assert (loaded.spec.n_values, loaded.spec.class_names) == (n_values, ())
    assert (loaded.y_train.shape[1], loaded.y_train.dtype) == (n_values, np.float32)


def test_class_names_may_name_a_class_without_examples(tmp_path):
    loaded = load(npz(tmp_path, y_train=np.arange(10) % 2 * 2, class_names=np.array(["cat", "dog", "owl"])))
    assert loaded.spec.class_names == ("cat", "dog", "owl")
    assert set(loaded.y_train) == {0, 2}


def test_the_same_content_has_the_same_fingerprint_whatever_its_type(tmp_path):
    first = load(npz(tmp_path))
    second = load(npz(tmp_path, x_train=FEATURES.astype(">f4"), y_train=TEN["y_train"].astype(np.uint8)))
    other = load(npz(tmp_path, x_train=FEATURES + 1))
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_a_compressed_file_is_taken_too(tmp_path):
    np.savez_compressed(tmp_path / "small.npz", **TEN)
    assert load(tmp_path / "small.npz").fingerprint == load(npz(tmp_path)).fingerprint


# Files that are refused

WITH_NAN = {"x_train": np.where(FEATURES == 4, np.nan, FEATURES)}
PADDED_FIRST = np.where(np.arange(3)[:, np.newaxis] == 0, 0, SEQUENCES)
REFUSED = {
    "no x_train": ({"x_train": None}, "mine.npz must hold x_train, but holds y_train"),
    "no y_train": ({"y_train": None}, "mine.npz must hold y_train, but holds x_train"),
    "x_test alone": ({"x_test": FEATURES}, "`y_test` must be there too, but there is only x_test"),
    "y_test alone": ({"y_test": np.arange(2)}, "`x_test` must be there too, but there is only y_test"),
    "unknown array": (
        {"xtest": FEATURES},
        r"arrays of mine.npz: unknown 'xtest'; did you mean x_test\? Available: class_names, len",
    ),
    "unlike any array": (
        {"masses": FEATURES},
        "arrays of mine.npz: unknown 'masses'. Available: class_names, lengths_test, lengths_train, x_test, x_train",
    ),
    "x of rank 0": ({"x_train": np.array(1.0)}, r"`x_train has rank 2, 3 or 4` must hold, but got 'shape \(\)'"),
    "x of rank 1": (
        {"x_train": np.ones(10)},
        r"rank 2, 3 or 4.*shape \(10,\).*one feature\? save x_train\[:, np.newax",
    ),
    "x of rank 5": ({"x_train": np.ones((10, 2, 2, 2, 2))}, r"rank 2, 3 or 4.*\(10, 2, 2, 2, 2\).*channels last"),
    "complex": ({"x_train": FEATURES * 1j}, "`x_train` must hold whole numbers or floats, but has type complex128"),
    "text": ({"x_train": FEATURES.astype(str)}, "`x_train` must hold whole numbers or floats, but has type <U"),
    "dates": ({"x_train": FEATURES.astype("M8[s]")}, r"`x_train` must hold .* but has type datetime64\[s\]"),
    "truth values": ({"x_train": FEATURES > 3}, r"but has type bool; save x_train.astype\(np.float32\)"),
    "bytes of rank 2": ({"x_train": np.ones((10, 2), np.uint8)}, r"rank 2 must be float \(features\) or int64 \(token"),
    "integer images": (
        {"x_train": np.ones((10, 4, 4), int)},
        "rank 3 must be uint8 .images. or float .sequences., but is i",
    ),
    "integer pixels": (
        {"x_train": np.ones((10, 4, 4, 1), int)},
        "rank 4 must be uint8 or float .images., but is int64",
    ),
    "lengths of floats": ({"x_train": TOKENS, "lengths_train": np.ones(10)}, "`lengths_train holds integers`.*float64"),
    "too few lengths": (
        {"x_train": TOKENS, "lengths_train": np.ones(9, int)},
        r"`lengths_train has shape \(10,\)` must hold, but got \(9,\)",
    ),
    "length 0": (
        {"x_train": SEQUENCES, "lengths_train": np.arange(10) % 3},
        r"`1 <= lengths_train <= 3` must hold, but lengths_train\[0\] is 0",
    ),
    "length beyond": (
        {"x_train": TOKENS, "lengths_train": np.arange(10) % 4 + 1},
        r"`1 <= lengths_train <= 3` must hold, but lengths_train\[3\] is 4",
    ),
    "lengths of features": (
        {"lengths_train": np.ones(10, int)},
        "`lengths_train` must belong to sequences, but x_train holds features",
    ),
    "lengths of one part": (
        TESTED | {"lengths_train": np.ones(10, int)},
        "for each part or for none: lengths_train, lengths_test, but got lengths_train",
    ),
    "lengths of no part": ({"lengths_test": np.ones(10, int)}, "or for none: lengths_train, but got lengths_test"),
    "a real step of zeros": (
        {"x_train": np.where(SEQUENCES > 58, 0, SEQUENCES), "lengths_train": np.full(10, 3)},
        r"`no step of x_train within lengths_train is all 0, .*` must hold, but x_train\[9, 2\] is 0.0; shift",
    ),
    "a real token 0": (
        {"x_train": TOKENS - 1, "lengths_train": np.full(10, 3)},
        r"x_train\[0, 0\] is 0; count tokens from 1",
    ),
    "padding first": (
        {"x_train": PADDED_FIRST},
        r"steps of `x_train` .* but x_train\[0\] has them elsewhere, the first at step 0; shift",
    ),
    "float images of rank 3": (
        {"x_train": np.eye(5)[np.newaxis].repeat(10, 0) * [0, 1, 1, 1, 1]},
        "an axis of channels",
    ),
    "token 0 first": ({"x_train": TOKENS - 1}, r"tokens of `x_train` that are 0 are .* at step 0; count tokens from 1"),
    "a negative token": ({"x_train": TOKENS - 5}, r"`x_train >= 0` must hold, but x_train\[0, 0\] is -4; count tokens"),
    "a huge token": (
        {"x_train": TOKENS.astype(np.uint64) << 60},
        r"`x_train <= 2147483647` must hold, but x_train\[0, 0\]",
    ),
    "more x than y": ({"x_train": FEATURES[:9]}, r"`len\(x_train\) == len\(y_train\)` must hold, but got \(9, 10\)"),
    "more y in test": (
        TESTED | {"y_test": np.arange(3) % 2},
        r"`len\(x_test\) == len\(y_test\)` must hold, but got \(4, 3",
    ),
    "another shape in test": (
        TESTED | {"x_test": np.ones((4, 3))},
        r"`x_test` must be like x_train, float64 of shape \(n, 2,\), but is float64 of shape \(n, 3,\)",
    ),
    "another type in test": (TESTED | {"x_test": TOKENS[:4, :2]}, "`x_test` must be like x_train, float64 .* is int64"),
    "values in test": (TESTED | {"y_test": np.ones(4)}, "`y_test` must be like y_train, int64 .* but is float64"),
    "nan": (WITH_NAN, r"`x_train is finite in float32` must hold, but x_train\[1, 1\] is nan; replace"),
    "infinity in test": (TESTED | {"x_test": FEATURES[:4] + np.inf}, r"`x_test is finite .* x_test\[0, 0\] is inf"),
    "beyond float32": ({"x_train": FEATURES * 1e38}, r"finite in float32` must hold, but x_train\[1, 1\] is 4e\+38"),
    "nan as value": (
        {"y_train": np.full(10, np.nan)},
        r"`y_train is finite in float32` must hold, but y_train\[0\] is nan",
    ),
    "one-hot": ({"y_train": np.eye(10, dtype=int)}, r"`y_train of classes has rank 1`.*one-hot\? give class numbers"),
    "values of rank 3": ({"y_train": np.ones((10, 1, 1))}, r"`y_train of values has rank 1 or 2`.*\(10, 1, 1\)"),
    "values of rank 0": ({"y_train": np.array(1.0)}, r"`y_train of values has rank 1 or 2`.*shape \(\)"),
    "no column": ({"y_train": np.ones((10, 0))}, r"`y_train has a column` must hold, but got 'shape \(10, 0\)'"),
    "names for numbers": (
        {"y_train": np.array(["a", "b"] * 5)},
        r"but has type <U1; np.unique\(labels, return_inverse",
    ),
    "truth for numbers": ({"y_train": np.arange(10) > 4}, r"but has type bool; save y_train.astype\(np.int64\)"),
    "a negative class": (
        {"y_train": np.arange(10) - 1},
        r"`y_train >= 0` must hold, but y_train\[0\] is -1; count classes",
    ),
    "one class": ({"y_train": np.zeros(10, int)}, r"`y_train has 2 classes or more` must hold, but got \['0'\]"),
    "a class in test only": (
        TESTED | {"y_test": np.array([0, 1, 2, 1])},
        r"every class of y_test must be in y_train, but class 2 \(2\) is not",
    ),
    "a gap": ({"y_train": np.arange(10) % 2 * 2}, "every class from 0 to 2 must be used, but 1 never is; number the"),
    "too few names": ({"class_names": np.array(["a"])}, r"`len\(class_names\) == 2` must hold, but got 1; the largest"),
    "too many names": ({"class_names": np.array(["a", "b", "c"])}, r"`len\(class_names\) == 2` must hold, but got 3"),
    "numbers as names": (
        {"class_names": np.arange(2)},
        "`class_names is text of rank 1` must hold, but got 'int64, sh",
    ),
    "a name twice": (
        {"class_names": np.array(["a", "a"])},
        r"all differ .* class_names\[1\] is 'a', as class_names\[0\]",
    ),
    "an empty name": ({"class_names": np.array(["a", " "])}, r"not be empty, but class_names\[1\] is ' '$"),
    "names of values": (
        {"y_train": np.ones(10), "class_names": np.array(["a"])},
        "`class_names` must belong to classes",
    ),
    "no examples": ({"x_train": FEATURES[:0], "y_train": np.arange(0)}, r"`x_train holds examples`.*shape \(0, 2\)"),
    "an empty test set": ({"x_test": FEATURES[:0], "y_test": np.arange(0)}, "`x_test holds examples`.*can be left out"),
    "no features": ({"x_train": np.ones((10, 0))}, r"`examples of x_train hold numbers` must hold, .*\(10, 0\)"),
    "a lone example": (
        {"y_train": np.array([0] * 9 + [1])},
        r"2 examples or more of class 1 \(1\)` must hold, but got 1; add some",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_wrong_arrays_are_refused_with_the_rule_the_place_and_the_fix(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load(npz(tmp_path, **changes))


def test_a_split_that_leaves_nothing_of_a_class_to_train_on_is_refused(tmp_path):
    path = npz(tmp_path, y_train=np.array([0] * 8 + [1] * 2))
    # Of 2 examples round(0.9 * 2) = 2 are held out for the test.
    with pytest.raises(
        ValueError, match=r"1 example or more of class 1 \(1\) is left to train on` must hold, but got 0; of 2"
    ):
        load(path, test_fraction=0.9)
    assert load(path).sizes["train"] == 6  # 8 - 2 - round(0.25 * 6) = 4, and both of class 1


def test_objects_are_refused_before_they_are_unpickled(tmp_path):
    ragged = np.array([[1.0], [1.0, 2.0]], dtype=object)
    with pytest.raises(ValueError, match=r"`x_train` must hold numbers, but is an object array.* save np.stack"):
        load(npz(tmp_path, x_train=ragged))


def test_pictures_sizes_are_for_folders(tmp_path):
    with pytest.raises(ValueError, match=r"`data.image_size is null for an .npz` must hold, but got \(8, 8\); resize"):
        load(npz(tmp_path), image_size=(8, 8))


@pytest.mark.parametrize("path", [None, ""])
def test_a_path_must_be_stated(path):
    with pytest.raises(ValueError, match=r"`data.path` must be stated, but got .*; give data.path=FILE.npz"):
        load(path)


def test_a_missing_path_is_named_with_the_folder_it_is_seen_from(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`data.path` must exist, but there is no '.*gone.npz', seen from"):
        load(tmp_path / "gone.npz")


def damaged(whole, how):
    """The bytes of a file that something went wrong with."""
    if how == "flipped":
        middle = whole.index(b"x_train.npy") + 250
        return whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    return {
        "truncated": whole[: len(whole) // 2],
        "text": b"1,2,3\n",
        "empty": b"",
        "directory": whole[:40] + whole[60:],
    }[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "truncated",
            "`data.path` must be a whole .npz file, but mine.npz is none, or is cut short; make it with np.savez",
        ),
        ("text", "must be a whole .npz file, but mine.npz is none"),
        ("empty", "must be a whole .npz file, but mine.npz is none"),
        ("flipped", "`x_train` of mine.npz must be readable, but is damaged .Bad CRC-32.*; save it again"),
        ("directory", "damaged"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, how, message):
    path = npz(tmp_path)
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(ValueError, match=message):
        load(path)


def test_one_array_alone_or_another_file_in_the_archive_is_no_npz(tmp_path):
    np.save(tmp_path / "x.npy", FEATURES)
    with pytest.raises(ValueError, match=r"must be a whole .npz file, but x.npy is none"):
        load(tmp_path / "x.npy")
    content = io.BytesIO()
    np.save(content, TEN["y_train"])
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("x_train", b"something")
        archive.writestr("y_train.npy", content.getvalue())
    with pytest.raises(ValueError, match=r"`x_train` of odd.npz must be an array, but is another file"):
        load(tmp_path / "odd.npz")


# Folders


def pictures(root, pixels, *, n=5, suffix="png", classes=("cat", "dog")):
    """A folder of n pictures per class: all `pixels`, but those of the last class, which are one brighter."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            Image.fromarray(pixels + np.array(label, pixels.dtype)).save(root / name / f"{number}.{suffix}")
    return root


def test_grey_pictures_have_one_channel_and_the_classes_are_the_folders(tmp_path):
    root = pictures(tmp_path / "pets", GREY)
    (root / "cat" / "Thumbs.db").write_bytes(b"litter")
    (root / ".DS_Store").write_bytes(b"litter")
    loaded = load(root)
    assert loaded.spec.input_shape == (2, 3, 1)
    assert loaded.spec.class_names == ("cat", "dog")
    assert loaded.origin == "your own pictures from pets, 10 examples"
    assert loaded.sizes == {"train": 6, "validation": 2, "test": 2}
    assert np.unique(loaded.x_train[loaded.y_train == 0]) == np.float32(0.2)  # 51 / 255


def test_a_folder_and_a_file_of_the_same_pictures_are_the_same_data(tmp_path):
    x = np.stack([GREY + np.uint8(label) for label in (0, 1) for _ in range(5)])
    file = npz(tmp_path, x_train=x, y_train=np.repeat([0, 1], 5))
    assert load(file).fingerprint == load(pictures(tmp_path / "pets", GREY)).fingerprint


def test_train_and_test_folders_are_kept_apart(tmp_path):
    pictures(tmp_path / "train", GREY)
    pictures(tmp_path / "test", GREY, n=1)
    loaded = load(tmp_path)
    assert loaded.sizes == {"train": 8, "validation": 2, "test": 2}  # round(0.25 * 5) = 1 of each class
    np.testing.assert_array_equal(loaded.y_test, [0, 1])
    assert loaded.x_test[1, 0, 0, 0] == np.float32(52 / 255)


def test_one_coloured_picture_makes_all_rgb_and_image_size_resizes(tmp_path):
    root = pictures(tmp_path, GREY)
    Image.fromarray(np.full((5, 5, 3), (255, 0, 0), np.uint8)).save(root / "dog" / "9.png")
    loaded = load(root, image_size=[4, 6])
    assert loaded.spec.input_shape == (4, 6, 3)
    colours = np.concatenate([loaded.x_train, loaded.x_validation, loaded.x_test])[:, 0, 0]
    assert (colours == np.float32([1, 0, 0])).all(axis=1).sum() == 1
    assert (colours == np.float32(51 / 255)).all(axis=1).sum() == 5


def test_resizing_is_bilinear(tmp_path):
    root = pictures(tmp_path, np.array([[0, 200]], np.uint8))
    # Centres of 4 pixels on 2: 0, a quarter, three quarters, 1.
    np.testing.assert_array_equal(np.round(load(root, image_size=[1, 4]).x_train[0, 0, :, 0] * 255), [0, 50, 150, 200])


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "bmp", "gif", "webp", "tif", "tiff", "PNG"])
def test_common_formats_are_read(tmp_path, suffix):
    loaded = load(pictures(tmp_path, RED // np.uint8(2), suffix=suffix))
    assert loaded.spec.input_shape == (2, 3, 3)
    np.testing.assert_allclose(loaded.x_train[0, 0, 0], [0.5, 0, 0], atol=0.03)  # JPEG and WebP lose a little


def test_sixteen_bits_are_rounded_to_eight(tmp_path):
    loaded = load(pictures(tmp_path, np.full((2, 2), 257 * 51 + 100, np.uint16)))
    assert loaded.spec.input_shape == (2, 2, 1)
    assert np.unique(loaded.x_train) == np.float32(0.2)


def test_what_is_transparent_shows_black(tmp_path):
    root = pictures(tmp_path, np.full((2, 3, 4), (255, 200, 100, 0), np.uint8))  # alpha 0, and 1 in dogs
    loaded = load(root)
    assert loaded.spec.input_shape == (2, 3, 3)
    assert loaded.x_train[loaded.y_train == 0].max() == 0


def test_pictures_are_turned_upright(tmp_path):
    root = pictures(tmp_path, GREY)
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side, as a phone writes it
    Image.fromarray(GREY.T.copy()).save(root / "cat" / "0.png", exif=exif)
    assert load(root).spec.input_shape == (2, 3, 1)


def empty_class(root):
    (root / "owl").mkdir()


def truncated(root):
    whole = (root / "dog" / "3.png").read_bytes()
    (root / "dog" / "3.png").write_bytes(whole[:-30])


def frames(root):
    first, second = Image.fromarray(GREY), Image.fromarray(GREY + np.uint8(9))
    first.save(root / "cat" / "film.gif", save_all=True, append_images=[second])


def whole_test(root):
    """Move the classes into train, with a test set beside it."""
    pictures(root / "train", GREY)
    pictures(root / "test", GREY, n=1)
    for name in ("cat", "dog"):
        for file in (root / name).iterdir():
            file.unlink()
        (root / name).rmdir()


SPOILED = {
    "a picture beside the classes": (
        lambda root: Image.fromarray(GREY).save(root / "loose.png"),
        "must hold only one folder per class, but holds loose.png",
    ),
    "an empty class": (empty_class, "pets/owl must hold pictures, but is empty"),
    "text among pictures": (
        lambda root: (root / "cat" / "notes.txt").write_text("?"),
        r"pets/cat must hold only pictures .* but holds notes.txt",
    ),
    "folders in a class": (lambda root: (root / "cat" / "more").mkdir(), "pets/cat must hold .* holds the folder more"),
    "a truncated picture": (truncated, "pets/dog/3.png must be a whole picture, but cannot be read .*; replace it"),
    "no picture inside": (
        lambda root: (root / "dog" / "3.png").write_bytes(b"no"),
        "pets/dog/3.png must be a whole picture, but cannot be",
    ),
    "an empty file": (lambda root: (root / "dog" / "3.png").write_bytes(b""), "pets/dog/3.png must be a whole picture"),
    "another size": (
        lambda root: Image.fromarray(GREY.T.copy()).save(root / "dog" / "3.png"),
        r"pets/cat/0.png has 2x3 and pets/dog/3.png has 3x2 .height x width.; .* data.image_size=\[2,3\]",
    ),
    "several frames": (frames, "pets/cat/film.gif must be one picture, but has 2 frames"),
    "floats": (
        lambda root: Image.fromarray(GREY.astype(np.float32)).save(root / "cat" / "0.tif"),
        "not whole numbers from 0 to 65535",
    ),
    "train without test": (
        lambda root: pictures(root / "train", GREY),
        "must hold both train and test, but holds only tr",
    ),
    "other folders beside train": (
        lambda root: [pictures(root / part, GREY) for part in ("train", "test")],
        "hold only train and test, but holds cat",
    ),
    "another class in test": (
        lambda root: [whole_test(root), pictures(root / "test", GREY, classes=["owl"])],
        "train and test must have the same classes, but owl is in test, not in train",
    ),
    "another class in train": (
        lambda root: [whole_test(root), pictures(root / "train", GREY, classes=["owl"])],
        "but owl is in train, not in test",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), SPOILED.values(), ids=SPOILED)
def test_a_wrong_folder_is_refused_by_the_name_of_what_is_wrong(tmp_path, spoil, message):
    root = pictures(tmp_path / "pets", GREY)
    assert load(root)
    spoil(root)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_a_folder_without_classes_or_with_one_is_refused(tmp_path):
    (tmp_path / "pets").mkdir()
    with pytest.raises(
        ValueError, match="pets must hold one folder of pictures per class, but holds none; docs/custom"
    ):
        load(tmp_path / "pets")
    with pytest.raises(
        ValueError, match=r"`y_train has 2 classes or more` must hold, but got \['cat'\]; add another class"
    ):
        load(pictures(tmp_path / "pets", GREY, classes=["cat"]))


@pytest.mark.parametrize("limit", [5, 2])  # of 6 pixels: Pillow warns above the limit, and refuses above twice of it
def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch, limit):
    root = pictures(tmp_path / "pets", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(
        ValueError, match=r"pets/cat/0.png must be a picture of sensible size, but: Image size \(6 pixels\)"
    ):
        load(root)


# The command


MINE = (
    "experiment=custom", "name=mine", "data.path=mine.npz", "seed=0", "framework=lightning", "training.epochs=1",
)  # fmt: skip


def test_the_command_trains_on_a_good_file_and_refuses_a_bad_one_before_there_is_a_database(
    local, tmp_path, empty_database
):
    npz(tmp_path, **WITH_NAN)
    with pytest.MonkeyPatch.context() as patch:
        refuse_to_start(patch)
        bad = command(*MINE, cwd=tmp_path, cache=tmp_path / "cache")
    assert bad.returncode == 2, bad.stderr
    assert re.match(
        r"data \(custom\): `x_train is finite in float32` must hold, but x_train\[1, 1\] is nan", bad.stderr
    )
    assert "Traceback" not in bad.stderr
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"mine.npz"}  # no mlflow.db, no cache

    npz(tmp_path, x_train=np.tile(FEATURES, (2, 1)), y_train=np.arange(20) % 2)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    good = command(*MINE, cwd=tmp_path, cache=tmp_path / "cache")
    assert good.returncode == 0, good.stderr
    assert "your own arrays from mine.npz, 20 examples: 14 train, 2 validation, 4 test" in good.stdout
    assert re.search(
        r"Data, as meant\? \d of 4 test examples are training examples too, .*\.$", good.stdout, re.MULTILINE
    )
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_experiment_by_name("mine") is not None
