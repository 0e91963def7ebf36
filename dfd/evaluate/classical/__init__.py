"""Classical and unsupervised baselines: what shallow models and clusterings make of the same pictures."""
