"""Sweeps: many trainings from one YAML in W&B's schema, chosen by Optuna, shared by workers on any number of
nodes.
"""
