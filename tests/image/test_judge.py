import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.conditions.classifier import RealFigures, scores
from common.data.examples import Examples
from common.data.splits import random_split
from common.evaluation.control import control_figures
from modalities.image.judge import ImageJudge, distort


@pytest.fixture(scope="module")
def bars():
    """Images with a bright bar: lying or standing (a category), as bright as a number says."""
    generator = torch.Generator().manual_seed(0)
    standing = torch.randint(0, 2, (600,), generator=generator)
    brightness = torch.rand(600, generator=generator) * 0.7 + 0.3
    x = torch.zeros(600, 1, 16, 16)
    x[standing == 0, :, 7:9, :] = 1.0
    x[standing == 1, :, :, 7:9] = 1.0
    x = (x * brightness[:, None, None, None] * 255).to(torch.uint8)
    splits = random_split(600, (0.1, 0.2), seed=0)
    attributes = {"standing": Categorical(("no", "yes")), "light": Continuous.fit(brightness[splits["train"]])}
    return Examples(x, {"standing": standing, "light": brightness}, attributes, splits)


@pytest.fixture(scope="module")
def judge(bars):
    judge = ImageJudge(bars.attributes, 1, width=8)
    judge.fit(bars, steps=150, batch_size=64)
    judge.eval().requires_grad_(False)
    test = bars.splits["test"]
    truth = {name: field[test] for name, field in bars.fields.items()}
    judge.real = RealFigures.of(judge, (bars.x[part].float() / 255 for part in test.split(50)), truth)
    return judge


class Painter:
    """Generates exactly what is asked for, or the contrary."""

    device = torch.device("cpu")
    sampled = "paintings"

    def __init__(self, bars, obedient):
        self.bars, self.obedient = bars, obedient

    def sample(self, condition, guidance=1.0):
        wanted = condition["standing"] if self.obedient else 1 - condition["standing"]
        rows = [(self.bars.fields["standing"] == value).nonzero()[3, 0] for value in wanted]
        return self.bars.x[torch.stack(rows)].unsqueeze(0).float() / 255


def test_the_judge_reads_categories_and_numbers_of_real_test_images(judge):
    assert judge.real.scores["standing"].mean() >= 0.97
    assert judge.real.scores["light"].mean() < 0.1  # absolute error; the deviation is 0.2
    assert judge.real.features.shape == (120, 128)


def test_an_obedient_model_reaches_the_ceiling_and_a_contrary_one_nothing(judge, bars):
    conditions = {name: field[bars.splits["test"]] for name, field in bars.fields.items()}
    good = control_figures(Painter(bars, True), judge, conditions, 200, seed=0)
    bad = control_figures(Painter(bars, False), judge, conditions, 200, seed=0)
    assert good["test/control_accuracy"].value >= 0.97
    assert bad["test/control_accuracy"].value <= 0.03
    assert good["test/judge_accuracy"].n == 120
    assert "frozen judge, paintings with z ~ p(z|c)" in good["test/control_accuracy"].estimator
    assert "test/control_error/light" in good


def test_the_judge_never_sees_validation_or_test_images(bars, monkeypatch):
    seen = []
    monkeypatch.setattr(
        ImageJudge,
        "_loss",
        lambda self, x, truth: seen.append(truth["light"]) or x.sum() * 0 + sum(p.sum() for p in self.parameters()) * 0,
    )
    ImageJudge(bars.attributes, 1, width=8).fit(bars, steps=30)
    training = bars.fields["light"][bars.splits["train"]]
    assert torch.isin(torch.cat(seen), training).all()


def test_missing_truths_do_not_count():
    attributes = {"k": Categorical(("a", "b"))}
    result = scores(attributes, {"k": torch.tensor([0, 1, 1])}, {"k": torch.tensor([0, -1, 0])})
    assert result["k"].tolist() == [1.0, 0.0]


def test_distortion_keeps_an_image_recognisable():
    x = torch.rand(8, 1, 28, 28)
    smooth = torch.nn.functional.avg_pool2d(x, 7, 1, 3)
    moved = distort(smooth)
    assert moved.shape == smooth.shape
    assert not torch.equal(moved, smooth)
    assert (moved.mean(dim=(1, 2, 3)) - smooth.mean(dim=(1, 2, 3))).abs().max() < 0.05
    assert torch.allclose(distort(smooth, 0, 0, 0), smooth, atol=1e-5)
