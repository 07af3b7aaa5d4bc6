"""Models as folders and repositories of the Hugging Face hub."""

from pathlib import Path
from typing import Any, Self

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download

from common.training.checkpoint import description, rebuild
from common.training.checkpoint_file import CONFIG, WEIGHTS, is_pretrained
from common.training.evaluator import Evaluator
from common.training.model_card import card, data_of
from common.training.pretrained import write_pretrained


class Shared(ModelHubMixin):
    """`save_pretrained`, `from_pretrained` and `push_to_hub`: weights as safetensors, the rest as JSON, a model card.

    Attributes:
        stored: what the checkpoint of a loaded model holds beside its weights: the terms of its data, its format of
            files and its report.
    """

    _hub_mixin_config: Any = {}  # noqa: RUF012 (the mixin's own is made from arguments that JSON may not hold)
    stored: dict[str, Any] = {}  # noqa: RUF012

    def _save_pretrained(self, save_directory: Path) -> None:
        model: Any = self
        write_pretrained(save_directory, {**self.described(), "state_dict": model.state_dict()})

    def described(self) -> dict[str, Any]:
        """What a checkpoint stores of this model, without its weights."""
        model: Any = self
        stored = {**self.stored, **description(model, model.data)}
        trainer = model._trainer
        for callback in () if trainer is None else trainer.callbacks:
            if isinstance(callback, Evaluator):
                callback.on_save_checkpoint(trainer, model, stored)
        return stored

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        map_location: Any = "cpu",
        **arguments: Any,
    ) -> Self:
        """The model of a folder or of a repository, in evaluation mode; nothing in it is run.

        Args:
            pretrained_model_name_or_path: a folder that `save_pretrained` wrote, or a repository, `user/name`.
            force_download: as in huggingface_hub.
            token: as in huggingface_hub.
            cache_dir: as in huggingface_hub.
            local_files_only: as in huggingface_hub.
            revision: as in huggingface_hub.
            map_location: device, as in `torch.load`.
            arguments: replace the stored arguments of the constructor.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged, or the model is of another class.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            place = snapshot_download(
                str(pretrained_model_name_or_path),
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                token=token,
                local_files_only=local_files_only,
                allow_patterns=[CONFIG, WEIGHTS],
            )
            folder = Path(place)
        if not is_pretrained(folder):
            raise FileNotFoundError(f"{folder} has no {CONFIG} and {WEIGHTS}: save_pretrained writes them")
        model: Self = rebuild(cls, folder, map_location, arguments)
        return model

    def generate_model_card(self, **further: Any) -> ModelCard:
        """The card, see `common.training.model_card.card`.

        Args:
            further: replace its arguments.
        """
        model: Any = self
        kind = type(self).__name__
        known = {
            "name": kind,
            "kind": kind,
            "condition": model.condition.example(),
            "place": "this folder",
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "data": data_of(self.described()),
        }
        return ModelCard(card(**(known | further)))
