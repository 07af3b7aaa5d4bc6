"""What a model of the suite takes from ConditionalELBO, and what it keeps of its own."""

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.evaluation.evaluation import Evaluation
from common.objectives.invariance import Adversary, InformationPenalty
from common.objectives.objectives import ELBO, IWAE, DReG
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO
from modalities.audio import AudioGenreCVAE
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from modalities.tabular import ObservedCellsEncoder, TabularCVAE
from modalities.tabular.columns import Column
from modalities.text import TextStyleCVAE
from tests.common.models import PointCVAE, Unconditional

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


def defaults(model):
    """What a command line offers for a model, with its defaults."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(model, "model")
    return vars(parser.get_defaults().model)


@pytest.mark.parametrize(
    ("model", "own"),
    [
        (ImageCVAE, {"latent_dim": 32, "shape": (1, 28, 28), "recognition": True}),
        (TextStyleCVAE, {"latent_dim": 32, "length": 48, "rewrites": 200}),
        (AudioGenreCVAE, {"latent_dim": 256, "transfers": 300, "counterfactual": None}),
        (TabularCVAE, {"latent_dim": 8, "hidden": 128, "layers": 2}),
    ],
)
def test_a_command_line_offers_the_arguments_of_the_base_beside_the_models_own(model, own):
    found = defaults(model)
    assert {name: found[name] for name in own} == own
    base = {"prior", "objective", "optimizer", "scheduler", "compile", "evaluation", "invariance"}
    assert base <= found.keys()
    assert (found["scheduler"], found["invariance"], found["prior"], found["compile"]) == (None, None, None, False)
    assert found["objective"].class_path == "common.objectives.objectives.ELBO"
    assert found["objective"].init_args.beta == 1.0
    assert found["optimizer"].class_path == "torch.optim.Adam"
    assert found["evaluation"].init_args.num_samples == 1000


@pytest.mark.parametrize("model", [AudioGenreCVAE, TabularCVAE])
def test_a_command_line_leaves_out_what_a_model_works_out_itself(model):
    assert "shape" not in defaults(model)


def test_a_subclass_keeps_its_own_defaults_and_hands_on_the_rest():
    model = ImageCVAE(Unconditional(), shape=(1, 8, 8), architecture=MLP([8]), objective=IWAE(num_samples=3))
    assert model.latent_prior.latent_dim == 32
    assert model.encode(torch.zeros(2, 1, 8, 8), model.condition({}).expand(2)).event_shape == (32,)
    assert model.objective == IWAE(num_samples=3)
    smaller = ImageCVAE(Unconditional(), shape=(1, 8, 8), architecture=MLP([8]), latent_dim=5)
    assert smaller.latent_prior.latent_dim == 5
    assert smaller.objective == ELBO()


class Importance(PointCVAE):
    """Another default than the base has, for one of the base's own arguments."""

    def __init__(self, objective=IWAE(num_samples=7), **base):  # noqa: B008
        super().__init__(objective=objective, **base)


def test_a_subclass_may_have_another_default_for_an_argument_of_the_base():
    assert Importance(latent_dim=2).objective == IWAE(num_samples=7)
    assert Importance(objective=ELBO(2.0)).objective == ELBO(2.0)


@pytest.mark.parametrize("regulariser", [InformationPenalty, Adversary])
def test_a_table_has_no_category_to_take_out_of_z(regulariser):
    columns = [Column("size", "continuous", "gaussian"), Column("weight", "continuous", "gaussian")]
    with pytest.raises(ValueError, match="categorical condition") as error:
        TabularCVAE(ObservedCellsEncoder(columns, 4), columns, latent_dim=2, hidden=8, invariance=regulariser())
    assert "\n" not in str(error.value)


def test_the_invariance_regulariser_is_a_term_of_the_loss():
    encoder = AttributeEncoder({"digit": Categorical(("0", "1"))}, dim=4)
    parts = {"shape": (1, 4, 4), "latent_dim": 2, "architecture": MLP([8])}
    model = ImageCVAE(encoder, invariance=InformationPenalty(weight=3.0, momentum=1.0), **parts)
    batch = Batch(torch.rand(20, 1, 4, 4), {"digit": torch.arange(20) % 2})
    samples = model.draws(batch)
    (name, term), *others = model.auxiliary(batch, samples).items()
    alone = InformationPenalty(weight=1.0, momentum=1.0)
    alone.build(2, encoder.attributes)
    expected = 3 * alone(samples.z[0], samples.posterior, batch.condition)
    assert (name, others) == ("invariance", [])
    assert term.item() == pytest.approx(expected.item(), rel=1e-5)
    assert ImageCVAE(encoder, **parts).auxiliary(batch, samples) == {}


def test_dreg_leaves_an_adversary_its_gradient():
    encoder = AttributeEncoder({"digit": Categorical(("0", "1"))}, dim=4)
    model = ImageCVAE(encoder, shape=(1, 4, 4), latent_dim=2, architecture=MLP([8]), invariance=Adversary(2.0, 8))
    batch = Batch(torch.rand(20, 1, 4, 4).round(), {"digit": torch.arange(20) % 2})

    def gradients(*terms):
        model.zero_grad()
        torch.manual_seed(0)
        samples = model.draws(batch, 5)
        sum(term(samples) for term in terms).backward()
        return torch.cat([(0 * w if w.grad is None else w.grad).flatten() for w in model.encoder.parameters()])

    def objective(samples):
        return DReG(num_samples=5)(samples, 0)

    def adversary(samples):
        return model.auxiliary(batch, samples)["invariance"]

    alone = gradients(adversary)
    assert alone.abs().max() > 1e-4
    assert torch.allclose(gradients(objective, adversary), gradients(objective) + alone, atol=1e-5)


def test_a_plain_trainer_gets_an_evaluator_and_one_that_has_one_keeps_it():
    loader = torch.utils.data.DataLoader([Batch(torch.randn(10, 3), {})] * 2, batch_size=None)
    model = PointCVAE(latent_dim=2, evaluation=Evaluation(num_samples=5))
    trainer = Trainer(accelerator="cpu", devices=1, **QUIET)
    with pytest.raises(ValueError, match="no Evaluator among its callbacks"):
        Evaluator.of(trainer)
    trainer.test(model, loader, verbose=False)
    assert Evaluator.of(trainer).evaluation == Evaluation(num_samples=5)
    assert Evaluator.of(trainer).results["test/nll"].n == 20
    own = Evaluator(Evaluation(num_samples=2))
    trainer = Trainer(accelerator="cpu", devices=1, callbacks=[own], **QUIET)
    trainer.test(model, loader, verbose=False)
    assert [callback for callback in trainer.callbacks if isinstance(callback, Evaluator)] == [own]
    assert own.results["test/nll"].estimator == "importance sampling, 2 samples"


def test_a_model_without_a_training_has_no_data():
    assert PointCVAE().data is None
    assert isinstance(PointCVAE(), ConditionalELBO)
