"""Parts of a trained model as programs for other runtimes."""
