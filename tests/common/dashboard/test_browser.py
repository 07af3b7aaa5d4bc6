"""The page in Chromium: what is drawn, what the controls do, and that nothing is wrong."""

import time

import pandas as pd
import plotly.graph_objects as go
import pytest

from common.dashboard.charts import Chart, ChartGroup
from common.dashboard.page import Content, write_page
from common.dashboard.runs import Problems, read_runs
from common.evaluation.media_files import MediaFile, append_media
from tests.common.dashboard.conftest import HOSTILE
from tests.common.dashboard.test_charts import CELLS

DRAWN = "return document.querySelectorAll('.curve .js-plotly-plot .scatterlayer .trace').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory, write_run):
    """A page of three runs, with imputed cells and a chart of WebGL."""
    root = tmp_path_factory.mktemp("runs")
    folders = [
        write_run(root, "a", nll=90.0, started="2026-01-01"),
        write_run(root, "b", nll=100.5, seed=1, offset=9.0, started="2026-01-02"),
        write_run(root, "c", nll=80.0, name=HOSTILE.replace("/", ""), epochs=(2, 4), started="2026-01-03"),
    ]
    pd.DataFrame(CELLS).to_csv(folders[0] / "samples/test-cells.csv", index=False)
    append_media(folders[0] / "samples", [MediaFile("test-cells.csv", "test", 3, 30, "table", "cells")])
    coordinates = Chart.of("coordinates", go.Figure(go.Parcoords(dimensions=[{"label": "a", "values": [1, 2]}])))
    problems = Problems()
    content = Content("three runs", read_runs(folders, problems), charts=[ChartGroup("A sweep", [coordinates])])
    return write_page(content, root / "out", problems)


# Undoes what a test has done to the page, which takes seconds to open anew.
RESTORE = """
for (const chip of document.querySelectorAll(".chip[aria-pressed=false]")) chip.click();
const boxes = "#logarithmic:checked, .choices input[value=lr-AdamW]:checked";
for (const box of document.querySelectorAll(boxes)) box.click();
document.querySelector("input[value=step]").click();
for (const [selector, value] of [["#smoothing", 0], [".filter input", ""], [".slider input", 99]]) {
  for (const input of document.querySelectorAll(selector)) {
    input.value = value;
    input.dispatchEvent(new Event("input", {bubbles: true}));
  }
}
scrollTo(0, 0);
"""


@pytest.fixture(scope="module")
def loaded(browser, page):
    """The browser with the page."""
    size(browser, 1280)
    browser.get_log("browser")
    browser.get(page.as_uri())
    wait(browser, f"{DRAWN} >= 9")
    return browser


@pytest.fixture
def opened(loaded):
    """The browser with the page as it was opened, 1280 pixels wide; whatever its console says is an error."""
    yield loaded
    size(loaded, 1280)
    loaded.execute_script(RESTORE)
    said = [entry for entry in loaded.get_log("browser") if entry["source"] != "rendering"]  # of WebGL without a GPU
    assert said == []
    assert loaded.execute_script("return window.broken") is None


def size(browser, width, dark=False, media=""):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})


def wait(browser, condition, seconds=10):
    """Waits until a script returns a true value, and returns it."""
    end = time.monotonic() + seconds
    while not (value := browser.execute_script(condition)):
        assert time.monotonic() < end, condition
        time.sleep(0.02)
    return value


def paths(browser, metric="val/elbo"):
    """The drawn lines of a chart."""
    script = """return [...document.querySelectorAll(`[data-metric='${arguments[0]}'] .js-line`)]
        .map(path => path.getAttribute('d'))"""
    return browser.execute_script(script, metric)


def choose(browser, selector, value=None):
    """Clicks an element, or sets the value of a slider or a field as a person would."""
    script = """const element = document.querySelector(arguments[0]);
        if (arguments[1] === null) return element.click();
        element.value = arguments[1];
        element.dispatchEvent(new Event("input", {bubbles: true}));"""
    browser.execute_script(script, selector, value)


def test_ten_runs_are_open_within_three_seconds(browser, ten_runs):
    ended = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
    milliseconds = []
    while len(milliseconds) < 3 and min(milliseconds, default=3000) >= 3000:  # the machine may be busy
        browser.get(ten_runs.as_uri())
        milliseconds.append(wait(browser, ended))
    assert min(milliseconds) < 3000
    assert browser.execute_script("return document.querySelectorAll('[data-film=noise] img').length") == 10


