import pytest

from common.dashboard.runs import Problems, read_runs, run_folders


def test_a_folder_at_any_depth_counts_as_its_runs_without_what_is_inside_of_a_run(tmp_path, write_run):
    first, second = write_run(tmp_path, "a"), write_run(tmp_path, "b", modality="text", name="bible")
    (first / "wandb/files").mkdir(parents=True)
    (first / "wandb/files/config.yaml").write_text("a: 1\n")
    (first / "tests/other").mkdir(parents=True)
    (first / "tests/other/results.json").write_text("{}")
    assert set(run_folders([tmp_path])) == {first, second}
    assert run_folders([first, tmp_path / "image"]) == [first]


def test_what_is_no_run_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere does not exist: name the folder of a run"):
        run_folders([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match=r"no run below .*: a run's folder has config.yaml"):
        run_folders([tmp_path])


def test_runs_are_called_by_as_little_as_tells_them_apart(tmp_path, write_run):
    runs = [
        write_run(tmp_path, "a", seed=0, started="2026-01-01"),
        write_run(tmp_path, "b", seed=1, started="2026-01-02"),
        write_run(tmp_path, "c", name="vae", started="2026-01-03"),
        write_run(tmp_path, "d", name="vae", modality="text", started="2026-01-04"),
        write_run(tmp_path, "e", name="again", started="2026-01-05"),
        write_run(tmp_path, "f", name="again", started="2026-01-06"),
        write_run(tmp_path, "g", name="wine", started="2026-01-07"),
    ]
    labels = [run.label for run in read_runs(runs[::-1], Problems(), {"g": "a row of a table"})]
    assert labels == ["digits · seed 0", "digits · seed 1", "vae · image", "vae · text", "again · e", "again · f",
                      "a row of a table"]  # fmt: skip


def test_each_damaged_file_is_named_with_what_is_missing_and_the_rest_is_read(tmp_path, write_run):
    folder = write_run(tmp_path, "a")
    (folder / "results.json").write_text("{")
    (folder / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    (folder / "config.yaml").write_text("a: [")
    (folder / "samples/media.jsonl").write_text('{"file": 3}\n')
    problems = Problems()
    (run,) = read_runs([folder], problems)
    assert (run.results, run.curves, run.options, run.media) == (None, {}, None, [])
    ends = ["the final figures", "the curves", "what differs in its options", "pictures, tables and sounds"]
    assert [line.rpartition("; not shown: ")[2] for line in problems.lines] == ends
    files = ["results.json", "metrics.csv", "config.yaml", "samples"]
    assert all(str(folder / file) in line for file, line in zip(files, problems.lines, strict=True))
    assert all("\n" not in line for line in problems.lines)


def test_a_run_in_training_is_shown_without_figures(tmp_path, write_run):
    folder = write_run(tmp_path, "a")
    (folder / "results.json").unlink()
    problems = Problems()
    (run,) = read_runs([folder], problems)
    assert (run.label, run.modality, len(run.media)) == ("digits", "image", 16)
    assert run.curves["val/kl"].value.tolist() == [0, 1, 2]
    assert "is in training, or was not tested" in problems.lines[0]
