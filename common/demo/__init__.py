"""A page in the browser on which trained models are tried out."""
