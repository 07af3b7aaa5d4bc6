"""A prior over sequences of latent vectors: each step is drawn given the steps before it and the condition."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from common.distributions.flows import Coupling, Flow
from common.distributions.priors import Encode, Prior, factorises
from common.nn.film import expand


class SequencePrior(Prior):
    """p(z | c) = prod_s p(z_s | z_1 ... z_{s-1}, c): a recurrent network over the steps, a small flow within each.

    The latent of a clip represents a sequence of notes: with independent steps, samples would have neither a tempo nor
    a melody. Source of the recurrent prior: Chung et al. 2015, "A Recurrent Latent Variable Model for Sequential Data",
    equation 5, here with couplings (Dinh et al. 2017) in place of a Gaussian.

    Args:
        channels: size of the latent vector of a step.
        width: width of the recurrent network.
        layers: coupling layers of each step.
        hidden: width of the coupling layers' hidden layers.
    """

    def __init__(self, channels: int = 8, width: int = 192, layers: int = 4, hidden: int = 64) -> None:
        super().__init__()
        self.channels, self.width, self.layers, self.hidden = channels, width, layers, hidden

    def build(self, latent_dim: int, condition_dim: int, encode: Encode, shape: tuple[int, ...] | None) -> None:
        """Creates the networks.

        Raises:
            ValueError: if `channels` does not divide `latent_dim`, or is below 2.
        """
        super().build(latent_dim, condition_dim, encode, shape)
        if latent_dim % self.channels or self.channels < 2:
            raise ValueError(f"channels ({self.channels}) must divide latent_dim ({latent_dim}) and be at least 2")
        self.start = nn.Linear(condition_dim, self.width)
        self.recurrent = nn.GRU(self.channels + condition_dim, self.width, batch_first=True)
        inputs = self.width + condition_dim
        self.couplings = nn.ModuleList(Coupling(self.channels, inputs, self.hidden) for _ in range(self.layers))

    def forward(self, c: Tensor) -> "SequenceFlow":
        """p(z | c) for each row of c."""
        return SequenceFlow(self, c)

    def continued(self, c: Tensor, size: int, temperature: float = 1.0) -> Tensor:
        """Samples [B, size] for c [B, C], of any length; that of a clip is drawn from p(z | c).

        Each step beyond is drawn given the steps of half a clip to a whole one before it, as if these began a clip, so
        that the network never counts further than in training.

        Args:
            c: [B, C].
            size: entries of z of a sequence that may be longer or shorter than a clip's.
            temperature: scale of z around the sequence without noise.
        """
        u = torch.randn(len(c), -(-size // self.channels), self.channels, device=c.device)
        z = self._continue(c, u)
        if temperature != 1.0:
            centre = self._continue(c, torch.zeros_like(u))
            z = centre + temperature * (z - centre)
        return z.flatten(1)[:, :size]

    def _continue(self, c: Tensor, u: Tensor) -> Tensor:
        """Steps [B, S, channels] from base noise [B, S, channels]."""
        whole, flow = self.size // self.channels, SequenceFlow(self, c)
        z = flow.push(u[:, :whole].flatten(1)).unflatten(1, (-1, self.channels))
        while z.shape[1] < u.shape[1]:
            known, count = z[:, -(whole - whole // 2) :], max(1, whole // 2)
            z = torch.cat([z, flow.follow(known, u[:, z.shape[1] : z.shape[1] + count])], dim=1)
        return z


class SequenceFlow(Flow):
    """Distribution of z with batch shape [B] and event shape [S * channels], steps one after the other."""

    def __init__(self, prior: SequencePrior, c: Tensor) -> None:
        super().__init__(prior.couplings, c, prior.size)
        self.network = prior

    def pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """u [..., B, D], the base noise of z, and log |du/dz| [..., B]; all steps in parallel."""
        rows = z.flatten(0, -2).unflatten(-1, (-1, self.network.channels))
        c = expand(self.c, z).flatten(0, -2)
        before = torch.nn.functional.pad(rows, (0, 0, 1, 0))[:, :-1]
        steps = c.unsqueeze(1).expand(-1, rows.shape[1], -1)
        h, _ = self._recur(torch.cat([before, steps], dim=-1), self._start(c))
        context = torch.cat([h, steps], dim=-1).flatten(0, 1)
        u, log_determinant = rows.flatten(0, 1), rows.new_zeros(rows.shape[0] * rows.shape[1])
        for coupling in self.couplings:
            u, change = coupling(u, context)
            log_determinant = log_determinant + change
        total = log_determinant.unflatten(0, rows.shape[:2]).sum(-1)
        return u.unflatten(0, rows.shape[:2]).flatten(1).unflatten(0, z.shape[:-1]), total.unflatten(0, z.shape[:-1])

    def push(self, u: Tensor) -> Tensor:
        """z [..., B, D] from base noise u [..., B, D], step by step."""
        noise = u.flatten(0, -2).unflatten(-1, (-1, self.network.channels))
        c = expand(self.c, u).flatten(0, -2)
        before = noise.new_zeros(len(noise), self.network.channels)
        return self._steps(noise, c, before, self._start(c)).flatten(1).unflatten(0, u.shape[:-1])

    def follow(self, known: Tensor, noise: Tensor) -> Tensor:
        """Steps [B, n, channels] from base noise, after steps [B, k, channels] that begin a sequence."""
        before = torch.nn.functional.pad(known, (0, 0, 1, 0))[:, :-1]
        steps = self.c.unsqueeze(1).expand(-1, known.shape[1], -1)
        _, state = self._recur(torch.cat([before, steps], dim=-1), self._start(self.c))
        return self._steps(noise, self.c, known[:, -1], state)

    def _steps(self, noise: Tensor, c: Tensor, z: Tensor, state: Tensor) -> Tensor:
        """Steps [N, n, channels] from base noise, after the step z [N, channels] and what the network remembers."""
        steps = []
        for step in noise.unbind(1):
            h, state = self._recur(torch.cat([z, c], dim=-1).unsqueeze(1), state)
            z = step
            for coupling in reversed(self.couplings):
                assert isinstance(coupling, Coupling)
                z = coupling.inverse(z, torch.cat([h[:, 0], c], dim=-1))
            steps.append(z)
        return torch.stack(steps, dim=1)

    def _recur(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [N, n, width] and the state after them, in single precision: errors of 16 bits add up over steps.

        Autocast would also give the kernels of a GPU inputs and states of two types.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            outputs, after = self.network.recurrent(inputs.float(), state.float())
        return outputs, after

    def _start(self, c: Tensor) -> Tensor:
        return torch.tanh(self.network.start(c)).unsqueeze(0)


def counterfactual_latent(z: Tensor, own: Distribution, other: Distribution, temperature: float = 1.0) -> Tensor:
    """z' [B, D], the counterfactual of z under another prior: the value with the same base noise u.

    Abduction, action and prediction: u from z and p(z | c), then z' from u and p(z | c'). If z depends on the condition
    it changes with it, and z' is as typical of the other condition as z was of its own. Source: Pawlowski, Castro and
    Glocker 2020, "Deep Structural Causal Models for Tractable Counterfactual Inference", section 3.2.

    Args:
        z: [B, D].
        own: p(z | c), batch shape [B].
        other: p(z | c'), batch shape [B].
        temperature: scale of u; below 1, z' retains less of z and is more typical of the other condition.

    Raises:
        TypeError: for a prior that is neither a flow nor a Gaussian.
    """
    if isinstance(own, Flow) and isinstance(other, Flow):
        return other.push(temperature * own.pull(z)[0])
    if factorises(own) and factorises(other):
        a, b = own.base_dist, other.base_dist
        return b.loc + temperature * b.scale * (z - a.loc) / a.scale
    raise TypeError(f"no counterfactual of z from {own} to {other}: use a flow or a Gaussian as prior")
