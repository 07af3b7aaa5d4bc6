"""Posterior, likelihoods and priors: normalised distributions in nats."""
