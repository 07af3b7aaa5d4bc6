"""Code shared by all modalities: the ELBO, its estimators, conditioning, data, tracking and results."""
