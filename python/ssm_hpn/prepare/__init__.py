"""From raw files to shards: sources → split → encode → shards, streamed."""

from ssm_hpn.prepare.pipeline import prepare as prepare
from ssm_hpn.prepare.prepared import Prepared as Prepared
from ssm_hpn.prepare.prepared import is_prepared as is_prepared
from ssm_hpn.prepare.prepared import moved_here as moved_here
from ssm_hpn.prepare.prepared import older as older
from ssm_hpn.prepare.prepared import untouched as untouched
from ssm_hpn.prepare.prepared import verify as verify
from ssm_hpn.prepare.prepared import verify_part as verify_part
from ssm_hpn.prepare.stdlib_corpus import prepare_default as prepare_default
