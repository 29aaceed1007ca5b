"""A real browser opens the report and MLflow's dashboard: nothing leaves the page, everything can be read."""

import shutil

import pytest
from commands import command

from benchmarks import dashboard

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt install chromium"),
]
COMMAND = ["experiment=digits_mlp", "seed=0,1,2", "training.epochs=3", "regularization.dropout=0,0.2,0.4"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
WIDTHS = (1400, 400)


@pytest.fixture(scope="module")
def folder(local, tmp_path_factory, cache, empty_database):
    """A finished sweep of the real command, in a folder of its own."""
    where = tmp_path_factory.mktemp("browser")
    shutil.copy(empty_database, where / "mlflow.db")
    done = command(*COMMAND, cwd=where, cache=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    return where


@pytest.fixture(scope="module")
def report(folder):
    (path,) = folder.glob("outputs/*/*/report/report.html")
    return path


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, report):
    """The report, open; requests that leave the page and errors are kept."""
    opened = browser.new_page(viewport={"width": 1400, "height": 1000})
    opened.requested, opened.errors = [], []
    opened.on("request", lambda request: opened.requested.append(request.url))
    opened.on("console", lambda message: opened.errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.goto(report.as_uri())
    yield opened
    opened.close()


def test_nothing_leaves_the_page_and_nothing_fails(page, report):
    page.wait_for_timeout(300)
    assert page.requested == [report.as_uri()]
    assert page.errors == []


def test_the_report_holds_verdict_table_and_figures(page):
    assert "against" in page.inner_text(".verdicts")
    assert page.locator("table").count() >= 5
    assert page.locator("figure svg").count() >= 5
    assert page.locator("figure svg title").count() == page.locator("figure svg").count()


def test_ids_are_unique(page):
    ids = page.evaluate("Array.from(document.querySelectorAll('[id]'), (each) => each.id)")
    assert len(ids) > 50
    assert len(ids) == len(set(ids))


def test_headings_go_down_by_one(page):
    levels = page.evaluate("Array.from(document.querySelectorAll('h1,h2,h3,h4'), (each) => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_violation(page, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


def test_no_width_scrolls_the_whole_page(page):
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_on_a_head_sorts_the_table(page):
    table = page.locator("#results").locator("xpath=ancestor::section").locator("table").first
    before = table.locator("tbody th").all_inner_texts()
    table.locator("thead button").nth(3).click()
    rising = [float(text.split()[0]) for text in table.locator("tbody td:nth-child(4)").all_inner_texts()]
    assert rising == sorted(rising)
    assert sorted(table.locator("tbody th").all_inner_texts()) == sorted(before)


def test_print_opens_what_is_folded(page, tmp_path):
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.pdf(path=tmp_path / "report.pdf", format="A4", print_background=True).startswith(b"%PDF")


def test_a_script_in_the_page_that_is_not_ours_does_not_run(page, report, browser, tmp_path):
    hostile = tmp_path / "hostile.html"
    hostile.write_text(report.read_text().replace("</main>", "<script>document.title = 'owned'</script></main>"))
    other = browser.new_page()
    other.goto(hostile.as_uri())
    assert other.title() != "owned"
    other.close()


@pytest.fixture(scope="module")
def address(folder):
    with dashboard.running(folder) as found:
        yield found


def test_the_dashboard_shows_sweep_note_report_and_grouped_runs(address, browser, folder):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("digits_mlp")
    (sweep,) = client.search_runs([experiment.experiment_id], "tags.`tandem.kind` = 'sweep'")
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    runs = f"{address}/#/experiments/{experiment.experiment_id}/runs"
    page.goto(runs)
    page.get_by_text("sweep of 18 runs").first.wait_for(timeout=60_000)
    page.goto(f"{address}/#/experiments/{experiment.experiment_id}/runs/{sweep.info.run_id}")
    page.get_by_text("comparisons of test accuracy").first.wait_for(timeout=60_000)  # the note, with the verdicts
    page.goto(
        f"{address}/#/experiments/{experiment.experiment_id}/runs/{sweep.info.run_id}/artifacts/report/report.html"
    )
    frame = page.frame_locator("iframe").first
    frame.locator(".verdicts").wait_for(timeout=60_000)
    assert frame.locator("figure svg").count() >= 5
    assert frame.locator("table").count() >= 5
    page.close()
