"""A latent model in Lightning: steps, checkpoints, the command line and its callbacks."""
