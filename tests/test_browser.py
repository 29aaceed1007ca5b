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
WIDTHS = (1400, 900, 400)


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
    opened.set_default_timeout(300_000)  # milliseconds; Playwright's own 30 s are few on a busy machine
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


def test_the_report_holds_verdict_table_and_figures(page, report):
    assert "against" in page.inner_text(".verdicts")
    assert str(report.parents[3]) not in page.content()  # no command, no address says where it lay
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


def test_settings_and_commands_are_seen_without_a_click(page):
    shown = page.locator("section[aria-labelledby=settings]")
    table = shown.locator("table").first
    assert table.is_visible()
    heads = table.locator("thead th").all_inner_texts()
    assert heads == ["arm", "dropout", "learning rate", "batch size", "epochs", "parameters"]
    cells = table.locator("tbody tr").first.locator("td").all_inner_texts()
    assert cells == ["0", "0.001", "32", "3", "6570"]  # 64 * 64 + 64, 64 * 32 + 32, 32 * 10 + 10
    assert shown.locator("details table").first.is_hidden()
    commands = [each for each in shown.locator("code.command").all() if each.is_visible()]
    assert len(commands) == 4
    assert all(each.inner_text().startswith("python run.py experiment=digits_mlp seed=0") for each in commands)
    shown.locator("dl.commands button.copy").first.click()
    assert shown.get_by_text("copied", exact=True).count() == 1


def test_runs_lead_to_mlflow(page):
    links = page.locator("section[aria-labelledby=runs] a[href*='/#/experiments/']")
    assert links.count() == 18
    assert links.first.get_attribute("href").endswith(f"/runs/{links.first.inner_text()}?workflowType=machine_learning")
    assert "mlflow ui" in page.inner_text("section[aria-labelledby=runs]")


def point_at_last_mark(page, series):
    """Move to the last mark of a series of the validation loss; what is then said."""
    page.locator("#figure-val-loss svg").scroll_into_view_if_needed()
    place = page.evaluate(
        """(series) => {
          const group = document.querySelector(`#figure-val-loss [id^="val-loss-mean-${series}-"]`);
          const use = Array.from(group.querySelectorAll("use")).pop();
          const point = new DOMPoint(use.getAttribute("x"), use.getAttribute("y"));
          const place = point.matrixTransform(use.ownerSVGElement.getScreenCTM());
          return [place.x - 1, place.y];
        }""",
        series,
    )
    page.mouse.move(*place)
    return page.locator(".tip")


def test_pointing_at_a_curve_says_its_values_and_asks_nobody(page):
    row = page.locator("#figure-val-loss details table tbody tr").first
    expected = float(row.locator("td").last.text_content().split()[0])  # the mean after the last epoch
    before = list(page.requested)
    said = point_at_last_mark(page, "0-0").inner_text().splitlines()
    assert said[0] == "optimizer step: 123"  # 41 steps an epoch, 3 epochs
    assert said[1].split()[0] == "keras"
    assert float(said[1].split()[1]) == pytest.approx(expected, abs=1e-4)
    assert page.requested == before
    page.mouse.move(5, 5)
    assert page.locator(".tip").is_hidden()


def test_the_other_scale_moves_the_marks_and_not_the_values(page):
    before = point_at_last_mark(page, "0-0").inner_text()
    assert "keras" in before
    path = page.locator("[id^=val-loss-mean-0-0-] > path")
    drawn = path.get_attribute("d")
    scale = page.locator("figure#figure-val-loss button.scale")
    assert scale.inner_text() == "logarithmic scale"
    scale.click()
    assert path.get_attribute("d") != drawn
    assert point_at_last_mark(page, "0-0").inner_text().split()[:5] == before.split()[:5]
    assert page.locator("#figure-val-loss .ticks text").count() >= 2
    scale.click()
    assert page.locator("#figure-val-loss .ticks text").count() == 0
    assert page.locator("button.scale").count() == 2  # of val/loss and train/loss, not of an accuracy


def test_a_click_or_a_key_on_the_legend_hides_an_arm(page):
    key = page.get_by_role("button", name="keras", exact=True).first
    mean, other = (page.locator(f"[id^=val-loss-mean-0-{number}-]") for number in (0, 1))
    key.click()
    assert (mean.is_visible(), other.is_visible()) == (False, True)
    assert key.get_attribute("aria-pressed") == "false"
    said = point_at_last_mark(page, "0-1").inner_text()
    assert "lightning" in said
    assert "keras" not in said
    key.press("Enter")
    assert (mean.is_visible(), other.is_visible()) == (True, True)


def test_dots_of_a_pair_say_their_seed(page):
    dot = page.locator("[id^=paired-differences-mark-0-0-] use").first
    dot.scroll_into_view_if_needed()
    box = dot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator(".tip").inner_text().startswith("seed ")


def test_the_first_column_stays_while_a_table_scrolls(page):
    page.set_viewport_size({"width": 400, "height": 900})
    wide = page.locator("section[aria-labelledby=results] .wide").first
    assert wide.evaluate("(each) => each.scrollWidth > each.clientWidth + 100")
    first = wide.locator("tbody th").first
    before = first.bounding_box()
    wide.evaluate("(each) => { each.scrollLeft = 100; }")
    assert first.bounding_box() == before
    assert 100 < before["width"] <= 0.45 * wide.bounding_box()["width"]
    page.set_viewport_size({"width": 1400, "height": 900})
    assert wide.bounding_box()["width"] > 64 * 16  # pixels: wider than running text


@pytest.mark.parametrize("section", ["results", "settings", "runs"])
def test_the_title_of_a_table_stays_while_it_scrolls(page, section):
    page.set_viewport_size({"width": 400, "height": 900})
    wide = page.locator(f"section[aria-labelledby={section}] .wide").first
    assert wide.evaluate("(each) => { each.scrollLeft = 0; return each.scrollWidth > each.clientWidth + 100; }")
    title = wide.locator("caption span")
    before = title.bounding_box()
    assert before["x"] + before["width"] <= 400
    wide.evaluate("(each) => { each.scrollLeft = 100; }")
    assert title.bounding_box() == before


def test_figures_are_readable_on_a_telephone(page):
    page.set_viewport_size({"width": 400, "height": 900})
    card = page.locator("#figure-val-loss .card")
    assert card.evaluate("(each) => each.scrollWidth > each.clientWidth")
    text = card.locator("[id*=xtick] text").first
    assert text.bounding_box()["height"] >= 9  # pixels


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
    page.get_by_text("sweep of 18 runs").first.wait_for(timeout=300_000)
    page.goto(f"{address}/#/experiments/{experiment.experiment_id}/runs/{sweep.info.run_id}")
    page.get_by_text("Best of 3").first.wait_for(timeout=300_000)  # the note, with the verdicts
    page.goto(
        f"{address}/#/experiments/{experiment.experiment_id}/runs/{sweep.info.run_id}/artifacts/report/report.html"
    )
    frame = page.frame_locator("iframe").first
    frame.locator(".verdicts").wait_for(timeout=300_000)
    assert frame.locator("figure svg").count() >= 5
    assert frame.locator("table").count() >= 5
    page.close()
