import random

import pytest
import torch

from common.evaluation.control import control_figures
from modalities.text.data import TextFiles
from modalities.text.evaluation.judge import warn_at_chance
from modalities.text.evaluation.report import TextReport
from modalities.text.evaluation.rewriting import baseline_results
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


@pytest.mark.parametrize(
    ("signs", "marks", "segmentation"),
    [
        ("天地人山水火木金土日月星", ("好", "坏"), "chinese"),
        ("กขคงจฉชซญดตถ", ("ดีจัง", "แย่มาก"), "characters"),
        ("あいうえおかきくけこさし", ("よい", "わる"), "japanese"),
    ],
)
def test_the_judge_reads_the_characters_of_a_script_without_spaces(tmp_path, signs, marks, segmentation):
    generator = random.Random(0)
    for style, mark in zip("ab", marks, strict=True):
        lines = ["".join(generator.choices(signs, k=6)) + mark + generator.choice(signs) for _ in range(100)]
        (tmp_path / f"{style}.txt").write_text("\n".join(lines))
    data = TextFiles(tmp_path, vocabulary=400, shares=(0.2, 0.2))
    judge = TextReport().judge(data)
    assert judge.segmentation == segmentation
    assert judge.real.scores["style"].mean() > 0.95  # by words between spaces every sentence is a word of its own
    assert judge.read_texts([signs[:3] + mark + signs[3:6] for mark in marks])["style"].tolist() == [0, 1]


def test_sentences_without_a_common_word_leave_a_judge_that_knows_what_it_read(tmp_path):
    lines = [f"{'ab'[n % 2]}{n},{'ab'[n % 2]}" for n in range(60)]
    (tmp_path / "t.csv").write_text("text,tone\n" + "\n".join(lines))
    data = TextFiles(tmp_path / "t.csv", vocabulary=300, shares=(0.2, 0.2))
    judge = TextReport().judge(data)
    train = data.examples.splits["train"]
    assert torch.equal(judge.read(data.examples.x[train])["tone"], data.examples.fields["tone"][train])


def test_one_word_alone_is_a_feature(tmp_path):
    (tmp_path / "t.csv").write_text("text,tone\n" + "".join(f"same {n},{'ab'[n % 2]}\n" for n in range(60)))
    judge = TextReport().judge(TextFiles(tmp_path / "t.csv", vocabulary=300, shares=(0.2, 0.2)))
    assert judge.features(judge.tokenizer.rows(["same", "other"])).tolist() == [[1.0], [0.0]]


def test_a_label_of_which_training_has_one_value_is_not_judged(tmp_path):
    rows = [(f"line {n}", "x", "ab"[n % 2], "train") for n in range(40)]
    rows += [(f"more {n}", "xy"[n % 2], "ab"[n % 2], split) for n in range(10) for split in ("dev", "test")]
    lines = "\n".join(",".join(row) for row in rows)
    (tmp_path / "t.csv").write_text(f"text,topic,tone,split\n{lines}\n")
    judge = TextReport().judge(TextFiles(tmp_path / "t.csv", vocabulary=300))
    assert list(judge.attributes) == ["tone"]


def test_a_judge_at_chance_is_warned_of_in_a_line(tmp_path, judge, table, recwarn):
    warn_at_chance(judge, table)
    assert not recwarn.list
    (tmp_path / "t.csv").write_text("text,tone\n" + "".join(f"line {n},{'ab'[n % 2]}\n" for n in range(300)))
    data = TextFiles(tmp_path / "t.csv", vocabulary=400, shares=(0.2, 0.2))
    guessing = TextReport().judge(data)
    with pytest.warns(UserWarning, match=r"the judge of tone is at chance: right on 0\.\d+ of real test data"):
        baseline_results("copy", data, guessing, "tone", 5)
