import pytest
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical, Continuous
from common.distributions.flows import FlowPrior
from common.distributions.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from common.distributions.priors import ConditionalNormal, VampPrior
from common.evaluation.evaluation import Evaluation
from common.training.module import ConditionalELBO
from common.training.step import check_support
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP, ResidualConv

PRIORS = [None, ConditionalNormal, lambda: VampPrior(5), FlowPrior]
LIKELIHOODS = [Bernoulli, Gaussian, lambda: DiscretizedLogistic(2)]


def encoder(**options):
    return AttributeEncoder({"digit": Categorical(range(10))}, dim=8, **options)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_and_prior_scores_generates_and_comes_back(prior, likelihood, tmp_path, digits):
    options = {"architecture": MLP([16]), "latent_dim": 4}
    model = ImageCVAE(encoder(), prior=prior() if prior else None, likelihood=likelihood(), **options).eval()
    batch = digits.batch("test", 6)
    terms = model.elbo(batch)
    assert terms.elbo.shape == (6,)
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
    assert model.sample({"digit": [1, 2]}, num_samples=3, temperature=0.7).shape == (3, 2, 1, 28, 28)
    again = from_checkpoint(model, tmp_path)
    assert torch.equal(again.log_likelihood(batch, 8), model.log_likelihood(batch, 8))


def from_checkpoint(model, folder):
    checkpoint = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "model.ckpt")
    return ConditionalELBO.load_from_checkpoint(folder / "model.ckpt")


@pytest.mark.parametrize("architecture", [MLP([256]), ResidualConv()])
def test_one_batch_is_learnt_by_heart(architecture, digits):
    batch = digits.batch("train", 16)
    model = ImageCVAE(encoder(), architecture=architecture)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = model.elbo(batch).elbo.mean().item()
    for _ in range(300):
        optimizer.zero_grad()
        loss = -model.elbo(batch).elbo.mean()
        loss.backward()
        optimizer.step()
    after = model.elbo(batch).elbo.mean().item()
    assert before < -400
    assert after > -60


def test_without_a_latent_one_importance_sample_is_exact_and_all_that_is_drawn():
    evaluation = Evaluation(num_samples=200, gain_samples=30, control_samples=7)
    model = ImageCVAE(encoder(), architecture=MLP([16]), latent=False, evaluation=evaluation)
    assert model.ignores_latent
    assert (model.evaluation.num_samples, model.evaluation.gain_samples, model.evaluation.control_samples) == (1, 1, 7)
    assert not ImageCVAE(encoder(), architecture=MLP([16]), recognition=False).ignores_latent
    assert ImageCVAE(encoder(), architecture=MLP([16]), evaluation=evaluation).evaluation == evaluation


def test_images_beyond_the_contract_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        ImageCVAE(encoder(), shape=(1, 30, 30))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        ImageCVAE(encoder(), shape=(2, 28, 28))


def test_grey_values_under_a_bernoulli_are_refused_with_the_remedy(digits):
    batch = digits.batch("train", 4)
    model = ImageCVAE(encoder(), architecture=MLP([16]))
    with pytest.raises(ValueError, match=r"data\.binarize"):
        check_support(model, batch.replace(x=batch.x * 0.3))


def test_transfer_changes_what_is_named_and_keeps_the_rest():
    attributes = {"digit": Categorical(range(10)), "weight": Continuous(0.0, 1.0)}
    model = ImageCVAE(AttributeEncoder(attributes), architecture=MLP([16])).eval()
    x = torch.rand(3, 1, 28, 28).round()
    batch = Batch(x, {"digit": torch.tensor([1, 2, 3]), "weight": torch.tensor([0.1, 0.2, 0.3])})
    z = model.encode(x, model.condition(batch.condition)).base_dist.loc
    expected = model.decode(z, model.condition({**batch.condition, "digit": torch.tensor([7, 7, 7])})).mean
    assert torch.allclose(model.transfer(batch, {"digit": 7}), expected)
    assert torch.allclose(model.reconstruct(batch), model.transfer(batch, {}))


def test_interpolation_begins_and_ends_at_the_reconstructions(digits):
    model = ImageCVAE(encoder(), architecture=MLP([16])).eval()
    first, second = digits.batch("test", 4)[slice(0, 2)], digits.batch("test", 4)[slice(2, 4)]
    path = model.interpolate(first, second, steps=5)
    assert path.shape == (5, 2, 1, 28, 28)
    assert torch.allclose(path[0], model.reconstruct(first), atol=1e-6)
    assert torch.allclose(path[-1], model.reconstruct(second), atol=1e-6)


def test_guidance_one_is_the_plain_sample_and_more_moves_away_from_the_null_condition():
    model = ImageCVAE(encoder(dropout=0.5), architecture=MLP([16])).eval()

    def sample(guidance, **condition):
        torch.manual_seed(0)
        return torch.logit(model.sample(condition, num_samples=4, guidance=guidance)[:, 0].clamp(1e-6, 1 - 1e-6))

    plain, null = sample(1.0, digit=3), sample(1.0)
    assert torch.allclose(sample(2.0, digit=3), 2 * plain - null, atol=1e-3)
    assert torch.allclose(sample(0.0, digit=3), null, atol=1e-3)


def test_drawn_samples_are_binary_and_means_are_not():
    model = ImageCVAE(encoder(), architecture=MLP([16])).eval()
    drawn = model.sample({"digit": 1}, num_samples=2, draw=True)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert len(model.sample({"digit": 1}, num_samples=2).unique()) > 100
