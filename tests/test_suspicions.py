"""Examples that were meant otherwise than they are taken: a line, or an error where they cannot be meant."""

import re
import unicodedata

import numpy as np
import pytest
from test_custom import FEATURES, GREY, SEQUENCES, TESTED, TOKENS, load, npz, pictures

from experiments.task.datasets import as_once_stated, as_taken

RNG = np.random.default_rng(0)
N = 40
Y = np.arange(N) % 2
TABLE = RNG.standard_normal((N, 3))
PIXELS = RNG.integers(0, 256, (N, 6, 7, 3)).astype(np.uint8)
SERIES = np.arange(1, N + 6, dtype=np.float32)
WINDOWS = np.lib.stride_tricks.sliding_window_view(SERIES, 5)[:N]
IDS = np.arange(10, 10 + N, dtype=float)


def with_column(column):
    return np.column_stack([TABLE, np.broadcast_to(column, N)])


# x_train, y_train, what is said
SUSPECTED = {
    "channels first": (
        PIXELS.transpose(0, 3, 1, 2) / 255, Y, r"of 3x6 pixels with 7 channels; .* x_train.transpose\(0, 2, 3, 1\)$",
    ),
    "floats of 0 to 255": (PIXELS.astype(float), Y, "and x_train reaches 255; for 0 to 1 save it as np.uint8"),
    "floats of 12 bits": (PIXELS * 16.0, Y, "and x_train reaches 4080; for 0 to 1 save x_train / 4080"),
    "bytes of 0 and 1": (PIXELS // 255, Y, r"largest byte of x_train is 1, .* save \(x_train / 1\).astype\(np.float32"),
    "pictures without channels": (PIXELS[:, :6, :6, 0] / 4 + 1, Y, r"\(n, 6, 6\) is read as seq.*, np.newaxis\]$"),
    "a table of integers": (
        np.column_stack([RNG.integers(20, 60, N), RNG.integers(1, 5, N)]), Y, "read as tokens.*table.*np.float32",
    ),
    "a constant column": (with_column(7.0), Y, "column 3 of x_train never changes; leave it out"),
    "an id or a time": (
        with_column(np.cumsum(RNG.random(N))), Y, "column 3 of x_train rises from each .*data.in_order=true$",
    ),
    "a shuffled id": (with_column(RNG.permutation(IDS)), Y, "column 3 of x_train numbers the examples"),
    "the target": (with_column(Y), Y, "column 3 of x_train is y_train itself"),
    "beyond float32": (
        with_column(1.7e9 + RNG.integers(0, 60, N)), Y, "column 3 .* float32 tells . apart, .*1700000.*; subtract",
    ),
    "windows of a series": (WINDOWS, Y, "is the one before, 1 further: .* data.in_order=true"),
    "windows every two steps": (WINDOWS[::2, :, np.newaxis], Y[:20], "is the one before, 2 further"),
    "classes as floats": (TABLE, Y.astype(float), r"holds few whole .* save y_train.ravel\(\).astype\(np.int64\)$"),
    "one-hot floats": (TABLE, np.eye(2)[Y], r"looks one-hot; for classes save y_train.argmax\(axis=1\)$"),
    "a constant feature of steps": (
        np.concatenate([RNG.standard_normal((N, 5, 2)), np.ones((N, 5, 1))], axis=2), Y, "column 2 of x_train never ch",
    ),
    "all the same": (np.ones((N, 3)), Y, "all examples of x_train are the same"),
}  # fmt: skip


@pytest.mark.parametrize(("x", "y", "said"), SUSPECTED.values(), ids=SUSPECTED)
def test_what_may_be_meant_otherwise_is_said_in_one_line_with_the_fix(tmp_path, x, y, said):
    lines = load(npz(tmp_path, x_train=x, y_train=y)).suspicions
    lines = [each for each in lines if "training examples too" not in each]
    if said.startswith("column 3 .* float32"):  # which makes it constant, too
        lines = lines[:1]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_train": TABLE, "y_train": Y},
        {"x_train": PIXELS, "y_train": Y},
        {"x_train": PIXELS / 255, "y_train": Y},
        {"x_train": TABLE, "y_train": TABLE[:, :1] + 1},
        {"x_train": RNG.integers(1, 9, (N, 5)), "y_train": Y},
        {"x_train": RNG.standard_normal((N, 5, 3)), "y_train": Y},
    ],
    ids=["features", "bytes", "pictures", "values", "tokens", "sequences"],
)
def test_ordinary_examples_are_not_suspected(tmp_path, arrays):
    assert load(npz(tmp_path, **arrays)).suspicions == ()