def test_every_curve_is_drawn(opened):
    assert opened.execute_script(DRAWN) == 9  # three metrics of three runs
    assert len(paths(opened)) == 3
    assert opened.execute_script("return document.title") == "three runs"


def test_a_log_scale_redraws_and_shows_negative_values_with_their_sign_changed(opened):
    before = paths(opened)
    choose(opened, "#logarithmic")
    after = wait(
        opened, "return document.querySelector('[data-metric=\"val/elbo\"] .plot').layout.yaxis.type === 'log'"
    )
    assert after
    assert paths(opened) != before
    values = opened.execute_script("return [...document.querySelector('[data-metric=\"val/elbo\"] .plot').data[0].y]")
    assert values == [150, 75, 50]
    note = "return document.querySelector('[data-metric=\"val/elbo\"] .caption').textContent"
    assert opened.execute_script(note) == "Log scale of the value with its sign changed: lower is higher."


def test_smoothing_draws_an_average_over_the_raw_values_which_stay_faint(opened):
    choose(opened, "#smoothing", 0.5)
    traces = opened.execute_script(
        "return document.querySelector('[data-metric=\"train/loss\"] .plot').data.map(t => [t.opacity, [...t.y]])"
    )
    assert [opacity for opacity, _ in traces] == [0.25, 1] * 3
    assert traces[0][1] == [200, 100, 66.6667]
    # (y1 / 4 + y2 / 2) / (3 / 4), (y1 / 8 + y2 / 4 + y3 / 2) / (7 / 8)
    assert traces[1][1] == pytest.approx([200, 400 / 3, (25 + 25 + 66.6667 / 2) / (7 / 8)])
    assert len(paths(opened, "train/loss")) == 6


def test_the_axis_is_that_of_steps_or_of_epochs_and_other_metrics_can_be_chosen(opened):
    x = "return [...document.querySelector('[data-metric=\"val/elbo\"] .plot').data[0].x]"
    assert opened.execute_script(x) == [9, 19, 29]
    choose(opened, "input[value=epoch]")
    assert opened.execute_script(x) == [0, 1, 2]
    assert len(paths(opened, "lr-AdamW")) == 0
    choose(opened, ".choices input[value='lr-AdamW']")
    assert len(paths(opened, "lr-AdamW")) == 3


def test_a_run_is_switched_off_everywhere_and_on_again(opened):
    shown = "return [...document.querySelectorAll('[data-run=\"1\"]')].filter(e => e.checkVisibility()).length"
    before = opened.execute_script(shown)
    choose(opened, "[data-toggle='1']")
    assert (len(paths(opened)), opened.execute_script(shown)) == (2, 0)
    choose(opened, "[data-toggle='1']")
    assert (len(paths(opened)), opened.execute_script(shown)) == (3, before)
    assert before > 5


def test_the_slider_shows_each_run_at_the_chosen_time_or_before_it(opened):
    visible = """return [...document.querySelectorAll("[data-film=conditions] img")]
        .filter(image => image.checkVisibility()).map(image => image.alt)"""
    assert all("test" in alt for alt in opened.execute_script(visible))
    choose(opened, "[data-film=conditions] .slider input", 2)  # epochs 1, 2, 3, 4, then the test
    alts = opened.execute_script(visible)
    assert [alt.split(", ")[1] for alt in alts] == ["epoch 3", "epoch 3", "epoch 2"]
    assert (
        opened.execute_script("return document.querySelector('[data-film=conditions] output').textContent") == "epoch 3"
    )
    decoded = """return [...document.querySelectorAll('[data-film=conditions] img')]
        .every(image => image.complete && image.naturalWidth === 200)"""
    assert wait(opened, decoded)


def test_the_film_plays_to_its_end(opened):
    choose(opened, "[data-film=conditions] .play")
    slider = "document.querySelector('[data-film=conditions] .slider input').value"
    assert opened.execute_script(f"return {slider}") == "0"
    wait(opened, f"return {slider} === '4'")


