"""The latent model and its verbs, in plain torch."""
