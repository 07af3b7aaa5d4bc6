"""Networks of the tabular CVAE, and the linear model that they start from."""
