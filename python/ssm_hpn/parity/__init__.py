"""Parity: the core against references written in other frameworks, in float64, over random configurations.

`cases` draws configurations and batches, `reference_jax` and `reference_torch` compute loss, scores and gradients with
automatic differentiation, `compare` compares the core with them, tensor by tensor, each with its bound.
"""

from ssm_hpn.parity.compare import BOUNDS, Row, run

__all__ = ["BOUNDS", "Row", "run"]
