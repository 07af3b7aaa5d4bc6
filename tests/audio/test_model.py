import itertools
import resource

import numpy as np
import pytest
import soundfile
import torch
from scipy import stats

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.distributions.flows import FlowPrior
from common.distributions.likelihoods import Gaussian
from common.distributions.priors import ConditionalNormal
from common.objectives.invariance import Adversary, InformationPenalty
from common.training.module import ConditionalELBO
from modalities.audio import AudioGenreCVAE, GenreEncoder
from modalities.audio.evaluation.report import AudioReport
from modalities.audio.files import SoundFormat
from modalities.audio.networks.convolutions import SpectrogramConv
from modalities.audio.networks.prior import SequencePrior, counterfactual_latent
from modalities.audio.signal.vocoder import GriffinLim
from modalities.audio.signal.windows import cut, join, window_starts
from tests.audio.models import ATTRIBUTES, FEATURES, SMALL, perturb, small_model

PRIORS = [lambda: None, ConditionalNormal, FlowPrior, lambda: SequencePrior(channels=4, width=8, hidden=8)]
SIGMAS = [
    lambda: Gaussian("shared"),
    lambda: Gaussian("shared", shape=[16, 1]),
    lambda: Gaussian("optimal", shape=[16, 1]),
]


def random_batch(count=4, frames=32):
    genre, instrument = torch.arange(count) % 3, torch.arange(count) % 2
    return Batch(torch.randn(count, 1, 16, frames), {"genre": genre, "instrument": instrument})


def from_checkpoint(model, folder):
    checkpoint = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, folder / "model.ckpt")
    return ConditionalELBO.load_from_checkpoint(folder / "model.ckpt")


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", SIGMAS)
def test_every_likelihood_and_prior_scores_generates_and_comes_back(prior, likelihood, tmp_path):
    model, batch = perturb(small_model(prior=prior(), likelihood=likelihood())), random_batch()
    terms = model.elbo(batch)
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl, atol=1e-2)
    assert model.sample({"genre": [0, 1]}, num_samples=3).shape == (3, 2, 1, 16, 32)
    again = from_checkpoint(model, tmp_path)
    assert isinstance(again, AudioGenreCVAE)
    assert again.features == model.features
    assert torch.allclose(again.log_likelihood(batch, 4), model.log_likelihood(batch, 4))


@pytest.mark.parametrize("shape", [[], [16, 1]])
def test_the_likelihood_is_the_density_of_scipy(shape):
    likelihood = Gaussian("shared", shape=shape)
    likelihood.log_sigma.data = torch.randn(tuple(shape)) * 0.3
    model = perturb(small_model(likelihood=likelihood))
    batch = random_batch(2)
    z = torch.randn(3, 2, 32)
    decoded = model.decode(z, model.embed(batch))
    scale = likelihood.log_sigma.exp().detach().expand(1, 16, 32).numpy()
    expected = stats.norm(decoded.mean.detach().numpy(), scale).logpdf(batch.x.numpy()).sum((-1, -2, -3))
    assert decoded.log_prob(batch.x).detach().numpy() == pytest.approx(expected, rel=1e-4)


def test_the_optimal_sigma_of_each_band_is_its_error():
    likelihood = Gaussian("optimal", shape=[16, 1])
    mean, scales = torch.zeros(50, 1, 16, 32), torch.linspace(0.5, 2.0, 16).unsqueeze(1)
    x = torch.randn(50, 1, 16, 32) * scales
    value = likelihood(mean, 3).log_prob(x).mean()
    best = torch.distributions.Normal(0.0, x.square().mean(dim=(0, 1, 3)).sqrt().unsqueeze(1)).log_prob(x)
    assert value.item() == pytest.approx(best.sum(dim=(1, 2, 3)).mean().item(), rel=1e-5)
    for _ in range(600):
        likelihood(mean, 3).log_prob(x)
    assert torch.allclose(likelihood.log_sigma.exp(), scales, atol=0.15)


def test_the_sequence_prior_is_a_density_that_its_draws_come_from():
    prior = SequencePrior(channels=4, width=8, layers=3, hidden=8)
    prior.build(12, 5, None, None)
    for weight in prior.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    distribution = prior(torch.randn(1, 5))
    u = torch.randn(1, 12)
    jacobian = torch.autograd.functional.jacobian(lambda value: distribution.push(value)[0], u)[:, 0]
    expected = distribution.base.log_prob(u) - torch.linalg.slogdet(jacobian).logabsdet
    assert distribution.log_prob(distribution.push(u)).item() == pytest.approx(expected.item(), abs=1e-3)
    assert distribution.log_prob(torch.zeros(7, 1, 12)).shape == (7, 1)


