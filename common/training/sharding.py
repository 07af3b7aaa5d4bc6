"""Training whose weights, gradients and moments are divided among the processes: torch's `fully_shard`."""

from collections.abc import Mapping
from typing import Any


class Sharded:
    """A LightningModule whose states are divided where Lightning's ModelParallelStrategy trains it.

    A training step gathers the weights, and divides them again after its backward pass; between steps each process
    keeps its share of weights, gradients and moments. Evaluation has the whole weights throughout: figures and pictures
    call more than a step. Source: Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel",
    section 3.2.1, there for each layer.
    """

    def configure_model(self) -> None:
        """Divides the states once, over all processes of the strategy's mesh."""
        model: Any = self
        mesh = getattr(model, "_device_mesh", None)
        if mesh is None or hasattr(self, "unshard"):
            return
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        fully_shard(model, mesh=mesh["data_parallel", "tensor_parallel"]._flatten())
        register_fsdp_forward_method(model, "training_step")  # which is called in place of `forward`

    def on_validation_start(self) -> None:
        """Gathers the weights."""
        self.gather()

    def on_test_start(self) -> None:
        """Gathers the weights."""
        self.gather()

    def on_predict_start(self) -> None:
        """Gathers the weights."""
        self.gather()

    def gather(self) -> None:
        """Has the whole weights in every process, until the next training step or checkpoint divides them again."""
        if hasattr(self, "unshard"):
            self.unshard()

    def take_weights(self, states: Mapping[str, Any]) -> None:
        """Loads the weights of a whole model, of which each process takes its share where they are divided."""
        model: Any = self
        if not hasattr(self, "unshard"):
            model.load_state_dict(states)
            return
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        set_model_state_dict(model, dict(states), options=StateDictOptions(full_state_dict=True))
