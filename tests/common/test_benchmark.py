import json

import pytest

from common.benchmark.page import PAGE, renewed, table
from common.benchmark.plain_loop import train
from common.benchmark.trials import Contender, Spread, interleaved, on_a_terminal, printed_rates, ratios
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs


def contender(name, rate):
    return Contender(name, ["printf", json.dumps([rate, rate, rate + 1])], printed_rates)


def test_contenders_run_in_turn_and_ratios_are_those_of_the_rounds():
    rates = interleaved([contender("a", 6.0), contender("b", 3.0)], 3)
    assert rates == {"a": [6.0] * 3, "b": [3.0] * 3}
    rates["a"][2] = 12.0
    assert ratios(rates, "a") == {"b": Spread(2.0, 2.0, 3.0)}


def test_rates_are_found_behind_a_progress_bar():
    assert printed_rates("epoch [00:01<00:00]\r\x1b[A 99%[1.0, 2e1, 3.5]\n") == 3.5
    with pytest.raises(ValueError, match="has printed no rates: nothing"):
        printed_rates("nothing")


def test_what_a_command_prints_is_printed_on_a_terminal():
    assert "yes" in on_a_terminal(["sh", "-c", "test -t 1 && echo yes"], {})
    with pytest.raises(RuntimeError, match=r"ends with status 3: .*no"):
        on_a_terminal(["sh", "-c", "echo no; exit 3"], {})


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.modality)
def test_the_plain_loop_trains_the_model_of_a_run(own, tmp_path):
    further = ["--trainer.gradient_clip_val", "1.0", "--averaging", "0.9", "--trainer.max_epochs", "1"]
    checkpoint = Runs(own, tmp_path, *further).fit("run") / "checkpoints" / "last.ckpt"
    rates = train(checkpoint, 3, 2, mixed=own.modality == "text")
    assert len(rates) == 2
    assert min(rates) > 0


def test_the_page_has_the_stored_figures():
    assert renewed(PAGE.read_text()) == PAGE.read_text()
    row = {"rounds": 2, "rates": {"the suite": [2.0, 4.0], "other": [1.0, 1.0]},
           "of": {"other": {"median": 3.0, "low": 2.5, "high": 3.5}}}  # fmt: skip
    assert "| w, 2 rounds | other | 1 | 3.00 (2.50 to 3.50) |" in table({"w": row})