def test_the_sequence_prior_recurs_in_single_precision_under_autocast(monkeypatch):
    prior = SequencePrior(channels=4, width=8, hidden=8)
    prior.build(48, 5, None, None)
    for weight in prior.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    c, z = torch.randn(3, 5), torch.randn(3, 48)
    expected, types, forward = prior(c).log_prob(z), set(), prior.recurrent.forward

    def recorded(*inputs):
        types.update(part.dtype for part in (*inputs, forward(*inputs)[0]))
        return forward(*inputs)

    monkeypatch.setattr(prior.recurrent, "forward", recorded)
    with torch.autocast("cpu", torch.bfloat16):
        found = prior(c.bfloat16()).log_prob(z)
        assert prior.continued(c, 80).shape == (3, 80)
    assert types == {torch.float32}
    assert found.tolist() == pytest.approx(expected.tolist(), rel=0.02)


def test_a_step_of_the_sequence_prior_depends_on_the_steps_before_it_alone():
    prior = SequencePrior(channels=4, width=8, hidden=8)
    prior.build(12, 5, None, None)
    for weight in prior.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    c, u = torch.randn(1, 5), torch.randn(1, 12)
    later = u.clone()
    later[:, 8:] += 1.0
    first, second = prior(c).push(u), prior(c).push(later)
    assert torch.allclose(first[:, :8], second[:, :8])
    assert not torch.allclose(first[:, 8:], second[:, 8:])
    with pytest.raises(ValueError, match="must divide latent_dim"):
        SequencePrior(channels=5).build(12, 5, None, None)


@pytest.mark.parametrize("prior", [ConditionalNormal, FlowPrior, lambda: SequencePrior(channels=4, width=8, hidden=8)])
def test_a_latent_carried_over_is_as_likely_as_before_and_comes_back(prior):
    model = perturb(small_model(prior=prior()), 0.15)
    own, other = (model.condition({"genre": torch.tensor([genre] * 3)}) for genre in (0, 2))
    z = model.prior(own).sample()
    moved = counterfactual_latent(z, model.prior(own), model.prior(other))
    assert not torch.allclose(moved, z, atol=1e-4, rtol=0)
    assert torch.allclose(counterfactual_latent(moved, model.prior(other), model.prior(own)), z, atol=1e-2)


def test_a_lower_temperature_comes_closer_to_what_is_typical():
    model = perturb(small_model(prior=ConditionalNormal()))
    own, other = (model.prior(model.condition({"genre": torch.tensor([genre] * 3)})) for genre in (0, 2))
    z = own.sample()
    assert torch.allclose(counterfactual_latent(z, own, other, 0.0), other.mean)
    half = (counterfactual_latent(z, own, other) + other.mean) / 2
    assert torch.allclose(counterfactual_latent(z, own, other, 0.5), half, rtol=1e-3, atol=1e-3)


def test_a_latent_that_does_not_hold_the_condition_stays():
    model = perturb(small_model(prior=FlowPrior(conditional=False)), 0.1)
    own, other = (model.condition({"genre": torch.tensor([genre] * 3)}) for genre in (0, 2))
    z = torch.randn(3, 32)
    assert torch.allclose(counterfactual_latent(z, model.prior(own), model.prior(other)), z, atol=1e-4, rtol=0)


def test_a_transfer_carries_z_over_for_the_named_conditions_alone():
    model = perturb(small_model(prior=ConditionalNormal(), counterfactual=["genre"]), 0.1)
    batch = random_batch(2)
    own = model.embed(batch)
    z = model.encode(batch.x, own).base_dist.loc
    other = model.condition({**batch.condition, "genre": torch.tensor([2, 2])})
    moved = counterfactual_latent(z, model.prior(own), model.prior(other))
    assert torch.allclose(model.transfer(batch, {"genre": 2}), model.decode(moved, other).mean, atol=1e-4)
    played = model.condition({**batch.condition, "instrument": torch.tensor([0, 0])})
    assert torch.allclose(model.transfer(batch, {"instrument": 0}), model.decode(z, played).mean, atol=1e-4)


class Data:
    """A DataModule as far as the check of names is concerned."""

    def __init__(self, *names):
        self.attributes = dict.fromkeys(names)


