import pytest
import torch

from common.evaluation.evaluation import Evaluation
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from modalities.image.report import ImageReport, factor_figures
from modalities.image.sprites import COLOURS, LEVELS, ORDERED, PLACES, SCALES, Sprites, drawn


@pytest.fixture(scope="module")
def sprites():
    return Sprites(count=3000, condition=["shape"])


def codes_of(**changed):
    """One sprite in the middle of every factor, and those that differ from it."""
    count = max(len(values) for values in changed.values())
    codes = {name: torch.full((count,), size // 2) for name, size in LEVELS.items()}
    return codes | {name: torch.tensor(values) for name, values in changed.items()}


def centre(pictures):
    """Row and column of the middle of what is coloured, [N] each, in pixels."""
    covered = (pictures > 0).any(1).double()
    places = torch.arange(64) + 0.5
    total = covered.sum((1, 2))
    return (covered.sum(2) @ places.double()) / total, (covered.sum(1) @ places.double()) / total


def test_each_factor_draws_what_its_name_says():
    across = drawn(codes_of(x=[0, 15], shape=[0, 0]))
    down = drawn(codes_of(y=[0, 15], shape=[0, 0]))
    for pictures, axis in ((across, 1), (down, 0)):
        middles = centre(pictures)
        assert middles[axis].tolist() == pytest.approx([PLACES[0], PLACES[15]], abs=0.5)
        assert middles[1 - axis].tolist() == pytest.approx([PLACES[8]] * 2, abs=0.5)
    areas = (drawn(codes_of(scale=[0, 5], shape=[0, 0])) > 0).any(1).sum((1, 2))
    assert areas.tolist() == pytest.approx([(1.6 * SCALES[0]) ** 2, (1.6 * SCALES[5]) ** 2], rel=0.1)
    for number, colour in enumerate(COLOURS.values()):
        assert (drawn(codes_of(colour=[number])).amax((0, 2, 3)) / 255).tolist() == list(colour)
    shapes = drawn(codes_of(shape=[0, 1, 2], scale=[5, 5, 5], rotation=[0, 0, 0])) > 0
    heights, widths = (shapes.any(1).any(axis).sum(1) for axis in (2, 1))
    assert heights[0] == widths[0]
    assert widths[1] == pytest.approx(2 * heights[1], abs=2)
    rows = shapes[2].any(0).sum(1)
    rows = rows[rows > 0]
    assert rows[-1] < rows[1]  # a heart ends in its point
    assert not torch.equal(*drawn(codes_of(rotation=[0, 7], shape=[0, 0])))


def test_every_value_of_every_factor_is_another_picture():
    for name, size in LEVELS.items():
        pictures = drawn(codes_of(**{name: list(range(size))} | ({} if name == "shape" else {"shape": [2] * size})))
        assert len(torch.unique(pictures.flatten(1), dim=0)) == size, name


def test_pictures_are_on_or_off_whole_and_the_same_at_each_start(sprites):
    x = sprites.examples.x
    assert x.unique().tolist() == [0, 255]
    assert not x[:, :, [0, -1]].any()  # no sprite is cut
    assert not x[:, :, :, [0, -1]].any()
    assert sprites.fingerprint == Sprites(count=3000, condition=["shape"]).fingerprint
    assert {split: len(rows) for split, rows in sprites.examples.splits.items()} == {
        "train": 2400, "val": 300, "test": 300
    }  # fmt: skip


def test_factors_are_known_whatever_is_the_condition(sprites):
    assert list(sprites.attributes) == ["shape"]
    factors = sprites.factors("test")
    assert list(factors) == list(LEVELS)
    x = sprites.examples.x[sprites.examples.splits["test"]]
    middle = torch.tensor(ORDERED["x"])[factors["x"]]
    assert (centre(x)[1] - middle).abs().max() < 2.0  # a turned heart has its middle elsewhere
    assert torch.equal(factors["shape"], sprites.conditions("test")["shape"])


def test_the_test_scores_factors_that_are_not_given_and_tells_what_z_knows_of_the_others(sprites):
    model = ImageCVAE(AttributeEncoder(sprites.attributes), (3, 64, 64), 5, architecture=MLP([4]))
    factors = sprites.factors("test")
    free = torch.stack([factors[name].float() for name in LEVELS if name != "shape"], dim=1)
    index = torch.randperm(300)
    mean = ((free - free.mean(0)) / free.std(0))[index]
    found = ImageReport().figures(model, sprites, Evaluation(), {"mean": mean, "index": index.float()})
    assert found["test/mig"].value > 0.8  # of 300 examples, a unit of noise seems to know something
    assert found["test/dci_disentanglement"].value > 0.8
    assert "colour, scale, rotation, x, y" in found["test/mig"].estimator
    assert found["test/given_informativeness"].value < 0.5  # a third is chance
    assert found["test/few_labels/colour"].n == 200
    assert "test/few_labels/shape" not in found
    assert found["test/few_labels"].value == pytest.approx(
        sum(found[f"test/few_labels/{name}"].value for name in LEVELS if name != "shape") / 5
    )


def test_the_factors_that_are_scored_can_be_named():
    sprites = Sprites(count=3000, condition=["shape"], scored_factors=["x", "y"])
    model = ImageCVAE(AttributeEncoder(sprites.attributes), (3, 64, 64), 5, architecture=MLP([4]))
    table = {"mean": torch.randn(300, 5), "index": torch.arange(300.0)}
    found = ImageReport().figures(model, sprites, Evaluation(), table)
    assert found["test/mig"].estimator.endswith("factors x, y")
    assert found["test/few_labels"].estimator.endswith("mean of x, y")
    assert "test/few_labels/colour" in found
    sprites.scored_factors = ["shape", "x"]
    with pytest.raises(ValueError, match="scored_factors names shape, which the model is given"):
        ImageReport().figures(model, sprites, Evaluation(), table)
    for scored in (["size"], []):
        with pytest.raises(ValueError, match="there are shape, colour"):
            Sprites(scored_factors=scored)


def test_other_pictures_have_no_such_figures(digits):
    model = ImageCVAE(AttributeEncoder(digits.attributes), architecture=MLP([4]))
    assert ImageReport().figures(model, digits, Evaluation(), {}) == {}


def test_a_test_of_few_pictures_has_the_other_figures(recwarn):
    data = Sprites(count=900, condition=["shape"])
    model = ImageCVAE(AttributeEncoder(data.attributes), data.shape, latent_dim=3, architecture=MLP([8]))
    table = {"mean": torch.randn(90, 3), "index": torch.arange(90)}
    found = factor_figures(model, data, 0, table)
    assert {"test/mig", "test/given_informativeness"} <= found.keys()
    assert not [name for name in found if "few_labels" in name]
    assert any("100 labels leave none of 90 test pictures" in str(warning.message) for warning in recwarn)
