"""Many processes: jobs on a cluster, and sweeps: many trainings from one file."""
