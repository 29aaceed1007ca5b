"""`python -m benchmarks`: what it keeps, goes on with, and says. Slow: that the real parts still measure."""

import functools
import json
import re
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import epoch, page, parity_table, programs, start, task_certificates
from benchmarks.measuring import Figure, Kept, Part, Row, in_turn, interval, ratios
from experiments.execution.environment import PROJECT

TEN = [1.3, 1.1, 1.9, 1.2, 1.5, 1.4, 1.6, 1.7, 1.8, 1.0]


@pytest.mark.parametrize(
    ("n", "ranks"), [(5, None), (6, (1, 6)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))]
)
def test_the_interval_is_that_of_a_table(n, ranks):
    """The ranks that tables of the sign test give for 95 %."""
    assert interval([float(rank) for rank in range(n, 0, -1)]) == ranks


@pytest.mark.parametrize(
    ("values", "at_most", "said"),
    [
        (TEN, 2.0, "met"),
        (TEN, 1.5, "met, not settled"),  # median 1.45, interval [1.1, 1.8]
        (TEN, 1.4, "**missed**, not settled"),
        (TEN, 1.0, "**missed**"),  # 1.0 is in the range, not in the interval
        ([0.7, 0.9], 0.8, "met, not settled"),
        ([0.7], 0.7, "met"),
        ([float("nan")], 0.7, "**missed**"),
        ([], 0.7, "not measured"),
        (TEN, None, ""),
    ],
)
def test_met_and_missed_go_by_the_median_and_settled_by_the_interval(values, at_most, said):
    figure = Figure(what="x", values=values, at_most=at_most)
    assert page.verdict(figure) == said
    assert figure.is_missed == ("missed" in said)


def ratio(what, at_most, pairs):
    return [Figure(what=what, values=ratios(pairs, "s", arm="ours", base="plain"), at_most=at_most)]


@pytest.fixture
def measured(monkeypatch):
    """A part with two rows whose pairs are given, in place of those that take hours; what was measured, in order."""
    turns = []

    def pair(name, turn):
        turns.append((name, turn))
        if len(turns) == 4:
            raise KeyboardInterrupt
        return {"plain": {"s": 2.0}, "ours": {"s": 1.0 + turn}}

    def rows(folder, epochs):
        return [
            Row(
                name=name,
                pairs=3,
                seconds=1,
                measure=functools.partial(pair, name),
                figures=functools.partial(ratio, name, 0.9),
            )
            for name in ("first", "second")
        ]

    parts = {"fake": Part(title="Fake", text="How.", rows=rows), "other": Part(title="Other", text="", rows=rows)}
    monkeypatch.setattr(benchmarks, "PARTS", parts)
    monkeypatch.setattr(programs, "mnist", lambda: "the images")
    return turns


def test_a_stopped_command_goes_on_where_it_stopped_and_writes_the_page(tmp_path, measured):
    typed = [str(tmp_path), "fake", "--page", str(tmp_path / "page.md")]
    with pytest.raises(KeyboardInterrupt):
        benchmarks.main(typed)
    kept = tmp_path / "fake.jsonl"
    kept.write_text(kept.read_text() + '{"row": "sec')  # as if killed while it wrote
    assert benchmarks.main(typed) == 1
    assert measured == [(name, turn) for turn in (0, 1) for name in ("first", "second")] + [
        ("second", 1), ("first", 2), ("second", 2),
    ]  # fmt: skip
    assert [len(Kept(path=kept).pairs(name)) for name in ("first", "second")] == [3, 3]
    text = (tmp_path / "page.md").read_text()
    assert "| first | 1.00 (0.50 to 1.50) | 0.9 | 3 | **missed**, not settled |" in text
    assert "Not measured yet: `python -m benchmarks FOLDER other`." in text
    assert text.count("Last pair on 20") == 1
    assert re.search(r"Measured on: cpu .*cores \d+; instruction sets .*torch \d.*", text)
    assert benchmarks.main(typed) == 1
    assert len(measured) == 7  # all is there


def test_a_page_without_a_miss_ends_well(tmp_path, measured):
    assert benchmarks.main([str(tmp_path), "fake/first", "--pairs", "1", "--page", str(tmp_path / "page.md")]) == 0
    assert measured == [("first", 0)]
    assert "| second |  | 0.9 |  | not measured |" in (tmp_path / "page.md").read_text()


def test_a_row_that_is_named_twice_is_measured_once(tmp_path, measured):
    typed = ["fake/first", "fake/first", "--pairs", "1", "--page", str(tmp_path / "page.md")]
    benchmarks.main([str(tmp_path), *typed])
    assert measured == [("first", 0)]


