"""This package: one training step through `Trainer.step(batch)`, the same work as the other peers.

Rows `ssm_hpn` at S, M and Lb; `ssm_hpn_recompute` is M with activation recomputation; `ssm_hpn_bf16` has the factors of
products in bf16.
Run: python peer_ssm_hpn.py [--peers ..] [--configs ..]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_common import CONFIGS, THREADS, main, report, rss_mb, time_steps

PEERS = ["ssm_hpn", "ssm_hpn_recompute", "ssm_hpn_bf16"]


def trainer_and_batch(peer, c, threads):
    import numpy as np

    from ssm_hpn import Trainer

    rng = np.random.default_rng(0)
    tokens = rng.integers(0, c["vocab"], (c["batch"], c["seq"] + 1))
    shape = (c["batch"], c["seq"], c["d_model"])
    block = {"kind": "mamba1", "d_state": c["d_state"], "d_conv": c["d_conv"], "expand": c["expand"]}
    model = {"d_model": c["d_model"], "n_layers": c["n_layer"], "block": block}
    model["activation_memory"] = "recompute" if peer == "ssm_hpn_recompute" else "keep"
    if c["head"]:
        # tied, as the peers': the logits are hidden states times the embedding
        model["input"] = {"kind": "tokens", "vocab_size": c["vocab"]}
        model["target"] = {"kind": "next_token"}
        model["head"] = {"kind": "linear", "n_outputs": c["vocab"], "loss": "softmax", "tied": True, "bias": False}
        batch = {
            "tokens": np.ascontiguousarray(tokens[:, :-1], np.uint32),
            "token_class": np.ascontiguousarray(tokens[:, 1:], np.int32),
        }
    else:
        model["input"] = {"kind": "hidden"}
        model["target"] = {"kind": "cotangent"}
        model["head"] = {"kind": "none"}
        cotangent = rng.normal(size=shape) / (c["batch"] * c["seq"])
        batch = {"features": rng.normal(size=shape).astype(np.float32), "cotangent": cotangent.astype(np.float32)}
    config = {
        "model": model,
        "optim": {"lr": 1e-3, "weight_decay": 0.01, "clip_norm": 1.0, "schedule": {"kind": "constant", "warmup": 0}},
        "train": {"threads": threads, "seed": 0},
    }
    if peer == "ssm_hpn_bf16":
        config["train"]["precision"] = "bf16"
    return Trainer(config), batch


def run_one(peer, cfg):
    import ssm_hpn.trainer  # noqa: F401 - memory is counted from after the import

    rss0 = rss_mb()
    trainer, batch = trainer_and_batch(peer, CONFIGS[cfg], THREADS)
    ts, warm, losses = time_steps(lambda: trainer.step(batch).loss)
    report(peer, cfg, ts, warm, losses, trainer.session.n_parameters, rss0)


if __name__ == "__main__":
    main(PEERS, run_one)
