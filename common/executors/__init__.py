"""Where jobs run, such as the cells of a table and the workers of a sweep: here, on a Ray cluster, or under SLURM."""
