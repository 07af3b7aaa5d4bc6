import dataclasses
import math
import warnings

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.conditions.condition import Condition
from common.distributions.flows import FlowPrior
from common.distributions.priors import ConditionalNormal
from common.objectives.invariance import Adversary, InformationPenalty
from common.training.averaging import WeightEMA
from common.training.checkpoint import description
from common.training.module import ConditionalELBO
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.condition import SentenceReader
from modalities.text.evaluation.report import TextReport
from modalities.text.files import TextFormat
from modalities.text.model import Decoding
from modalities.text.networks.architectures import Compact
from modalities.text.networks.copying import Words
from modalities.text.tokenizer import Tokenizer
from tests.text.models import word_tokenizer

WORDS = word_tokenizer(
    "in", "the", "beginning", "god", "made", "heaven", "and", "earth", "unto", "thou", "you", "light"
)
STYLES = {"style": Categorical(["old", "new"])}
TEXTS = ["in the beginning", "god made heaven and earth", "unto thou", "you made light and heaven"]
SMALL = Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
READER = SentenceReader(width=8, heads=2, layers=1)


def tiny(source=False, use=None, architecture=SMALL, **options):
    condition = StyleEncoder(STYLES, WORDS, dim=6, use=use, source=READER if source else None, length=8)
    return TextStyleCVAE(condition, WORDS, 8, latent_dim=8, architecture=architecture, **options).eval()


def example_batch(source=False, view=False):
    """Four sentences; each with the one at its mirrored place as its source, or as another version of it."""
    fields = {"style": torch.tensor([0, 0, 1, 1])}
    x = WORDS.rows(TEXTS, 8)
    other = Batch(x.flip(0), {"style": fields["style"].flip(0)}) if view else None
    return Batch(x, fields | ({"source": x.flip(0)} if source else {}), view=other)


def tokens(*words):
    return [WORDS.backend.token_to_id(word) for word in words]


# The contract


@pytest.mark.parametrize("prior", [None, ConditionalNormal, FlowPrior])
@pytest.mark.parametrize("source", [False, True])
def test_every_prior_scores_writes_and_comes_back(prior, source, tmp_path):
    model, batch = tiny(source, prior=prior() if prior else None, vectors=2), example_batch(source)
    terms = model.elbo(batch)
    assert terms.elbo.shape == (4,)
    a_token = -terms.reconstruction / model.lengths(batch.x)
    assert a_token.tolist() == pytest.approx([math.log(13)] * 4, rel=0.15)  # twelve words and the end
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
    fields = {"style": [0, 1, 1], **({"source": batch.x[:3]} if source else {})}
    assert model.sample(fields, num_samples=2, guidance=1.5).shape == (2, 3, 8)
    again = from_checkpoint(model, tmp_path)
    assert torch.equal(again.log_likelihood(batch, 8), model.log_likelihood(batch, 8))


def from_checkpoint(model, folder):
    torch.save({"state_dict": model.state_dict(), **description(model)}, folder / "model.ckpt")
    return ConditionalELBO.load_from_checkpoint(folder / "model.ckpt")


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(temperature=0.7, top_p=0.9, beams=3)])
@pytest.mark.parametrize("source", [False, True])
def test_every_verb_writes_sentences(decoding, source):
    model, batch = tiny(source, decoding=decoding), example_batch(source)
    written = {
        "reconstruct": model.reconstruct(batch),
        "drawn": model.reconstruct(batch, draw=True),
        "transfer": model.transfer(batch, {"style": 1}, guidance=2.0),
        "transfer_alone": model.transfer(batch, {"style": 1}),
        "best": model.best_of({name: batch.condition[name] for name in batch.condition}, count=2, num_samples=4),
        "path": model.interpolate(batch, batch[torch.tensor([1, 0, 3, 2])], steps=3)[1],
        "sample": model.sample(batch.condition)[0],
    }
    for name, x in written.items():
        assert x.shape == (4, 8), name
        assert (x == WORDS.eos).sum(1).tolist() == [1] * 4, name
        assert len(model.texts(x)) == 4, name


def test_a_latent_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match=r"latent_dim \(8\) must be a multiple of vectors \(3\)"):
        tiny(vectors=3)


def test_samples_are_drawn_and_reconstructions_are_not():
    model, batch = tiny(), example_batch()
    assert not torch.equal(model.sample({"style": 0}, 8), model.sample({"style": 0}, 8))
    assert torch.equal(model.reconstruct(batch), model.reconstruct(batch))


