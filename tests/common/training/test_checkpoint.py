import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from common.conditions.attributes import Categorical
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.evaluation.evaluation import Evaluation
from common.evaluation.report import Report
from common.model.files import FileFormat
from common.training.checkpoint import FORMAT, description
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO
from common.training.restore import restore
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.files import ImageFormat
from modalities.image.networks import MLP
from modalities.image.report import ImageReport
from tests.common.models import PointCVAE
from tests.common.test_new_modality import BlobCVAE


class Foreign(ConditionEncoder):
    """A condition encoder that a checkpoint cannot hold: it is made with a function."""

    dim = 3

    def __init__(self, embed=lambda cluster: nn.functional.one_hot(cluster, 3).float()):
        super().__init__({"cluster": Categorical("abc")})
        self.embed = embed
        self.__dict__["_init_args"] = {"embed": embed}

    def forward(self, fields):
        return Condition(self.embed(fields["cluster"]))


def save(model, path):
    torch.save({"state_dict": model.state_dict(), **description(model)}, path)
    return path


def test_a_foreign_encoder_trains_and_is_asked_for_when_its_model_is_loaded(tmp_path):
    path = save(BlobCVAE(Foreign()), tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match=r"function cannot be stored .* own class"):
        BlobCVAE.load_from_checkpoint(path)
    with pytest.raises(ValueError, match="own class"):
        ConditionalELBO.load_from_checkpoint(path)
    model = BlobCVAE.load_from_checkpoint(path, condition=Foreign())
    assert model.sample({"cluster": torch.tensor([0, 1])}).shape == (1, 2, 2)


def test_a_condition_encoder_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"condition must be a common\.conditions\.encoders\.ConditionEncoder"):
        BlobCVAE(nn.Linear(1, 3))


def test_another_file_is_refused_by_name(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt is .*not a checkpoint of the suite"):
        ConditionalELBO.load_from_checkpoint(tmp_path / "other.ckpt")


def test_stored_arguments_can_be_replaced(tmp_path):
    path = save(BlobCVAE(Foreign(), hidden=16), tmp_path / "small.ckpt")
    with pytest.raises(ValueError, match="size mismatch"):
        BlobCVAE.load_from_checkpoint(path, condition=Foreign(), hidden=8)
    assert BlobCVAE.load_from_checkpoint(path, condition=Foreign(), hidden=16)


def test_a_prior_of_the_models_own_replaces_the_injected_one():
    class Shifted(BlobCVAE):
        def prior(self, c):
            return torch.distributions.Independent(
                torch.distributions.Normal(c.vector[:, :2] * 3, torch.ones(len(c), 2)), 1
            )

    model = Shifted(Foreign())
    z = model.prior(Foreign()({"cluster": torch.tensor([0, 1])}))
    assert torch.equal(z.mean, torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    assert model.sample({"cluster": torch.tensor([2])}, num_samples=5).shape == (5, 1, 2)


@pytest.mark.parametrize("found", [None, 0, FORMAT + 1])
def test_another_format_is_refused_in_one_line(tmp_path, found):
    path = save(PointCVAE(latent_dim=2), tmp_path / "old.ckpt")
    contents = torch.load(path, weights_only=True) | {"suite_format": found}
    if found is None:
        del contents["suite_format"]  # as before there were formats
    torch.save(contents, path)
    for read in (restore, ConditionalELBO.load_from_checkpoint):
        with pytest.raises(ValueError, match=rf"old\.ckpt has checkpoint format {found}, .* reads {FORMAT}") as error:
            read(str(path))
        assert "\n" not in str(error.value)


def trained(digits, folder, **options):
    """The checkpoint of a training of one step, and its model."""
    model = ImageCVAE(AttributeEncoder(digits.attributes), digits.shape, latent_dim=4, architecture=MLP([32]))
    trainer = Trainer(
        default_root_dir=folder, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, accelerator="cpu", devices=1, max_steps=1, limit_val_batches=1, **options,
    )  # fmt: skip
    trainer.fit(model, digits)
    trainer.save_checkpoint(folder / "digits.ckpt")
    return folder / "digits.ckpt", model


def test_a_checkpoint_gives_model_report_and_files_back(digits, tmp_path):
    path, model = trained(digits, tmp_path, callbacks=[Evaluator(Evaluation(), ImageReport())])
    found = restore(path)
    assert type(found.model) is ImageCVAE
    assert not found.model.training
    batch = digits.batch("test", 5)
    assert torch.equal(found.model.log_likelihood(batch, 10), model.log_likelihood(batch, 10))
    assert type(found.report) is ImageReport
    assert type(found.files) is ImageFormat
    assert found.report is found.report  # made once
    samples = found.model.sample({"digit": 3}, num_samples=4).flatten(0, 1)
    found.files.write(found.model, samples, tmp_path / "samples.png")
    assert found.files.read(found.model, tmp_path / "samples.png").shape == (1, *digits.shape)
    assert set(found.report.media(found.model, batch).pictures) == {"reconstructions", "samples", "traversal"}


def test_a_checkpoint_of_a_plain_trainer_gives_those_of_all_modalities(digits, tmp_path):
    path, _ = trained(digits, tmp_path)
    assert type(restore(path).report) is Report
    assert type(restore(path).files) is FileFormat
    bare = restore(save(PointCVAE(latent_dim=2), tmp_path / "bare.ckpt"))
    assert (bare.parts, type(bare.report), type(bare.files)) == ({}, Report, FileFormat)


@pytest.mark.parametrize("part", ["report", "files"])
@pytest.mark.parametrize("path", ["os.system", "builtins.dict", "tests.common.models.PointCVAE"])
def test_a_part_of_another_kind_is_refused(tmp_path, part, path):
    torch.save(
        torch.load(save(PointCVAE(latent_dim=2), tmp_path / "a"), weights_only=True) | {part: path}, tmp_path / "b"
    )
    with pytest.raises(TypeError, match="refused to build it from a checkpoint"):
        getattr(restore(tmp_path / "b"), part)
