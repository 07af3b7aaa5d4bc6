"""A person's mistake in the command line of a script ends in one line that names it."""

import subprocess
import sys

import pytest
import torch

from common.command_line import Parser, not_an_input, one_line, real, run_script, whole
from scripts import compare, evaluate, generate, impute, study

SCRIPTS = {"generate": generate, "impute": impute, "evaluate": evaluate, "compare": compare, "study": study}


@pytest.fixture
def mistake(capsys):
    """Runs a script's command line and returns its one line on stderr."""

    def run(script, *words):
        try:
            status = SCRIPTS[script].main([str(word) for word in words])
        except SystemExit as ending:
            status = ending.code
        assert status == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{script}.py: ")
        return line.removeprefix(f"{script}.py: ")

    return run


SAMPLE = ["--ckpt", "x", "--out", "y.txt"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["generate", *SAMPLE, "--top_p", 0.9], "unknown option --top_p: did you mean --top-p?"),
        (["generate", *SAMPLE, "--top_p=0.9"], "unknown option --top_p: did you mean --top-p?"),
        (["generate", "-ckpt", "x"], "unknown option -ckpt: did you mean --ckpt?"),
        (["generate", *SAMPLE, "--Num", 3], "unknown option --Num: did you mean --num?"),
        (["generate", *SAMPLE, "--colour", "red"], "unknown option --colour"),
        (["evaluate", "nll", "--num_samples", 5], "unknown option --num_samples: did you mean --num-samples?"),
        (["evaluate", "--num-samples", 5, "nll"], "unknown option --num-samples; options come after the verb"),
        (["compare", "run", "x", "--max_parallel", 2], "unknown option --max_parallel: did you mean --max-parallel?"),
        (["study", "data", "tunes", "--frehs"], "unknown option --frehs: did you mean --fresh?"),
        (["impute", "--ckpt", "x", "--input", "a.csv", "--out", "b.csv"], "unknown option --input: did you mean --in?"),
    ],
)  # fmt: skip
def test_an_unknown_option_is_named_with_the_closest_right_one(mistake, words, line):
    assert mistake(*words) == line


def test_an_unknown_verb_is_named_with_the_closest_right_one(mistake):
    line = "verb: 'smaple' is not one of sample, reconstruct, interpolate, transfer: did you mean sample?"
    assert mistake("generate", "smaple", *SAMPLE) == line
    assert mistake("evaluate", "nil", "--ckpt", "x").endswith("did you mean nll?")


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--num", "0", "must be at least 1; got 0"),
        ("--num", "-4", "must be at least 1; got -4"),
        ("--num", "1.5", "'1.5' is not a whole number"),
        ("--temperature", "-0.1", "must be at least 0; got -0.1"),
        ("--token-temperature", "-1", "must be at least 0; got -1"),
        ("--top-p", "0", "must be above 0 and at most 1; got 0"),
        ("--top-p", "1.01", "must be above 0 and at most 1; got 1.01"),
        ("--top-p", "nan", "must be above 0 and at most 1; got nan"),
        ("--guidance", "inf", "must be finite; got inf"),
        ("--guidance", "much", "'much' is not a number"),
        ("--beams", "0", "must be at least 1; got 0"),
        ("--seed", str(2**64), f"must be at most {2**63 - 1}; got {2**64}"),
    ],
)
def test_numbers_out_of_range_say_what_is_allowed(mistake, option, value, line):
    assert mistake("generate", *SAMPLE, option, value) == f"{option}: {line}"


def test_numbers_on_the_edge_are_allowed():
    assert whole(1)("1") == 1
    assert real(0)("0") == 0
    assert real(0, 1, above=True)("1") == 1


def test_files_and_folders_that_cannot_be_read_or_written_are_named(mistake, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a\n1\n")
    known = ["--ckpt", "x", "--out", tmp_path / "out.csv"]
    assert mistake("impute", *known, "--in", tmp_path / "no.csv") == f"--in: {tmp_path}/no.csv does not exist"
    assert mistake("impute", *known, "--in", tmp_path) == f"--in: {tmp_path} is a folder: name a file"
    line = mistake("impute", "--ckpt", "x", "--in", table, "--out", tmp_path)
    assert line == f"--out: {tmp_path} is a folder: name a file"
    line = mistake("generate", "--ckpt", "x", "--out", table / "deep" / "a.png")
    assert line == f"--out: {table}/deep/a.png cannot be made: {table} is a file, not a folder"
    assert mistake("compare", "run", "text", "--out", table) == f"--out: {table} is a file: name a folder"
    assert mistake("study", "check", "--out", table) == f"--out: {table} is a file: name a folder"
    assert mistake("evaluate", "nll", "--ckpt", "x", "--config", "no.yaml") == "--config: no.yaml does not exist"


def test_a_folder_without_permission_to_write_is_named(mistake, tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # root may write everywhere
    line = mistake("generate", "--ckpt", "x", "--out", tmp_path / "new" / "a.png")
    assert line == f"--out: {tmp_path}/new/a.png cannot be written: permission denied for {tmp_path}"


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--out", "y.png"],
        ["impute", "--in", "README.md", "--out", "y.csv"],
        ["evaluate", "nll"],
        ["evaluate", "score", "--in", "README.md"],
        ["evaluate", "transfer", "--inputs", "README.md", "--source-style", "a", "--target-style", "b"],
        ["study", "complexity"],
    ],
)
def test_what_is_no_checkpoint_is_named_with_the_checkpoint_to_give(mistake, tmp_path, words):
    right = tmp_path / "checkpoints" / "best.ckpt"
    right.parent.mkdir()
    torch.save({"suite_format": 0}, right)
    (tmp_path / "results.json").write_text("{}")
    gives = f"not a checkpoint; give {right}"
    assert mistake(*words, "--ckpt", tmp_path) == f"{tmp_path} is a folder, {gives}"
    assert mistake(*words, "--ckpt", tmp_path / "results.json") == f"{tmp_path}/results.json is a JSON file, {gives}"
    missing = tmp_path / "best.ckpt"
    assert mistake(*words, "--ckpt", missing) == f"there is no checkpoint {missing}; give {right}"


