import pytest
import torch
from torch import nn

from common.training.checkpoint import description
from common.training.module import ConditionalELBO
from tests.common.test_new_modality import BlobCVAE


class Foreign(nn.Module):
    """A condition encoder that knows nothing of the suite."""

    dim = 3

    def forward(self, fields):
        return nn.functional.one_hot(fields["cluster"], 3).float()


def save(model, path):
    torch.save({"state_dict": model.state_dict(), **description(model)}, path)
    return path


def test_a_foreign_encoder_trains_and_is_asked_for_when_its_model_is_loaded(tmp_path):
    path = save(BlobCVAE(Foreign()), tmp_path / "foreign.ckpt")
    with pytest.raises(ValueError, match=r"Foreign cannot be stored .* own class"):
        BlobCVAE.load_from_checkpoint(path)
    with pytest.raises(ValueError, match="own class"):
        ConditionalELBO.load_from_checkpoint(path)
    model = BlobCVAE.load_from_checkpoint(path, condition=Foreign())
    assert model.sample({"cluster": torch.tensor([0, 1])}).shape == (1, 2, 2)


def test_another_file_is_refused_by_name(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"other\.ckpt is not a checkpoint of the suite"):
        ConditionalELBO.load_from_checkpoint(tmp_path / "other.ckpt")


def test_stored_arguments_can_be_replaced(tmp_path):
    path = save(BlobCVAE(Foreign(), hidden=16), tmp_path / "small.ckpt")
    with pytest.raises(RuntimeError, match="size mismatch"):
        BlobCVAE.load_from_checkpoint(path, condition=Foreign(), hidden=8)
    assert BlobCVAE.load_from_checkpoint(path, condition=Foreign(), hidden=16)


def test_a_prior_of_the_models_own_replaces_the_injected_one():
    class Shifted(BlobCVAE):
        def prior(self, c):
            return torch.distributions.Independent(torch.distributions.Normal(c[:, :2] * 3, torch.ones(len(c), 2)), 1)

    model = Shifted(Foreign())
    z = model.prior(Foreign()({"cluster": torch.tensor([0, 1])}))
    assert torch.equal(z.mean, torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    assert model.sample({"cluster": torch.tensor([2])}, num_samples=5).shape == (5, 1, 2)
