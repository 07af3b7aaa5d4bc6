import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from common.objectives.objectives import ELBO
from common.training.checkpoint_io import WholeCheckpointIO
from common.training.evaluator import Evaluator
from common.training.monitors import CollapseMonitor, NonFiniteGuard
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs
from tests.soak.non_finite import InBlocksOf16Bits, Injection, broken


def trainer(folder, *callbacks, **options):
    return Trainer(
        default_root_dir=folder, callbacks=list(callbacks), logger=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", limit_train_batches=5, limit_val_batches=1, **options,
    )  # fmt: skip


def model(digits, **options):
    return ImageCVAE(AttributeEncoder(digits.attributes), architecture=MLP([32]), latent_dim=4, **options)


def test_a_latent_that_carries_nothing_is_called_a_collapse_in_plain_words():
    monitor = CollapseMonitor()
    idle = {"kl": torch.full((10,), 0.01), "mean": torch.zeros(10, 4), "kl_per_unit": torch.full((10, 4), 0.0025)}
    assert "KL 0.010 nats, 0 of 4 units in use" in (monitor.warning(idle) or "")
    busy = {"kl": torch.full((10,), 8.0), "mean": torch.randn(10, 4), "kl_per_unit": torch.full((10, 4), 2.0)}
    assert monitor.warning(busy) is None


def test_the_collapse_monitor_warns_in_a_training_whose_beta_shuts_the_latent(digits, tmp_path):
    with pytest.warns(UserWarning, match="posterior collapse"):
        trainer(tmp_path, CollapseMonitor(from_epoch=1), max_epochs=2).fit(
            model(digits, objective=ELBO(beta=1e4)), digits
        )


def test_the_collapse_monitor_counts_the_units_of_a_validation_by_their_kl(digits, tmp_path):
    made = trainer(tmp_path, CollapseMonitor(min_kl=0.0, min_units=5, from_epoch=1), max_epochs=1)
    with pytest.warns(UserWarning, match=r"epoch 1: .* units in use") as caught:
        made.fit(model(digits), digits)
    table = Evaluator.of(made).validation
    assert table["kl_per_unit"].shape == (len(table["kl"]), 4)
    assert torch.allclose(table["kl_per_unit"].sum(1), table["kl"], rtol=1e-4)
    said = next(str(warning.message) for warning in caught if "units in use" in str(warning.message))
    count = int((table["kl_per_unit"].mean(0) > 0.05).sum())
    assert f", {count} of 4 units in use" in said
    assert CollapseMonitor(min_kl=0.0, min_units=count).warning(table) is None
    assert CollapseMonitor(min_kl=0.0, min_units=count + 1).warning(table) is not None


@pytest.mark.parametrize("option", ["latent", "recognition"])
def test_a_latent_that_is_left_out_or_drawn_from_the_prior_on_purpose_is_no_collapse(digits, tmp_path, recwarn, option):
    idle = model(digits, **{option: False})
    trainer(tmp_path, CollapseMonitor(from_epoch=1), max_epochs=2).fit(idle, digits)
    assert not [warning for warning in recwarn if "posterior collapse" in str(warning.message)]


def test_a_loss_that_is_no_number_stops_the_training_and_says_where(digits, tmp_path):
    broken = model(digits)
    torch.nn.init.constant_(broken.decoder.layers[0].weight, float("nan"))
    message = (
        r"step 0: the loss is nan; reconstruction of .* examples \(example .*not finite: .*decoder\.layers\.0\.weight"
    )
    with pytest.raises(FloatingPointError, match=message):
        trainer(tmp_path, NonFiniteGuard(every_n_steps=1), max_epochs=1).fit(broken, digits)


@pytest.mark.parametrize(
    ("own", "place", "message"),
    [
        (OWN[0], "data", r"step 4: the loss is nan; the data of 1 of 8 examples are not finite \(file .* class="),
        (OWN[1], "weight", r"step \d+: .*( not finite: \w+|1 states are not finite \(state_dict\.)"),
        (OWN[2], "gradient", r"step \d+: .* not finite"),
        (OWN[3], "loss", r"step 4: the loss is nan; .* a further term of the objective"),
    ],
    ids=lambda value: getattr(value, "modality", None),
)
def test_a_number_that_is_not_finite_ends_a_run_and_gets_into_no_checkpoint(own, place, message, tmp_path):
    injected = f"[{{class_path: tests.soak.non_finite.Injection, init_args: {{place: {place}, step: 4}}}}]"
    runs = Runs(own, tmp_path, "--trainer.callbacks", injected, "--data.batch_tokens=100" if own is OWN[1] else
                "--averaging=0.9")  # fmt: skip
    with pytest.raises(FloatingPointError, match=message):
        runs.fit("run", "--run.save_minutes", "0")
    last = runs.folder("run") / "checkpoints" / "last.ckpt"
    assert 3 <= torch.load(last, weights_only=True)["global_step"] <= 4
    assert broken(runs.folder("run")) == []


def scaled(folder, *callbacks, **options):
    return trainer(folder, NonFiniteGuard(), *callbacks, plugins=[InBlocksOf16Bits(), WholeCheckpointIO()], **options)


def test_an_overflow_in_16_bits_is_left_out_and_no_fault(digits, tmp_path):
    made = scaled(tmp_path, Injection("loss", 2), max_epochs=1)
    made.fit(model(digits), digits)
    assert made.global_step == 5
    assert made.precision_plugin.scaler.get_scale() < 2.0**16


@pytest.mark.parametrize(
    ("place", "step", "message"),
    [
        ("data", 2, "step 2: .* the data of 1 of 50 examples"),
        ("gradient", 0, "step 5: the last 5 of 5 steps were not taken"),
        ("gradient", 2, "step 5: the last 3 of 5 steps were not taken"),
    ],
)
def test_a_number_that_is_not_finite_is_a_fault_in_16_bits_too(place, step, message, digits, tmp_path):
    with pytest.raises(FloatingPointError, match=message):
        scaled(tmp_path, Injection(place, step, lasting=True), max_epochs=1).fit(model(digits), digits)


def test_a_weight_that_is_not_finite_is_not_saved_among_weights_alone(digits, tmp_path):
    saving = ModelCheckpoint(tmp_path, save_weights_only=True, every_n_train_steps=1, save_top_k=-1)
    injection = Injection("weight", 2)
    with pytest.raises(FloatingPointError, match="nothing was saved"):
        trainer(tmp_path, injection, saving, max_epochs=1, plugins=[WholeCheckpointIO()]).fit(model(digits), digits)
    assert len(list(tmp_path.glob("*.ckpt"))) == 2


def test_the_last_step_is_checked_where_nothing_is_saved(digits, tmp_path):
    made = trainer(tmp_path, Injection("gradient", 4), NonFiniteGuard(), max_epochs=1, enable_checkpointing=False)
    with pytest.raises(FloatingPointError, match="Weights that are not finite"):
        made.fit(model(digits), digits)
