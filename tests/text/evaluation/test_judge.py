import torch

from common.evaluation.control import control_figures
from modalities.text.data import TextFiles
from modalities.text.evaluation.report import TextReport
from tests.text.models import word_tokenizer

WORDS = word_tokenizer("thou", "you", "god", "made", "light", "unto", "to")


def test_the_judge_reads_what_gives_the_style_away(judge, table):
    assert judge.real.scores["style"].tolist() == [1.0] * 72  # 8 of 80 have no label
    assert judge.read_texts(["thou made light", "you made light"])["style"].tolist() == [0, 1]
    assert list(judge.attributes) == ["style"]
    assert judge.features(table.x[:5]).shape[0] == 5


def test_padding_and_what_follows_the_end_are_not_read(judge):
    x = torch.tensor([[4, 6, 2, 0, 0], [4, 6, 2, 5, 5]])
    assert judge.read(x)["style"].tolist() == [0, 0]
    assert torch.equal(judge.features(x)[0], judge.features(x)[1])


def test_the_judge_beats_the_majority_by_far_on_short_verses(bible):
    judge = TextReport().judge(bible)
    test = bible.examples.fields["style"][bible.examples.splits["test"]]
    majority = test.bincount().max().item() / len(test)
    assert judge.real.scores["style"].mean() > majority + 0.25
    assert judge.real.features.shape == (len(test), 64)


class Writer:
    """Writes the word that is asked for, or the other one."""

    sampled = "made-up sentences"

    def __init__(self, obedient):
        self.obedient = obedient

    def sample(self, condition, guidance=1.0):
        word = 4 + (condition["style"] if self.obedient else 1 - condition["style"])
        rest = torch.randint(6, 9, (len(word), 3))
        return torch.cat([rest, word.unsqueeze(1), torch.full((len(word), 1), WORDS.eos)], dim=1).unsqueeze(0)


def test_an_obedient_model_reaches_the_ceiling_and_a_contrary_one_nothing(judge, table):
    known = table.splits["test"][table.fields["style"][table.splits["test"]] >= 0]
    conditions = {"style": table.fields["style"][known]}
    good, bad = (control_figures(Writer(obedient), judge, conditions, 60, seed=0) for obedient in (True, False))
    assert good["test/control_accuracy"].value == 1
    assert good["test/control_accuracy"].estimator == "frozen judge, made-up sentences with z ~ p(z|c)"
    assert bad["test/control_accuracy"].value == 0
    assert good["test/judge_accuracy"].n == 72


def test_there_is_no_judge_where_there_is_nothing_to_tell_apart(tmp_path):
    (tmp_path / "only.txt").write_text("".join(f"line {n}\n" for n in range(60)))
    assert TextReport().judge(TextFiles(tmp_path, vocabulary=300, shares=(0.2, 0.2))) is None