def test_a_sound_plays(opened):
    sound = "document.querySelector('.film.sound .frame:not([hidden]) audio')"
    opened.execute_script(f"{sound}.play()")
    wait(opened, f"return {sound}.readyState >= 2 && {sound}.currentTime > 0.1")
    assert opened.execute_script(f"return {sound}.duration") == pytest.approx(1.0, abs=0.1)
    assert opened.execute_script(f"return {sound}.error") is None


def test_figures_are_sorted_and_filtered_with_the_keyboard(opened):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened.execute_script("document.getElementById('turn').focus()")
    opened.switch_to.active_element.send_keys(Keys.ENTER)
    assert opened.execute_script("return document.getElementById('turn').getAttribute('aria-pressed')") == "true"
    grid = next(g for g in opened.find_elements(By.CSS_SELECTOR, "#figures .turned") if g.is_displayed())
    heading = grid.find_elements(By.CSS_SELECTOR, "thead th")[1]
    assert heading.text.startswith("nll")
    search = grid.find_element(By.CSS_SELECTOR, "input")
    opened.execute_script("arguments[0].focus()", search)
    for _ in range(3):  # the box that scrolls, the first heading, the second
        opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.execute_script("return document.activeElement.parentElement") == heading

    def column():
        return [
            row.find_elements(By.CSS_SELECTOR, "td")[0].text for row in grid.find_elements(By.CSS_SELECTOR, "tbody tr")
        ]

    opened.switch_to.active_element.send_keys(Keys.ENTER)
    assert (heading.get_attribute("aria-sort"), column()) == ("ascending", ["80.0 ± 1.2", "90.0 ± 1.2", "100.5 ± 1.2"])
    opened.switch_to.active_element.send_keys(Keys.SPACE)
    assert (heading.get_attribute("aria-sort"), column()) == ("descending", ["100.5 ± 1.2", "90.0 ± 1.2", "80.0 ± 1.2"])
    search.send_keys("seed 1")
    shown = [row.text for row in grid.find_elements(By.CSS_SELECTOR, "tbody tr") if row.is_displayed()]
    assert len(shown) == 1
    assert shown[0].startswith("digits · seed 1")
    assert grid.find_element(By.CSS_SELECTOR, ".count").text == "1 of 3 rows"


def test_nothing_is_wider_than_a_phone(opened):
    size(opened, 390)
    opened.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    wait(opened, "return document.querySelector('.plot svg').getBoundingClientRect().width <= 390")
    assert opened.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    outside = """return [...document.querySelectorAll('main > section, figure, .grid, .film, h1, .toolbar')]
        .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > 390).length"""
    assert opened.execute_script(outside) == 0
    fixed = "return getComputedStyle(document.querySelector('#figures tbody th')).position"
    assert opened.execute_script(fixed) == "sticky"


def test_charts_follow_light_and_dark(opened):
    ink = "return document.querySelector('.curve .plot').layout.font.color"
    light = opened.execute_script(ink)
    choose(opened, "#theme")
    assert opened.execute_script(ink) != light
    assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 26)"
    choose(opened, "#theme")
    assert opened.execute_script(ink) == light
    size(opened, 1280, dark=True)
    choose(opened, "#theme")
    choose(opened, "#theme")
    assert opened.execute_script("return document.documentElement.dataset.theme") in ("light", "dark")


def test_imputed_cells_and_charts_of_webgl_are_drawn_when_they_come_into_view(opened):
    opened.execute_script("document.querySelector('#charts').scrollIntoView()")
    assert wait(opened, "return document.querySelectorAll('#charts .scatterlayer .errorbar').length === 3")
    assert wait(opened, "return document.querySelectorAll('#charts .parcoords').length") == 1


def test_paper_has_no_controls_and_everything_open(opened):
    opened.execute_script("dispatchEvent(new Event('beforeprint'))")
    size(opened, 800, media="print")
    controls = "return [...document.querySelectorAll('.controls, audio')].filter(e => e.checkVisibility()).length"
    assert opened.execute_script(controls) == 0
    assert opened.execute_script("return [...document.querySelectorAll('details')].every(part => part.open)")
    widths = "return [...document.querySelectorAll('.curve .main-svg')].map(e => e.getBoundingClientRect().width)"
    assert max(opened.execute_script(widths)) <= 400
    opened.execute_script("dispatchEvent(new Event('afterprint'))")
