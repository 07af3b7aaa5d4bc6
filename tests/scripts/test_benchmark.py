import re

import pytest

from common.results import Results
from scripts.benchmark import decoding, imputation, parser


def test_decoding_is_timed_with_and_without_the_cache(capsys):
    words = ["decoding", "--sentences", "4", "--tokens", "6", "--rounds", "2"]
    words += ["--width", "32", "--layers", "1", "--vocabulary", "300"]
    decoding(parser().parse_args(words))
    printed = capsys.readouterr().out
    assert "4 sentences of 6 tokens" in printed
    rates = [float(rate) for rate in re.findall(r"cached: ([\d.]+) sentences a second", printed)]
    assert len(rates) == 2
    assert min(rates) > 0


def test_a_method_of_imputation_is_printed_and_kept_for_tables(tmp_path, capsys):
    path = tmp_path / "results.json"
    words = ["imputation", "--tables", "iris", "--methods", "mean / mode", "--masks", "2", "--first-mask", "7"]
    imputation(parser().parse_args([*words, "--results", str(path)]))
    assert "iris, 50% MCAR, 2 masks" in capsys.readouterr().out
    found = Results.read(path)
    assert (found.run.seed, found.run.modality) == (7, "tabular")
    assert found.metrics["test/iris/mse"].value == pytest.approx(1.0, abs=0.1)
    assert found.metrics["test/mse"].value == found.metrics["test/iris/mse"].value


def test_results_of_several_methods_are_refused(tmp_path):
    words = ["imputation", "--tables", "iris", "--results", str(tmp_path / "results.json")]
    with pytest.raises(ValueError, match="keeps one method"):
        imputation(parser().parse_args(words))