def test_pairs_of_other_conditions_are_not_counted_together(tmp_path, measured, capsys):
    typed = [str(tmp_path), "fake/first", "--pairs", "1", "--page", str(tmp_path / "page.md")]
    benchmarks.main(typed)
    assert benchmarks.main([*typed, "--epochs", "1"]) == 2
    assert "epochs was the rows' own, is 1" in capsys.readouterr().err
    lines = (tmp_path / "fake.jsonl").read_text().replace('"cpu": "', '"cpu": "another ')
    (tmp_path / "fake.jsonl").write_text(lines)
    assert benchmarks.main(typed) == 2
    assert len(measured) == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["none"], "there is no 'none'; there are fake, other"),
        (["fake/third"], "there is no 'fake/third'; there are first, second"),
        (["--pairs", "0"], "`--pairs >= 1` must hold, but got 0"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_measured(tmp_path, measured, capsys, typed, said):
    try:
        code = benchmarks.main([str(tmp_path), *typed])
    except SystemExit as left:
        code = left.code
    assert (code, measured) == (2, [])
    assert said in capsys.readouterr().err


def test_who_is_first_changes_from_pair_to_pair():
    order = [list(in_turn(dict.fromkeys("abc", dict), turn)) for turn in range(4)]
    assert order == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_every_part_can_be_told_before_it_is_measured_and_every_benchmark_is_listed(tmp_path):
    page.write(benchmarks.PARTS, tmp_path, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text().count("Not measured yet") == len(benchmarks.PARTS)
    for part in benchmarks.PARTS.values():
        rows = part.rows(tmp_path, None)
        assert len({row.name for row in rows}) == len(rows) > 0
        assert all(figure.what and not figure.values for row in rows for figure in row.figures([]))
    alone = {
        path.stem for path in PROJECT.glob("benchmarks/[a-z]*.py") if 'if __name__ == "__main__"' in path.read_text()
    }
    assert len(alone) > 3
    assert alone <= set(benchmarks.OTHERS)
    assert all(name in benchmarks.listing() for name in [*benchmarks.PARTS, *benchmarks.OTHERS])


@pytest.mark.parametrize("more", [0, 1])
def test_another_network_is_not_compared(tmp_path, monkeypatch, more):
    monkeypatch.setattr(programs, "arrays_of", lambda task, *, folder: folder)
    monkeypatch.setattr(programs, "ours", lambda *words: {"n_weights": 20_297})
    monkeypatch.setattr(programs, "plain", lambda *_, **__: {"n_weights": 20_297 + 256 + more})
    if more:
        with pytest.raises(RuntimeError, match="by hand it has 20554 weights, and must have 20553"):
            epoch.pair("lstm", "lightning", tmp_path, 0, epochs=1)
    else:
        assert epoch.pair("lstm", "lightning", tmp_path, 0, epochs=1)["ours"] == {"n_weights": 20_297}


@pytest.mark.parametrize(
    ("by_hand", "ours", "said"),
    [
        ([0.90, 0.94], [0.93, 0.96], "within the seeds' noise"),
        ([0.90, 0.92], [0.93, 0.96], "**apart**"),
        ([0.90], [0.96], "one seed says nothing"),
    ],
)
def test_what_both_learned_is_compared_over_seeds(by_hand, ours, said):
    pairs = [
        {"plain": {"accuracy": first}, "ours": {"accuracy": second}}
        for first, second in zip(by_hand, ours, strict=True)
    ]
    assert epoch.learned("x", pairs).note == said


@pytest.mark.slow
def test_the_real_parts_measure(tmp_path):
    rows = ["epoch/lstm_lightning", "epoch/mlp_keras", "start/help", "start/unknown_key"]
    assert set(start.COMMANDS) >= {"help", "unknown_key"}
    code = benchmarks.main([str(tmp_path), *rows, "--pairs", "1", "--epochs", "1", "--page", str(tmp_path / "page.md")])
    assert code in (0, 1)  # how fast it is, is not for a test
    for word in rows:
        name, _, row = word.partition("/")
        (line,) = [
            json.loads(line) for line in Path(tmp_path / f"{name}.jsonl").read_text().splitlines() if row in line
        ]
        assert all(value > 0 for arm in line["pair"].values() for value in arm.values())
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert sum("not measured" not in line for line in lines if line.startswith("| ")) >= 8


def test_the_parity_page_is_what_its_command_writes_of_its_rows():
    """By a hand that changes a row's key, a heading or a column, the command would take rows for missing."""
    page = parity_table.PAGE.read_text(encoding="utf-8")
    rows = {name: parity_table.kept(page, part) for name, part in parity_table.PARTS.items()}
    assert [list(made) for made in rows.values()] == [parity_table.KEYS] * 2
    written = parity_table.written(rows, {"cpu": "", "python": ""})
    assert written.partition("\n## ")[2] == page.partition("\n## ")[2]
    del rows["keras"]["lstm", "adam"]
    again = parity_table.written(rows, {"cpu": "", "python": ""})
    assert parity_table.kept(again, parity_table.PARTS["keras"]) == rows["keras"]


def test_a_line_of_task_certificates_tells_each_pair_and_what_was_not_made():
    def certificate(*, passed):
        row = {"level": "C1", "precision": "float64", "what": "logits", "bound": 1e-12, "gates": True, "where": ""}
        rows = [row | {"measured": 2e-16}, row | {"measured": 1.0, "precision": "float32", "gates": False}]
        rows += [row | {"level": level, "measured": 3e-15} for level in ("C2", "C3", "C4")]
        rows += [row | {"level": "C4", "what": "predictions flipped after it, 3 of 9 left open", "measured": 0.0}]
        return {"passed": passed, "rows": [each | {"passed": True} for each in rows]}

    pairs = task_certificates.PAIRS
    made = {pairs[0]: certificate(passed=True), pairs[2]: certificate(passed=False)}
    first, second = "2e-16 | 3e-15 | 3e-15 | 3e-15 | 0 * | certified", " |  |  |  |  | not made"
    line = task_certificates.line("xor", made, commit="abc")
    assert line == f"| `xor` | {first} | {second} | **not certified** | abc |"
