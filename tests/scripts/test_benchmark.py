import re

from scripts.benchmark import decoding, parser


def test_decoding_is_timed_with_and_without_the_cache(capsys):
    words = ["decoding", "--sentences", "4", "--tokens", "6", "--rounds", "2"]
    words += ["--width", "32", "--layers", "1", "--vocabulary", "300"]
    decoding(parser().parse_args(words))
    printed = capsys.readouterr().out
    assert "4 sentences of 6 tokens" in printed
    rates = [float(rate) for rate in re.findall(r"cached: ([\d.]+) sentences a second", printed)]
    assert len(rates) == 2
    assert min(rates) > 0
