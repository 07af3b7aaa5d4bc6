"""Code shared by all modalities: the ELBO, its estimators, conditioning, data, tracking and results."""

from common.lazy import defer_torchmetrics

defer_torchmetrics()  # before anything imports Lightning
