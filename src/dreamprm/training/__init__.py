"""Training a PRM: the bi-level loop, DreamPRM's problem, its assembly from a configuration, and baselines."""
