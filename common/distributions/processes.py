"""Statistics of a batch that several processes share."""

import torch.distributed
from torch import Tensor


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes, the tensor itself where there is one; call it in all of them.

    The gradient is that of this process's own part. Training averages gradients over the processes, so that the result
    is the gradient of the mean.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    total = values.detach().clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size() + (values - values.detach())