def test_a_test_set_in_another_unit_is_said(tmp_path):
    (line,) = load(npz(tmp_path, x_train=TABLE, y_train=Y, x_test=np.abs(TABLE[:12]) * 255, y_test=Y[:12])).suspicions
    assert re.match(r"x_train reaches [23]\.\d+, but x_test [45]\d\d\.\d*; scale both by the same numbers", line), line


def test_examples_that_are_trained_and_tested_on_are_counted(tmp_path):
    loaded = load(npz(tmp_path, **TESTED))
    (line,) = [each for each in loaded.suspicions if "too" in each]
    known = {example.tobytes() for example in loaded.x_train}
    n_known = sum(example.tobytes() in known for example in loaded.x_test)
    assert 0 < n_known <= 4
    assert line.startswith(f"{n_known} of 4 test examples are training examples too, the first x_test[")


REFUSED = {
    "bytes, channels first": (
        {"x_train": np.ones((10, 3, 8, 8), np.uint8)},
        r"`x_train of bytes has its channels last` must hold, .*; save x_train.transpose\(0, 2, 3, 1\)",
    ),
    "one column of classes": ({"y_train": Y[:10, np.newaxis]}, r"class numbers\? save y_train.ravel\(\); values"),
    "one-hot truth values": ({"y_train": np.eye(10) > 0}, r"has type bool; one-hot\? save y_train.argmax\(axis=1\)"),
    "padded in front": (
        {"x_train": np.where(np.arange(3) < 2, 0, TOKENS)},
        'first at step 0; pad at the end, padding="post", or count tokens from 1',
    ),
    "classes from 1": ({"y_train": Y[:10] + 1}, "but 0 never is; classes count from 0, save y - 1, or state"),
    "examples last": ({"x_train": np.ones((8, 8, 1, 10))}, r"got \(8, 10\); save np.moveaxis\(x_train, -1, 0\)"),
    "a structured array": (
        {"x_train": np.ones(10, [("a", "f4"), ("b", "f8")])},
        r"but has type \[\('a'.*; save np.stack\(\[x_train\[column\] for column in x_train.dtype.names\], axis=1\)",
    ),
    "a subnormal number": (
        {"x_train": np.where(FEATURES == 4, 1e-40, FEATURES)},
        r"`x_train is 0 or at least 1e-30 in size` must hold, but x_train\[1, 1\] is 1e-40; frameworks disagree",
    ),
    "a step that float32 takes for padding": (
        {"x_train": np.where(SEQUENCES > 58, 1e-50, SEQUENCES.astype(float))},
        r"`x_train is 0 or at least 1e-30 in size` must hold, but x_train\[9, 2, 0\] is 1e-50",
    ),
    "a small value": ({"y_train": np.full(10, -1e-39)}, r"but y_train\[0\] is -1e-39; frameworks disagree"),
    "a name that is no text": (
        {"class_names": np.array(["a", "\udcff"])},
        r"`every name of class_names is UTF-8` must",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused_with_the_fix_that_fits(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load(npz(tmp_path, **changes))


@pytest.mark.parametrize(
    "as_stored",
    [lambda x: x.astype(">f8"), np.asfortranarray, lambda x: np.where(x == 0, -0.0, x)],
    ids=["big-endian", "Fortran order", "negative zero"],
)
def test_byte_order_memory_order_and_negative_zero_do_not_matter(tmp_path, as_stored):
    x = np.where(PIXELS > 99, PIXELS / 255, 0)
    plain = load(npz(tmp_path, x_train=x, y_train=Y))
    loaded = load(npz(tmp_path, x_train=as_stored(x), y_train=Y))
    assert loaded.x_train.flags.c_contiguous
    assert loaded.x_train.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(loaded.x_train, plain.x_train)


# Time order


def test_in_order_trains_on_the_first_and_tests_on_the_last(tmp_path):
    loaded = load(npz(tmp_path, x_train=WINDOWS, y_train=Y), in_order=True)
    # 40 - 8 for test = 32, of which 8 are for validation
    np.testing.assert_array_equal(loaded.x_train[:, 0], SERIES[:24])
    np.testing.assert_array_equal(loaded.x_validation[:, 0], SERIES[24:32])
    np.testing.assert_array_equal(loaded.x_test[:, 0], SERIES[32:40])
    assert loaded.suspicions == ()
    assert loaded.fingerprint != load(npz(tmp_path, x_train=WINDOWS, y_train=Y)).fingerprint


def test_a_time_in_order_is_not_asked_about(tmp_path):
    assert load(npz(tmp_path, x_train=with_column(IDS), y_train=Y), in_order=True).suspicions == ()


def test_in_order_refuses_classes_that_come_only_later_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"must be in the first 6 .* class 2 \(2\) is not; the last examples are held"):
        load(npz(tmp_path, y_train=np.array([0, 1] * 4 + [2, 2])), in_order=True)
    with pytest.raises(ValueError, match=r"`the first 6 examples have 2 classes or more` must hold, but got 1"):
        load(npz(tmp_path, y_train=np.repeat([0, 1], [6, 4])), in_order=True)
    with pytest.raises(ValueError, match="`data.in_order is false for a folder` must hold"):
        load(pictures(tmp_path / "pets", GREY), in_order=True)


def test_names_of_searches_and_arms_hold_the_order_only_where_it_is_set():
    stated = {"source": "custom", "path": "a.npz", "in_order": False}
    without = {"source": "custom", "path": "a.npz"}
    assert as_once_stated(stated) == as_once_stated(without)
    assert as_taken(stated) == without
    assert as_taken(stated | {"in_order": True})["in_order"] is True


# Folders


def test_twelve_bits_in_pictures_of_sixteen_are_said(tmp_path):
    loaded = load(pictures(tmp_path, np.arange(4086, 4095, dtype=np.uint16).reshape(3, 3)))
    (line,) = [each for each in loaded.suspicions if "bits" in each]
    # 4095 / 257 = 15.93: 0 to 16
    assert line.startswith("pictures of 16 bits reach 4095 of 65535, of which rounding to 8 bits leaves 17 grey levels")
    assert line.endswith("if they hold 12 bits, save (pixels >> 4).astype(np.uint8)")


def test_classes_are_the_same_in_either_unicode_form(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Bär") for form in ("NFC", "NFD"))
    assert composed != apart
    pictures(tmp_path / "train", GREY, classes=(apart, "cat"))
    pictures(tmp_path / "test", GREY, n=1, classes=(composed, "cat"))
    assert load(tmp_path).spec.class_names == (composed, "cat")
    pictures(tmp_path / "train", GREY, classes=(composed,))
    with pytest.raises(
        ValueError, match=r"train must hold one folder per class, but Bär is there in two Unicode forms"
    ):
        load(tmp_path)


def test_classes_that_differ_only_by_case_or_spaces_are_said(tmp_path):
    loaded = load(pictures(tmp_path / "one", GREY, classes=("cat", "cat ", "Cat")))
    assert [line for line in loaded.suspicions if "differ only" in line] == [
        "classes 'Cat' and 'cat' differ only by case or spaces; if they are one, join them",
        "classes 'Cat' and 'cat ' differ only by case or spaces; if they are one, join them",
    ]
    pictures(tmp_path / "two" / "train", GREY, classes=("cat", "dog"))
    pictures(tmp_path / "two" / "test", GREY, classes=("Cat", "dog"))
    with pytest.raises(
        ValueError, match=r"Cat is in test, not in train; train has 'cat', here it is 'Cat': rename one"
    ):
        load(tmp_path / "two")