def test_the_best_of_several_is_the_one_the_model_finds_likeliest_a_token(monkeypatch):
    model = tiny()
    drawn = torch.tensor([[[4, 5, 2, 0]], [[4, 5, 6, 2]], [[4, 2, 0, 0]]])
    totals = iter([torch.tensor([-3.0]), torch.tensor([-3.2]), torch.tensor([-2.2])])  # -1, -0.8 and -1.1 a token
    monkeypatch.setattr(model, "sample", lambda fields, count: drawn)
    monkeypatch.setattr(model, "log_likelihood", lambda *arguments: next(totals))
    assert model.best_of({"style": [0]}, 3).tolist() == [[4, 5, 6, 2]]


def test_files_go_out_and_come_back(tmp_path):
    model = tiny()
    TextFormat().write(model, example_batch().x, tmp_path / "new" / "texts.txt")
    assert (tmp_path / "new" / "texts.txt").read_text().splitlines() == TEXTS
    assert torch.equal(TextFormat().read(model, tmp_path / "new" / "texts.txt"), example_batch().x)


def test_media_are_tables_of_rewritings_and_samples():
    tables = TextReport().media(tiny(source=True), example_batch(source=True)).tables
    assert tables["rewritings"].columns.tolist() == ["style", "text", "reconstruction", "as old", "as new"]
    assert tables["rewritings"]["text"].tolist() == TEXTS
    assert tables["samples"]["style"].tolist() == ["old"] * 4 + ["new"] * 4


# Learning


