"""Starting trainings: jobs on a Slurm cluster, and the largest batch that fits into memory."""
