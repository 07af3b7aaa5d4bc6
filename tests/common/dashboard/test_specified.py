import json
from pathlib import Path

import pytest

from common.comparison.results import TableResults
from common.comparison.specification import read_table
from common.dashboard.specified import study_section, table_section


def test_a_table_has_the_figures_and_marks_of_compare_show_and_knows_its_runs():
    table, results = (
        read_table(Path("configs/tables/mnist.yaml")),
        TableResults.read(Path("docs/tables/mnist.quick.json")),
    )
    section = table_section(table, results)
    (grid,) = section.grids
    column = [cell.text for cell in grid.header].index("NLL ↓")
    marked = {row.cells[0].text for row in grid.rows if row.cells[column].best}
    assert marked == set(results.best["test/nll"])
    values = {row.cells[0].text: row.cells[column].order for row in grid.rows}
    assert values["CVAE"] == round(results.rows["CVAE"].figures["test/nll"].mean, 2)
    assert section.titles[results.rows["CVAE"].runs[0]["id"]] == "CVAE"


@pytest.mark.parametrize("path", sorted(Path("docs/studies").glob("*.json")), ids=lambda path: path.stem)
def test_every_study_of_the_suite_has_charts_with_its_figures(path):
    record, section = json.loads(path.read_text()), study_section(path)
    drawn = section.charts[0].figure["data"][0]
    if record["kind"] == "conditions":
        assert drawn["x"] == [gain["mean"] for gain in record["gains"].values()]
        low = [gain["low"] for gain in record["gains"].values()]
        assert [
            x - below for x, below in zip(drawn["x"], drawn["error_x"]["arrayminus"], strict=True)
        ] == pytest.approx(low)
    elif record["kind"] == "data":
        rows = record["results"]["rows"].values()
        assert drawn["y"] == pytest.approx([row["figures"]["test/nll"]["values"][0] for row in rows if row["figures"]])
    else:
        assert drawn["y"] == [cost["parameters"] / record["costs"][0]["parameters"] for cost in record["costs"]]
        assert section.grids[0].rows[0].cells[1].order == record["costs"][0]["parameters"]


def test_a_missing_or_damaged_study_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"there is no study docs/studies/mine.json; in docs/studies: complexity"):
        study_section(Path("docs/studies/mine.json"))
    (tmp_path / "a.json").write_text('{"kind": "data"}')
    with pytest.raises(ValueError, match=r"a.json is damaged \(KeyError: 'study'\): run the study again"):
        study_section(tmp_path / "a.json")
