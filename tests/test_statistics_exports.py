"""Nothing stands unread in experiments/statistics/, but for what the list below names."""

import ast
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
UNREAD = {  # a claim over many tasks will read them; a name leaves with its first reader, and none joins
    "Aggregate", "MINIMUM_CELLS", "PerformanceProfile", "interquartile_mean", "normalized", "optimality_gap",
    "performance_profile", "pooled_interval", "probability_of_improvement", "probability_of_improvement_interval",
    "probability_of_superiority", "PairwiseRank", "RankComparison", "TooFewTasks", "cliques", "compare_over_tasks",
    "task_means", "tasks_needed", "Friedman", "SignedRank", "friedman", "nemenyi_critical_difference", "oriented",
    "rank_difference_error", "ranks_of", "signed_rank", "SurvivalCurve", "TargetTimes", "algoperf_scores",
    "dolan_more_profile", "kaplan_meier", "log_rank", "median_best", "restricted_mean",
    "restricted_mean_difference", "time_ratios", "time_to_target",
}  # fmt: skip


def parsed(folder: Path) -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in sorted(folder.glob("*.py"))]


def definitions(room: Path) -> dict[str, set[str]]:
    """Name defined at the top of a module of the room -> names that its definition mentions."""
    found: dict[str, set[str]] = {}
    for module in parsed(room):
        for node in module.body:
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                    names = {name}
                case ast.Assign(targets=targets):
                    names = {leaf.id for each in targets for leaf in ast.walk(each) if isinstance(leaf, ast.Name)}
                case _:
                    continue
            mentioned = {leaf.id for leaf in ast.walk(node) if isinstance(leaf, ast.Name)}
            found |= {name: found.get(name, set()) | mentioned for name in names}
    return found


def read_outside(root: Path) -> set[str]:
    """Names that modules outside the room take from it."""
    found = set()
    for folder in {path.parent for path in root.glob("experiments/**/*.py")} - {root / "experiments/statistics"}:
        for node in (leaf for module in parsed(folder) for leaf in ast.walk(module)):
            match node:
                case ast.ImportFrom(module=str(module)) if module.startswith("experiments.statistics"):
                    found |= {alias.name for alias in node.names}
                case ast.Attribute(value=ast.Name(id="statistics"), attr=name):
                    found.add(name)
    return found


def reached(names: set[str], mentions: dict[str, set[str]]) -> set[str]:
    """The definitions that `names` are or, through one another, need."""
    found: set[str] = set()
    waiting = names & mentions.keys()
    while waiting:
        found |= waiting
        waiting = set.union(*(mentions[name] for name in waiting)) & mentions.keys() - found
    return found


def unread(root: Path) -> set[str]:
    """Definitions of the room, private ones too, that nothing outside it reads."""
    mentions = definitions(root / "experiments/statistics")
    return mentions.keys() - reached(read_outside(root), mentions)


def test_everything_but_the_listed_names_has_a_reader():
    found = unread(PROJECT)
    assert {name for name in found if not name.startswith("_")} == UNREAD  # a listed name that is read or gone: red
    assert found == found & reached(UNREAD, definitions(PROJECT / "experiments/statistics"))  # private ones serve it


def test_the_package_exports_what_is_read_of_it_and_nothing_else():
    module = ast.parse((PROJECT / "experiments/statistics/__init__.py").read_text())
    names = {alias.asname for node in module.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert len(names) > 10
    assert names <= read_outside(PROJECT)


def test_a_name_without_a_reader_is_seen(tmp_path):
    room = tmp_path / "experiments/statistics"
    room.mkdir(parents=True)
    (room / "means.py").write_text("LEVEL = 1\ndef mean(): return _sum(LEVEL)\ndef _sum(): ...\ndef median(): ...\n")
    (tmp_path / "experiments/page.py").write_text("from experiments import statistics\nstatistics.mean()\n")
    assert unread(tmp_path) == {"median"}
    (tmp_path / "experiments/page.py").write_text("from experiments.statistics.means import median\n")
    assert unread(tmp_path) == {"LEVEL", "mean", "_sum"}