def test_a_device_that_the_machine_lacks_is_named_with_those_that_it_has(mistake):
    line = mistake("evaluate", "nll", "--device", "gpu")
    assert line.startswith("--device: 'gpu' is no device of this machine; there is cpu")


def test_input_files_without_a_verb_are_not_ignored(mistake, tmp_path):
    torch.save({"suite_format": 0}, tmp_path / "best.ckpt")
    words = ["--ckpt", tmp_path / "best.ckpt", "--in", "README.md", "--out", tmp_path / "a.png"]
    assert mistake("generate", *words) == "--in needs a verb: reconstruct, interpolate or transfer"


def test_a_mistyped_option_is_named_before_torch_is_imported():
    code = (
        "import runpy, sys; sys.argv = ['scripts/generate.py', '--ckpt', 'x', '--out', 'y']\n"
        "try: runpy.run_path('scripts/generate.py', run_name='__main__')\n"
        "except SystemExit as ending: print(ending.code, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["2", "False"]
    assert result.stderr.startswith("generate.py: there is no checkpoint x")


def script():
    result = Parser("some.py")
    result.add_argument("--level", type=whole())
    return result


def fail(error):
    def work(arguments):
        raise error

    return work


def test_an_error_of_several_lines_or_of_the_system_becomes_one_line(capsys):
    assert run_script(script(), fail(ValueError("the file\n  - row 1\n\n  - row 2\n")), []) == 2
    assert run_script(script(), fail(PermissionError(13, "Permission denied", "a.csv")), []) == 2
    assert run_script(script(), fail(ModuleNotFoundError("install the extra `ray`")), []) == 2
    lines = ["the file; - row 1; - row 2", "a.csv: permission denied", "install the extra `ray`"]
    assert capsys.readouterr().err.splitlines() == [f"some.py: {line}" for line in lines]
    assert one_line(ValueError()) == "ValueError"


def test_a_mistake_of_the_suite_keeps_its_traceback():
    with pytest.raises(AssertionError):
        run_script(script(), fail(AssertionError("impossible")), [])


def test_the_status_is_that_of_the_work(capsys):
    assert run_script(script(), lambda arguments: arguments.level, ["--level", "1"]) == 1
    assert run_script(script(), lambda arguments: None, []) == 0
    assert run_script(script(), fail(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == "some.py: interrupted\n"


def test_options_may_be_shortened_and_have_values_that_look_like_options():
    assert script().parse_args(["--lev", "3"]).level == 3
    other = Parser("some.py")
    other.add_argument("--shift", type=real())
    other.add_argument("words", nargs="*")
    assert other.parse_args(["--shift", "-1.5"]).shift == -1.5
    assert other.parse_args(["--", "--shift", "a"]).words == ["--shift", "a"]
    assert other.parse_args(["-"]).words == ["-"]


def test_an_input_is_not_written_over(tmp_path):
    table = tmp_path / "a.csv"
    table.write_text("a\n1\n")
    not_an_input(tmp_path / "b.csv", [table])
    not_an_input(None, [table])
    with pytest.raises(ValueError, match=r"--out .*a\.csv would write over an input: name another file"):
        not_an_input(tmp_path / "." / "a.csv", [table])


def test_conditions_given_in_several_places_are_read_together(mistake, tmp_path):
    words = generate.parser().parse_args([*SAMPLE, "--condition", "a=1", "--condition", "b=2", "c=3"])
    assert words.condition == ["a=1", "b=2", "c=3"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            'Parser key "data":\n  Does not validate against any of the Union subtypes\n  Subtypes: [x]\n  Errors:\n'
            "    - Problem with given class_path 'modalities.image.data.ImageFolder':\n        Option 'sise' is not "
            "accepted\n    - Expected a <class 'NoneType'>\n",
            "ImageFolder: Option 'sise' is not accepted",
        ),
        ("Parser key \"model.latent_dim\":\n  Expected a <class 'int'>. Got value: x", "model.latent_dim: x is no int"),
    ],
)
def test_what_jsonargparse_complains_about_is_named(text, line):
    assert one_line(ValueError(text)) == line