@pytest.mark.parametrize(
    ("use", "data", "refused"),
    [
        (None, ["genre", "instrument"], False),
        (None, ["gender", "instrument"], True),
        (["instrument"], ["genre", "instrument"], False),  # a study of conditions leaves one out
        ([], ["instrument"], False),  # an unconditional model has none to carry z over to
    ],
)
def test_a_counterfactual_names_conditions_of_the_data(monkeypatch, use, data, refused):
    encoder = GenreEncoder(ATTRIBUTES, dim=8, use=use)
    model = AudioGenreCVAE(encoder, FEATURES, latent_dim=32, architecture=SMALL, counterfactual=["genre"])
    monkeypatch.setattr(AudioGenreCVAE, "data", Data(*data))
    model.setup("test")
    if refused:
        with pytest.raises(ValueError, match=r"names genre, which is no condition; there are: gender, instrument"):
            model.setup("fit")
    else:
        model.setup("fit")


def test_without_data_a_counterfactual_names_conditions_of_the_encoder():
    model = small_model(counterfactual=["genre", "gnere"])
    with pytest.raises(ValueError, match=r"names gnere, which is no condition; there are: genre, instrument"):
        model.setup("fit")


def test_the_condition_reaches_the_sound():
    model = perturb(small_model())
    z = torch.randn(1, 32)
    means = [model.decode(z, model.condition({"genre": torch.tensor([genre])})).mean for genre in range(3)]
    assert not torch.allclose(means[0], means[1])
    assert not torch.allclose(means[1], means[2])


@pytest.mark.parametrize("regulariser", [Adversary, InformationPenalty])
def test_an_invariance_regulariser_adds_a_term_that_reaches_the_encoder(regulariser):
    model = small_model(invariance=regulariser(2.0))
    batch = random_batch(8)
    model.auxiliary(batch, model.draws(batch))["invariance"].backward()
    assert model.encoder.head.weight.grad.abs().sum() > 0


def test_z_is_read_from_another_version_in_training_alone():
    model = perturb(small_model()).train()
    batch = random_batch(2)
    fields = {"genre": torch.tensor([2, 2]), "instrument": torch.tensor([1, 1])}
    view = random_batch(2).replace(condition=fields)
    both = batch.replace(view=view)
    assert model.encoder_input(both) is view
    assert model.encoder_input(batch) is batch
    read = model.encode(view.x, model.condition(fields)).base_dist.loc
    samples = model.draws(both, seed=0)
    assert torch.allclose(samples.posterior.base_dist.loc, read)
    assert torch.equal(samples.condition.vector, model.embed(batch).vector)  # decoded as what the batch is
    model.eval()
    assert model.encoder_input(both) is both
    own = model.encode(batch.x, model.embed(batch)).base_dist.loc
    assert torch.allclose(model.draws(both, seed=0).posterior.base_dist.loc, own)
    assert not torch.allclose(own, read, atol=1e-2)


def test_clips_that_cannot_be_divided_are_refused():
    with pytest.raises(ValueError, match="multiple of the 8 steps"):
        small_model(latent_dim=30)
    with pytest.raises(ValueError, match="multiple of 2"):
        SpectrogramConv(stride=3)
    with pytest.raises(ValueError, match="frames of the stride"):
        SpectrogramConv(stride=6).steps((1, 64, 128))


# Any length.


@pytest.mark.parametrize("total", [1, 31, 32, 33, 56, 57, 100, 321])
def test_windows_joined_again_are_what_was_cut(total):
    x = torch.randn(2, 1, 16, total)
    parts = cut(x, 32, 8, -1.0)
    assert parts.shape[1:] == (1, 16, 32)
    assert torch.allclose(join(parts, total, 8), x, atol=1e-5)


@pytest.mark.parametrize("total", [33, 100, 321])
def test_windows_overlap_and_cover_everything(total):
    starts = window_starts(total, 32, 8)
    assert starts[0] == 0
    assert starts[-1] == total - 32
    assert all(0 < second - first <= 24 for first, second in itertools.pairwise(starts))


def test_a_transfer_of_training_length_is_that_of_the_base_and_of_any_other_goes_by_windows():
    model = perturb(small_model(), 0.1)
    batch = random_batch(2)
    z = model.encode(batch.x, model.embed(batch)).base_dist.loc
    c = model.condition({**batch.condition, "genre": torch.tensor([2, 2])})
    assert torch.allclose(model.transfer(batch, {"genre": 2}), model.decode(z, c).mean, atol=1e-5)
    long = random_batch(2, frames=75)
    changed = model.transfer(long, {"genre": 2})
    assert changed.shape == long.x.shape
    first = model.transfer(long.replace(x=long.x[..., :32]), {"genre": 2})
    assert torch.allclose(changed[..., :24], first[..., :24], atol=1e-5)  # before the first fade
    assert torch.allclose(model.reconstruct(long), model.transfer(long, {}))


