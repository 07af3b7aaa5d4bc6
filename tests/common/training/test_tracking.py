import csv
import re
import subprocess

from common.training.tracking import MetricsCSV, code_difference, config_hash, git_revision


def test_the_configuration_hash_ignores_where_a_run_lies_and_its_seed_alone():
    config = {"model": {"latent_dim": 4}, "run": {"name": "a"}, "wandb": {}, "seed_everything": 0}
    assert config_hash(config) == config_hash({**config, "run": {"name": "b"}, "seed_everything": 7})
    assert config_hash(config) != config_hash({**config, "model": {"latent_dim": 5}})


def test_metrics_are_added_to_a_file_that_is_there(tmp_path):
    for part in ({"train/loss": 3.0}, {"test/nll": 2.0}):
        logger = MetricsCSV(tmp_path)
        logger.log_metrics(part, step=1)
        logger.finalize("success")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train/loss"] for row in rows] == ["3.0", ""]
    assert [row["test/nll"] for row in rows] == ["", "2.0"]


def test_the_revision_is_dirty_where_code_has_changed_and_not_where_tables_were_written(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    monkeypatch.chdir(tmp_path)
    assert git_revision() == "unknown"
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "README.md", "docs/table.json"):
        (tmp_path / name).write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        git(*words)
    clean = git_revision()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "README.md").write_text("2")
    (tmp_path / "docs" / "table.json").write_text("2")
    assert git_revision() == clean
    assert code_difference() == ""
    monkeypatch.chdir(tmp_path / "docs")
    (tmp_path / "code.py").write_text("2")
    assert git_revision() == f"{clean}-dirty"
    assert [line for line in code_difference().splitlines() if line[:1] in "+-"][2:] == ["-1", "+2"]
