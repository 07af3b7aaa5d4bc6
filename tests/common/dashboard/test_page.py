import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from common.dashboard.charts import Chart, ChartGroup
from common.dashboard.page import Content, render
from common.dashboard.runs import Problems, read_runs
from common.evaluation.media_files import MediaFile, append_media
from tests.common.dashboard.conftest import HOSTILE

MB = 1_000_000


class Parsed(HTMLParser):
    """The start tags of a page with their attributes, its texts outside of scripts, and its scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.scripts, self.within = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.within = tag
            self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag):
        self.within = "" if tag == self.within else self.within

    def handle_data(self, data):
        if self.within == "script":
            self.scripts[-1] += data
        elif not self.within:
            self.texts.append(data)


def policy_of(page):
    """The rules of a page's Content-Security-Policy."""
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    return dict(rule.strip().split(" ", 1) for rule in policy.split(";"))


@pytest.fixture
def hostile_page(tmp_path, write_run):
    """The page of a run whose every text is an injection."""
    folder = write_run(tmp_path, "a", name="digits", git=HOSTILE)
    results = json.loads((folder / "results.json").read_text())
    results["run"]["name"] = HOSTILE
    results["metrics"][f"test/{HOSTILE}"] = {"value": 1, "stderr": None, "n": 1, "unit": HOSTILE, "estimator": HOSTILE}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "metrics.csv").write_text('epoch,step,"</script><script>alert(1)</script>"\n0,1,2\n')
    (folder / "samples/test-rewritings.csv").write_text('"<script>alert(2)</script>"\n"<img src=x onerror=alert(3)>"\n')
    append_media(folder / "samples", [MediaFile("test-conditions.png", "test", 3, 30, "picture", HOSTILE, HOSTILE)])
    (folder / "samples/epoch-0001-conditions.png").write_text(HOSTILE)
    problems = Problems()
    runs = read_runs([folder], problems)
    chart = ChartGroup(
        HOSTILE, [Chart(HOSTILE, {"data": [{"type": "bar", "x": ["</script>"], "y": [1]}], "layout": {}}, HOSTILE)]
    )
    return render(Content(HOSTILE, runs, charts=[chart], notes=[HOSTILE]), problems)


def test_no_text_of_a_run_becomes_a_part_of_the_page(hostile_page):
    page = Parsed(hostile_page)
    assert [attributes.get("type") for tag, attributes in page.tags if tag == "script"] == [
        "application/json",
        "text/plain",
        None,
        None,
    ]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not any(attributes.get("src", "data:").partition(":")[0] != "data" for _, attributes in page.tags)
    text = "".join(page.texts)
    assert text.count(HOSTILE) >= 10
    assert "<img src=x onerror=alert(3)>" in text
    assert json.loads(page.scripts[0])["runs"][0]["label"] == HOSTILE


def test_the_policy_forbids_the_network_and_allows_the_pages_own_scripts_alone(hostile_page):
    page = Parsed(hostile_page)
    rules = policy_of(page)
    assert rules["default-src"] == "'none'"
    assert not re.search(r"https?:|\*", " ".join(rules.values()))
    assert "unsafe" not in rules["script-src"]
    own = {
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in page.scripts[1:]
    }
    assert set(rules["script-src"].split()) == own


def test_only_a_chart_that_needs_webgl_lets_plotly_compile():
    chart = Chart("coordinates", {"data": [{"type": "parcoords", "dimensions": []}], "layout": {}})
    page = Parsed(render(Content("a sweep", charts=[ChartGroup("coordinates", [chart])]), Problems()))
    assert "'unsafe-eval'" in policy_of(page)["script-src"]


def test_curves_and_figures_of_the_page_are_those_of_the_run(tmp_path, write_run):
    runs = read_runs([write_run(tmp_path, "a", nll=88.5), write_run(tmp_path, "b", seed=1, offset=5.0)], Problems())
    page = Parsed(render(Content("two", runs, directions={"test/nll": "lower"}), Problems()))
    data = json.loads(page.scripts[0])
    curves = {curve["metric"]: curve["lines"] for curve in data["curves"]}
    assert list(curves) == ["val/elbo", "val/kl", "train/loss", "lr-AdamW"]
    assert curves["val/elbo"][1] == {"run": 1, "step": [9, 19, 29], "epoch": [0, 1, 2], "value": [-155, -80, -55]}
    assert {"88.5 ± 1.2", "90.0 ± 1.2", "12,345.6 ± 2.0"} <= set(page.texts)
    labels = [a["aria-label"] for tag, a in page.tags if a.get("class") == "plot"]
    assert labels[0] == "val/elbo in training; last values: digits · seed 0 -50, digits · seed 1 -55"
    pictures = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert "digits 0 to 9 at test, test, digits · seed 1" in pictures
    assert all(pictures)


def test_what_is_missing_and_what_is_left_out_is_on_the_page(tmp_path, write_run):
    folder = write_run(tmp_path, "a")
    (folder / "samples/test-conditions.png").write_bytes(b"no picture")
    (folder / "metrics.csv").write_text("step,loss\n" + "".join(f"{n},{n % 7}\n" for n in range(30_000)))
    problems = Problems()
    text = "".join(Parsed(render(Content("one", read_runs([folder], problems)), problems)).texts)
    assert "1 thing is missing" in text
    assert f"{folder / 'samples/test-conditions.png'}: UnidentifiedImageError" in text
    assert "digits: points of curves, of which at most 1000 of 30,000 are drawn" in text


def test_ten_runs_with_many_curves_sounds_and_large_pictures_stay_below_20_mb(ten_runs):
    assert 5 * MB < ten_runs.stat().st_size < 20 * MB
    text = "".join(Parsed(ten_runs.read_text()).texts)
    assert "things are missing" not in text
    assert "sharpness of its pictures" in text