def test_the_likelihood_of_a_long_clip_is_the_sum_of_its_windows():
    model, long = perturb(small_model(), 0.05), random_batch(2, frames=64)
    halves = [long.replace(x=long.x[..., start : start + 32]) for start in (0, 32)]
    whole = model.log_likelihood(long, 500)
    assert torch.allclose(whole, sum(model.log_likelihood(half, 500) for half in halves), rtol=1e-3)


def test_the_noise_of_a_long_clip_is_its_own_whatever_is_in_the_batch():
    model, long = perturb(small_model(), 0.1), random_batch(3, frames=75).replace(index=torch.tensor([4, 0, 7]))
    together = model.log_likelihood(long, 3)
    for rows in (torch.tensor([2]), torch.tensor([1, 0])):
        assert torch.allclose(model.log_likelihood(long[rows], 3), together[rows], rtol=1e-5)
    same = long.replace(
        x=long.x[:1].expand(3, -1, -1, -1), condition={n: v[:1].expand(3) for n, v in long.condition.items()}
    )
    assert len(model.log_likelihood(same, 3).unique()) == 3  # as many draws as clips
    twice = long[slice(0, 1)].replace(x=torch.cat([long.x[:1, ..., :32]] * 2, -1))
    first = twice.replace(x=twice.x[..., :32])
    assert not torch.allclose(model.log_likelihood(twice, 3), 2 * model.log_likelihood(first, 3), rtol=1e-5)


def test_interpolation_begins_and_ends_at_the_reconstructions():
    model, batch = perturb(small_model()), random_batch(2)
    first, second = batch[slice(0, 1)], batch[slice(1, 2)]
    path = model.interpolate(first, second, steps=5)
    assert torch.allclose(path[0], model.reconstruct(first), atol=1e-5)
    assert torch.allclose(path[-1], model.reconstruct(second), atol=1e-5)


def test_a_model_recognises_the_condition_that_its_clips_were_made_under():
    model = small_model(likelihood=Gaussian(0.05)).eval()
    for weight in [*model.encoder.parameters(), *model.decoder.parameters()]:
        torch.nn.init.zeros_(weight)
    torch.nn.init.normal_(model.decoder.envelope.weight)  # all that a clip is: the envelope of its condition
    fields = {"genre": torch.tensor([0, 1, 2, 0, 1, 2]), "instrument": torch.tensor([0, 0, 0, 1, 1, 1])}
    x = model.decode(torch.zeros(6, 32), model.condition(fields)).mean.detach()
    found = model.infer_conditions(torch.cat([x, x], dim=-1))  # of any length
    assert {name: value.tolist() for name, value in found.items()} == {n: v.tolist() for n, v in fields.items()}


# Samples of any length.


def sequences(**options):
    return perturb(small_model(prior=SequencePrior(channels=4, width=16, layers=2, hidden=16), **options), 0.2)


@pytest.mark.parametrize("seconds", [0.1, 1.024, 1.1, 30.0])
def test_a_sample_has_the_length_that_is_asked_for(seconds):
    x = sequences().sample({"genre": ["jig", "reel"], "instrument": "flute"}, 3, seconds=seconds)
    assert x.shape == (3, 2, 1, 16, round(seconds * 8000 / 256))
    assert x.isfinite().all()


@pytest.mark.parametrize(("temperature", "guidance"), [(1.0, 1.0), (0.5, 2.0)])
def test_a_sample_of_the_training_length_is_that_of_the_prior(temperature, guidance):
    model, condition = sequences(), {"genre": ["jig", "clog"], "instrument": "flute"}
    torch.manual_seed(0)
    whole = model.sample(condition, 2, temperature, guidance)
    torch.manual_seed(0)
    assert torch.allclose(model.sample(condition, 2, temperature, guidance, seconds=1.024), whole, atol=1e-5)


