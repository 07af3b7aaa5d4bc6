"""The latent model and its generation methods, in plain torch."""
