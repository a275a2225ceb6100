"""Training selective state space models with hyperspherical prototype heads on CPUs."""
