"""From raw files to shards: sources → split → encode → shards, streamed."""

from ssm_hpn.prepare.pipeline import prepare
from ssm_hpn.prepare.prepared import Prepared, is_prepared, untouched, verify, verify_part

__all__ = ["Prepared", "is_prepared", "prepare", "untouched", "verify", "verify_part"]
