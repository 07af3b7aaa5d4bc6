import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.data.table import Table
from common.evaluation.control import control_figures
from modalities.text.data.datamodules import TextFiles
from modalities.text.evaluation.judge import TextJudge
from modalities.text.evaluation.rewriting import parallel_test, rewriting_scores
from tests.text.models import word_tokenizer

WORDS = word_tokenizer("thou", "you", "god", "made", "light", "unto", "to")
STYLES = {"style": Categorical(("old", "new")), "age": Continuous()}


@pytest.fixture(scope="module")
def table():
    """Sentences whose style one word gives away, at a random place; one in ten has no label."""
    generator = torch.Generator().manual_seed(0)
    style = torch.randint(0, 2, (400,), generator=generator)
    words = torch.randint(6, 9, (400, 6), generator=generator)
    words[torch.arange(400), torch.randint(0, 5, (400,), generator=generator)] = 4 + style
    words[:, 5] = WORDS.eos
    label = torch.where(torch.arange(400) % 10 == 0, -1, style)
    splits = {"train": torch.arange(300), "val": torch.arange(300, 320), "test": torch.arange(320, 400)}
    return Table(words.int(), {"style": label, "age": torch.zeros(400)}, STYLES, splits)


@pytest.fixture(scope="module")
def judge(table):
    return TextJudge.of(table, WORDS)


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
    judge = bible.judge()
    test = bible.table.fields["style"][bible.table.splits["test"]]
    majority = test.bincount().max().item() / len(test)
    assert judge.real.scores["style"].mean() > majority + 0.25
    assert judge.real.features.shape == (len(test), 64)


class Writer:
    """Writes the word that is asked for, or the other one."""

    device = torch.device("cpu")

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
    assert bad["test/control_accuracy"].value == 0
    assert good["test/judge_accuracy"].n == 72


def test_there_is_no_judge_where_there_is_nothing_to_tell_apart(tmp_path):
    (tmp_path / "only.txt").write_text("".join(f"line {n}\n" for n in range(60)))
    assert TextFiles(tmp_path, vocabulary=300, shares=(0.2, 0.2)).judge() is None


# Rewriting


def test_a_perfect_rewriting_scores_in_every_figure_and_a_copy_in_content_alone(judge):
    inputs = ["thou made light unto god", "god made light unto thou"]
    perfect = ["you made light unto god", "god made light unto you"]
    figures = rewriting_scores(perfect, inputs, [[text] for text in perfect], judge, "style", target=1)
    copied = rewriting_scores(inputs, inputs, [[text] for text in perfect], judge, "style", target=1)
    assert figures["accuracy"].value == 1
    assert copied["accuracy"].value == 0
    assert figures["reference_bleu"].value == pytest.approx(100)
    assert copied["self_bleu"].value == pytest.approx(100)
    assert figures["self_bleu"].value == pytest.approx(copied["reference_bleu"].value)
    assert "reference_bleu" not in rewriting_scores(inputs, inputs, [], judge, "style", target=1)


def test_verses_are_tested_against_their_own_version(bible):
    styles = bible.attributes["style"].values
    source, target = styles.index("kjv"), styles.index("web")
    test = parallel_test(bible, "style", source, target, count=20)
    assert len(test.rows) == len(test.references) == 20
    assert torch.equal(bible.groups[test.rows], bible.groups[test.references])
    assert set(bible.table.fields["style"][test.rows].tolist()) == {source}
    assert set(bible.table.fields["style"][test.references].tolist()) == {target}
    assert torch.isin(torch.cat([test.rows, test.references]), bible.table.splits["test"]).all()


def test_without_versions_the_first_test_sentences_are_rewritten_without_references(tmp_path):
    for style in "ab":
        shared = "".join(f"line {n} of both\n" for n in range(60))  # the same text is no version of itself
        (tmp_path / f"{style}.txt").write_text(shared + "".join(f"{style} line {n}\n" for n in range(60)))
    data = TextFiles(tmp_path, vocabulary=300, shares=(0.2, 0.2))
    _ = data.table
    test = parallel_test(data, "style", 0, 1, count=5)
    assert len(test.rows) == 5
    assert len(test.references) == 0
    assert data.table.fields["style"][test.rows].tolist() == [0] * 5