def test_a_sequence_goes_on_from_what_it_has_given():
    prior = sequences().latent_prior
    c, u = torch.randn(3, 8), torch.randn(3, 32)
    flow = prior(c)
    z = flow.push(u).unflatten(1, (8, 4))
    assert torch.allclose(flow.follow(z[:, :3], u.unflatten(1, (8, 4))[:, 3:]), z[:, 3:], atol=1e-5)
    torch.manual_seed(0)
    longer = prior.continued(c, 20 * 4).unflatten(1, (20, 4))
    torch.manual_seed(0)
    noise = torch.randn(3, 20, 4)
    assert torch.allclose(longer[:, 8:12], flow.follow(longer[:, 4:8], noise[:, 8:12]), atol=1e-5)
    assert torch.allclose(longer[:, 16:], flow.follow(longer[:, 12:16], noise[:, 16:]), atol=1e-5)


def test_the_length_is_fixed_where_the_prior_is_no_sequence():
    with pytest.raises(
        ValueError, match=r"fixed at 1\.024 s: the model's prior is StandardNormal, and only a SequencePrior"
    ):
        small_model().sample({"genre": "jig"}, seconds=3.0)


def test_minutes_take_little_memory(tmp_path):
    model = sequences()
    model.sample({"genre": "jig"}, seconds=3.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = model.sample({"genre": "jig"}, 4, seconds=60.0)
    SoundFormat().write(model, x, tmp_path / "clips")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert [soundfile.info(file).frames for file in (tmp_path / "clips").iterdir()] == [1875 * 256] * 4
    assert grown < 200  # MB


# Sound.


def test_samples_become_files_at_the_common_level_and_come_back(tmp_path):
    model = small_model()
    time = torch.arange(8192) / 8000
    x = model.hear(torch.stack([torch.sin(2 * torch.pi * hertz * time) for hertz in (400, 900)]))
    SoundFormat().write(model, x, tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["000.wav", "001.wav"]
    sound, rate = soundfile.read(files[0])
    assert (rate, len(sound)) == (8000, 8192)
    assert np.sqrt((sound**2).mean()) == pytest.approx(0.1, abs=2e-3)
    assert np.abs(np.fft.rfft(sound)).argmax() * 8000 / 8192 == pytest.approx(400, abs=40)
    assert (SoundFormat().read(model, files[1]) - x[1:]).abs().mean() < 0.3
    SoundFormat().write(model, x[:1], tmp_path / "one.flac")
    assert soundfile.info(tmp_path / "one.flac").frames == 8192
    with pytest.raises(ValueError, match="2 clips need a folder"):
        SoundFormat().write(model, x, tmp_path / "two.wav")


def test_the_vocoder_is_kept_in_the_checkpoint(tmp_path):
    again = from_checkpoint(small_model(vocoder=GriffinLim(iterations=3)), tmp_path)
    assert again.vocoder == GriffinLim(iterations=3)


def test_media_show_and_sound(tmp_path):
    model = perturb(small_model(), 0.1)
    media = AudioReport().media(model, random_batch(6))
    assert media.pictures.keys() == {"reconstructions", "samples"}
    assert {name.split("-")[0] for name in media.sounds} == {"clip", "reconstruction", "sample"}
    assert media.captions.keys() == media.pictures.keys() | media.sounds.keys()
    assert media.files["samples"] == "samples-by-genre-instrument"
    assert (media.files["sample-1"], media.captions["sample-1"]) == ("sample-1-reel-flute", "sample 1: reel flute")
    first = media.sounds["sample-0"]
    assert first.picture.size[0] > 300
    first.save(tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").samplerate == 8000


@pytest.mark.parametrize("attributes", [{}, {"word": Categorical(("yes", "no"))}])
def test_media_need_not_have_two_conditions(attributes):
    model = perturb(small_model(attributes=attributes), 0.1)
    batch = Batch(torch.randn(6, 1, 16, 32), {name: torch.zeros(6, dtype=torch.long) for name in attributes})
    assert np.asarray(AudioReport().media(model, batch).pictures["samples"]).std() > 0


def test_one_batch_is_learnt_by_heart():
    model, batch = small_model(architecture=SpectrogramConv(channels=8, width=48, depth=1)), random_batch(4)
    smooth = torch.nn.functional.avg_pool2d(batch.x, 5, 1, 2) * 3
    batch = batch.replace(x=smooth)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = model.elbo(batch).elbo.mean().item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = -model.elbo(batch).elbo.mean()
        loss.backward()
        optimizer.step()
    assert SMALL.channels == 4
    assert model.elbo(batch).elbo.mean().item() > before + 150
    assert FEATURES.shape == (1, 16, 32)
