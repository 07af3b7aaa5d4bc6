import pytest
import torch
from torch.distributions import Bernoulli, Independent, Laplace, MultivariateNormal, Normal

from common.distributions.guidance import extrapolate
from common.distributions.likelihoods import GridLogistic

CONDITIONAL, NULL = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.5]])
BEYOND = torch.tensor([[2.0, -5.0, 0.5]])  # null + 2 (conditional - null)
CASES = [(0.0, NULL), (0.5, (NULL + CONDITIONAL) / 2), (1.0, CONDITIONAL), (2.0, BEYOND)]


@pytest.mark.parametrize(("weight", "expected"), CASES)
def test_bernoulli_guidance_moves_the_logits(weight, expected):
    found = extrapolate(Bernoulli(logits=CONDITIONAL), Bernoulli(logits=NULL), weight)
    assert torch.allclose(found.logits, expected)


@pytest.mark.parametrize(("weight", "expected"), CASES)
def test_normal_guidance_moves_the_mean_and_keeps_the_conditional_scale(weight, expected):
    found = extrapolate(Normal(CONDITIONAL, 0.3), Normal(NULL, 2.0), weight)
    assert torch.allclose(found.loc, expected)
    assert torch.allclose(found.scale, torch.tensor(0.3))


@pytest.mark.parametrize(("weight", "expected"), CASES)
def test_grid_logistic_guidance_moves_the_location_and_keeps_the_conditional_scale(weight, expected):
    scale = torch.full((1, 3), -2.0)
    found = extrapolate(GridLogistic(CONDITIONAL, scale, 16), GridLogistic(NULL, 0 * scale, 16), weight)
    assert torch.allclose(found.location, expected)
    assert torch.equal(found.log_scale, scale)
    assert found.levels == 16


@pytest.mark.parametrize(("weight", "expected"), CASES)
def test_guidance_keeps_the_event_shape(weight, expected):
    found = extrapolate(Independent(Normal(CONDITIONAL, 1.0), 1), Independent(Normal(NULL, 1.0), 1), weight)
    assert found.event_shape == (3,)
    assert torch.allclose(found.mean, expected)


def test_guidance_one_is_the_conditional_distribution_itself():
    conditional = Laplace(torch.zeros(2), 1.0)
    assert extrapolate(conditional, Normal(torch.zeros(2), 1.0), 1.0) is conditional


@pytest.mark.parametrize(
    ("conditional", "null"),
    [
        (Laplace(torch.zeros(2), 1.0), Laplace(torch.ones(2), 1.0)),
        (MultivariateNormal(torch.zeros(2), torch.eye(2)), MultivariateNormal(torch.ones(2), torch.eye(2))),
        (Normal(torch.zeros(2), 1.0), Bernoulli(logits=torch.zeros(2))),
        (Independent(Laplace(torch.zeros(2), 1.0), 1), Independent(Laplace(torch.ones(2), 1.0), 1)),
    ],
)
def test_guidance_of_anything_else_is_refused(conditional, null):
    with pytest.raises(TypeError, match="guidance is not defined for"):
        extrapolate(conditional, null, 2.0)