def test_one_batch_is_learnt_by_heart():
    wide = Compact(width=32, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    model, batch = tiny(architecture=wide, vectors=2).train(), example_batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(300):
        optimizer.zero_grad()
        terms = model.elbo(batch)
        loss = (0.01 * terms.kl - terms.reconstruction).mean()  # z has to say which of a style's two it is
        loss.backward()
        optimizer.step()
    assert model.eval().elbo(batch).reconstruction.mean() > -0.3
    assert model.texts(model.reconstruct(batch)) == TEXTS


def test_the_translation_of_a_sentence_reads_it_as_the_source():
    model, batch = tiny(source=True), example_batch(source=True)
    given = Batch(batch.x, {"style": batch.condition["style"]})
    expected = model.sample({"style": 1, "source": batch.x}, temperature=0.0, draw=False)[0]
    assert torch.equal(model.transfer(given, {"style": 1}), expected)


def test_on_the_way_between_two_sources_only_their_own_tokens_are_read(monkeypatch):
    model, batch = tiny(source=True), example_batch(source=True)
    seen = []
    monkeypatch.setattr(model, "decode", lambda z, c: seen.append(c))
    monkeypatch.setattr(model, "sample_or_mean", lambda likelihood, draw: torch.zeros(1))
    first, second = batch[slice(0, 1)], batch[slice(1, 2)]
    model.interpolate(first, second, steps=4)
    ends = [model.embed(first), model.embed(second)]
    assert [end.source.tokens.shape[1] for end in ends] == [6, 3]
    for c, nearer, share in zip(seen, [ends[0]] * 2 + [ends[1]] * 2, [0, 1 / 3, 2 / 3, 1], strict=True):
        assert torch.equal(c.source.tokens, nearer.source.tokens)
        assert torch.equal(c.source.states, nearer.source.states)
        assert torch.allclose(c.vector, (1 - share) * ends[0].vector + share * ends[1].vector, atol=1e-6)


def test_guidance_moves_away_from_the_null_style_with_the_same_source():
    model, batch = tiny(source=True), example_batch(source=True)
    given, null = model.embed(batch), model.condition(model.condition.null(batch.condition))
    assert torch.equal(given.source.tokens, null.source.tokens)
    assert torch.equal(given.source.states, null.source.states)
    unlabelled = {"style": torch.full((4,), -1), "source": batch.condition["source"]}
    assert torch.allclose(null.vector, model.condition(unlabelled).vector, atol=1e-6)  # as training drops the style
    assert (given.vector - null.vector).abs().amax(1).min() > 1e-3


# Against posterior collapse


def test_without_a_latent_there_is_no_kl_and_no_effect_of_z():
    model, batch = tiny(latent=False), example_batch()
    assert model.elbo(batch).kl.tolist() == [0.0] * 4
    c = model.embed(batch)
    first, second = (model.decode(torch.randn(4, 8), c).log_prob(batch.x) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.allclose(model.log_likelihood(batch, 5), model.elbo(batch).elbo, atol=1e-4)
    assert (model.evaluation.num_samples, model.evaluation.gain_samples) == (1, 1)
    z = torch.randn(2, 4, 8)
    latent = tiny().decode(z, c).log_prob(batch.x)
    assert not torch.allclose(latent[0], latent[1], atol=1e-5)


@pytest.mark.parametrize(("source", "options"), [(True, {}), (False, {"vectors": 8, "stride": 1, "bag_of_words": 1.0})])
def test_the_decoder_works_in_half_precision_and_sums_in_full(source, options):
    architecture = dataclasses.replace(SMALL, copy_latent=bool(options))
    model, batch, seen = tiny(source, architecture=architecture, **options), example_batch(source), set()
    exact = model.draws(batch, 2, seed=0)
    model.decoder.layers[0].feed[0].register_forward_hook(lambda _, __, out: seen.add(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        draws = model.draws(batch, 2, seed=0)
        written = model.sample({"style": torch.tensor([0])} | ({"source": batch.x[:1]} if source else {}))
    assert seen == {torch.bfloat16}
    assert draws.log_likelihood.dtype == torch.float32
    assert torch.allclose(draws.log_likelihood, exact.log_likelihood, rtol=0.02)
    assert written.shape == (1, 1, 8)


def test_words_are_dropped_in_training_only():
    model, batch = tiny(word_dropout=0.5), example_batch()
    scores = [model.decode(torch.zeros(4, 8), model.embed(batch)).log_prob(batch.x) for _ in range(2)]
    assert torch.equal(*scores)
    model.train()
    scores = [model.decode(torch.zeros(4, 8), model.embed(batch)).log_prob(batch.x) for _ in range(2)]
    assert not torch.equal(*scores)


def test_the_encoder_does_not_tell_hidden_tokens_apart():
    model = tiny(hidden_tokens=tokens("unto", "thou"))
    x = WORDS.rows(["unto god", "thou god", "you god"])
    posterior = model.encode(x, model.condition({"style": torch.tensor([0, 0, 0])}))
    mean = posterior.base_dist.loc
    assert torch.allclose(mean[0], mean[1], atol=1e-6)
    assert not torch.allclose(mean[0], mean[2], atol=1e-4)
    likelihood = model.decode(torch.zeros(3, 8), model.condition({"style": torch.tensor([0, 0, 0])})).log_prob(x)
    assert not torch.allclose(likelihood[0], likelihood[1], atol=1e-4)  # the decoder has to write them all the same


def test_a_vector_without_tokens_is_standard_normal():
    model = tiny(vectors=4, stride=2)
    posterior = model.encode(WORDS.rows(["god made light", "god"], 8), Condition(torch.zeros(2, 6))).base_dist
    assert (posterior.loc.unflatten(-1, (4, 2)) == 0).all(-1).tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]
    assert (posterior.scale.unflatten(-1, (4, 2)) == 1).all(-1).tolist() == [[0, 0, 1, 1], [0, 1, 1, 1]]


class Table(nn.Module):
    """Words that depend on the first latent unit given: all alike at 0, surely "god" far above."""

    def forward(self, z, c, table):
        scores = torch.zeros(len(WORDS), 1)
        scores[tokens("god")[0]] = 1.0
        return Words(z[..., :1], scores, torch.zeros(len(WORDS)))


def god(z):
    """-log p of "god" and of any other token at a first unit of z."""
    total = torch.tensor([z] + [0.0] * (len(WORDS) - 1)).logsumexp(0).item()
    return total - z, total


def test_the_bag_of_words_term_is_the_cost_of_the_tokens_in_any_order():
    model = tiny(bag_of_words=0.5)
    model.words = Table()
    batch = Batch(WORDS.rows(["god made god", "light"]), {"style": torch.tensor([0, 1])})
    z = torch.zeros(1, 2, 8)
    z[0, :, 0] = torch.tensor([2.0, 1.0])
    (own, other), (_, last) = god(2.0), god(1.0)
    expected = 0.5 * ((2 * own + 2 * other) + 2 * last) / 2  # ends are tokens, padding is none
    assert model.auxiliary(batch, DrawsOf(z, batch))["bag_of_words"].item() == pytest.approx(expected, rel=1e-5)


def test_with_a_stride_each_vector_predicts_its_own_tokens():
    model = tiny(bag_of_words=1.0, vectors=2, stride=2)
    model.words = Table()
    batch = Batch(WORDS.rows(["god made god light god"]), {"style": torch.tensor([0])})
    z = torch.zeros(1, 1, 8)
    z[0, 0, 0], z[0, 0, 4] = 3.0, 1.0  # the first units of the two vectors
    expected = sum(god(3.0)) + 2 * sum(god(1.0))  # god made | god light god </s>
    other = Batch(WORDS.rows(["light"]), batch.condition, view=batch)  # z says what it was read from
    assert model.auxiliary(other, DrawsOf(z, batch))["bag_of_words"].item() == pytest.approx(expected, rel=1e-5)
    assert model.auxiliary(batch, DrawsOf(z, batch))["bag_of_words"].item() == pytest.approx(expected, rel=1e-5)


class DrawsOf:
    """Samples of z alone, and what they were read from."""

    def __init__(self, z, encoder_input):
        self.z, self.encoder_input = z, encoder_input
        self.condition = self.encoder_condition = Condition(torch.zeros(len(encoder_input), 64))


def test_without_a_weight_or_a_latent_there_is_no_bag_of_words():
    draws = DrawsOf(torch.zeros(1, 4, 8), example_batch())
    assert tiny().auxiliary(example_batch(), draws) == {}
    assert tiny(bag_of_words=1.0, latent=False).auxiliary(example_batch(), draws) == {}


def fit(model, steps, *callbacks):
    batch = example_batch()
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.fit(model, train_dataloaders=DataLoader([batch] * steps, batch_size=None))
    return trainer


class Phases(Callback):
    """Records whether each step trained a language model, and its KL."""

    def __init__(self):
        self.language_model, self.kl = [], []

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.language_model.append(model.language_model_phase)
        self.kl.append(float(trainer.callback_metrics["train/kl"]))


@pytest.mark.filterwarnings("ignore")
def test_the_first_steps_train_the_decoder_without_z():
    model, phases = tiny(language_model_steps=3), Phases()
    before = {name: weight.clone() for name, weight in model.encoder.named_parameters()}
    fit(model, 3, phases)
    assert all(torch.equal(weight, before[name]) for name, weight in model.encoder.named_parameters())
    fit(model, 5, phases)
    assert phases.language_model == [True] * 6 + [False] * 2
    assert phases.kl[:6] == [0.0] * 6
    assert min(phases.kl[6:]) > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("steps", "silent"), [(2, True), (4, False)])
def test_a_model_and_its_checkpoint_agree_on_whether_z_is_read(steps, silent, tmp_path):
    model, batch = tiny(language_model_steps=3), example_batch()
    fit(model, steps).save_checkpoint(tmp_path / "model.ckpt")
    again = ConditionalELBO.load_from_checkpoint(tmp_path / "model.ckpt")
    # Of another number of steps, which is no part of the weights.
    other = ConditionalELBO.load_from_checkpoint(tmp_path / "model.ckpt", language_model_steps=0)
    trained = tiny()
    trained.load_state_dict(torch.load(tmp_path / "model.ckpt", weights_only=True)["state_dict"])
    for one in (model.eval(), again, other, trained.eval()):
        assert one.ignores_latent is one.language_model_phase is silent
        assert torch.equal(one.log_likelihood(batch, 4), model.log_likelihood(batch, 4))
    z, c = torch.randn(2, 4, 8), again.embed(batch)
    scores = again.decode(z, c).log_prob(batch.x)
    assert torch.equal(scores[0], scores[1]) is silent


def test_weights_from_before_the_phase_was_stored_are_past_it():
    model, state = tiny(), tiny().state_dict()
    model.language_model_phase = True
    del state["warm_start"]
    model.load_state_dict(state)
    assert model.language_model_phase is False
    assert model.state_dict()["warm_start"].item() == 0


@pytest.mark.parametrize(("steps", "phase"), [(3, True), (6, False)])
def test_averaged_weights_keep_the_phase(steps, phase):
    model, averaging = tiny(language_model_steps=3), WeightEMA(0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = fit(model, steps, averaging)
    assert averaging._average_model.module.state_dict()["warm_start"].item() == int(phase)
    assert trainer.model.state_dict()["warm_start"].item() == int(phase)


@pytest.mark.parametrize(("steps", "latent"), [(2, True), (4, True), (2, False)])
def test_a_training_that_ends_within_the_warm_start_says_so(steps, latent):
    model = tiny(language_model_steps=3, latent=latent)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, steps)
    said = [str(warning.message) for warning in caught if "language_model_steps" in str(warning.message)]
    if steps == 4 or not latent:
        assert said == []
    else:
        assert len(said) == 1
        assert "training ended after 2 steps, within the 3 of its warm start" in said[0]


def test_in_training_z_is_read_from_the_other_version():
    model, batch = tiny(), example_batch(view=True)
    own = model.encode(batch.x, model.embed(batch)).mean
    other = model.encode(batch.view.x, model.embed(batch.view)).mean
    assert not torch.allclose(own, other, atol=1e-2)
    assert torch.equal(model.draws(batch).posterior.mean, own)
    model.train()
    assert torch.equal(model.draws(batch).posterior.mean, other)
    assert torch.equal(model.draws(example_batch()).posterior.mean, own)


def test_what_is_removed_from_z_is_the_style_of_the_version_it_was_read_from():
    model, batch = tiny(invariance=Adversary()).train(), example_batch(view=True)
    seen = []
    model.invariance.register_forward_hook(lambda module, given, result: seen.append(given[2]["style"]))
    model.auxiliary(batch, model.draws(batch))
    assert seen[0].tolist() == batch.view.condition["style"].tolist() == [1, 1, 0, 0]


def test_a_translation_reads_z_from_the_sentence_itself():
    model, batch = tiny(source=True).train(), example_batch(source=True)
    assert torch.equal(model.draws(batch).posterior.mean, model.encode(batch.x, model.embed(batch)).mean)


# Checkpoints


@pytest.mark.filterwarnings("ignore")
def test_a_trained_model_comes_back_with_its_tokenizer(tmp_path):
    options = {"hidden_tokens": tokens("unto"), "bag_of_words": 0.1, "vectors": 4, "stride": 2}
    model = tiny(invariance=InformationPenalty(0.5), decoding=Decoding(beams=2), **options)
    fit(model.train(), 2).save_checkpoint(tmp_path / "model.ckpt")
    again = ConditionalELBO.load_from_checkpoint(tmp_path / "model.ckpt")
    batch = example_batch()
    assert type(again) is TextStyleCVAE
    assert again.tokenizer.encode(TEXTS) == WORDS.encode(TEXTS)
    assert again.decoding == Decoding(beams=2)
    assert again.hidden.nonzero()[:, 0].tolist() == tokens("unto")
    assert torch.equal(again.invariance.first, model.invariance.first)
    assert torch.equal(again.log_likelihood(batch, 4), model.log_likelihood(batch, 4))
    assert again.texts(again.reconstruct(batch)) == model.texts(model.reconstruct(batch))


def test_a_model_that_uses_no_label_is_the_same_under_every_style():
    model, batch = tiny(use=[]), example_batch()
    other = batch.replace(condition={"style": 1 - batch.condition["style"]})
    assert torch.equal(model.log_likelihood(batch, 4), model.log_likelihood(other, 4))


def test_a_transfer_is_guided_as_the_decoding_says_unless_told_otherwise():
    model = tiny(decoding=Decoding(guidance=3.0))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    batch = example_batch()
    own, strong, none = (model.transfer(batch, {"style": 1}, *given) for given in ((), (3.0,), (1.0,)))
    assert torch.equal(own, strong)
    assert not torch.equal(own, none)
    assert torch.equal(model.reconstruct(batch), model.transfer(batch, {}, 1.0))  # guidance is for rewriting


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1}, r"decoding\.temperature must be at least 0; got -1"),
        ({"temperature": float("nan")}, r"decoding\.temperature must be at least 0; got nan"),
        ({"top_p": 1.5}, r"decoding\.top_p must be above 0 and at most 1; got 1\.5"),
        ({"top_p": 0}, r"decoding\.top_p must be above 0 and at most 1; got 0"),
        ({"beams": 0}, r"decoding\.beams must be at least 1; got 0"),
        ({"length_penalty": -1}, r"decoding\.length_penalty must be at least 0; got -1"),
        ({"guidance": -1}, r"decoding\.guidance must be at least 0; got -1"),
    ],
)
def test_options_of_decoding_have_a_range(options, message):
    with pytest.raises(ValueError, match=message):
        Decoding(**options)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Compact(width=0), r"architecture\.width must be at least 1; got 0"),
        (lambda: Compact(dropout=1.5), r"architecture\.dropout must be at least 0 and at most 1; got 1\.5"),
        (lambda: Compact(width=10, heads=4), r"width \(10\) must be a multiple of heads \(4\)"),
        (lambda: SentenceReader(layers=-1), r"layers must be at least 1; got -1"),
        (lambda: TextStyleCVAE(None, None, latent_dim=0), r"model\.latent_dim must be at least 1; got 0"),
        (lambda: TextStyleCVAE(None, None, stride=-1), r"model\.stride must be at least 0; got -1"),
        (lambda: TextStyleCVAE(None, None, word_dropout=2.0), r"model\.word_dropout must be at least 0 and at most 1"),
        (lambda: TextStyleCVAE(None, None, rewrites=-3), r"model\.rewrites must be at least 0; got -3"),
        (lambda: Tokenizer.train([], 100), r"vocabulary must be at least 260"),
    ],
)
def test_sizes_of_a_model_have_a_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()
