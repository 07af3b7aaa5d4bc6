"""What every modality shares: the ELBO, its estimators, conditioning, data, tracking and results."""
