"""Callbacks that hand a run to other programs: trackers of experiments, monitoring, a command of one's own.

    from ssm_hpn.trackers import Alert, MLflow, Prometheus, TensorBoard, WandB

    trainer.fit(callbacks=[TensorBoard(), Prometheus(port=9400), Alert("notify-send")])

Each needs its package (`pip install 'ssm-hpn[tensorboard]'`, `[mlflow]`, `[wandb]`, `[prometheus]`); `Alert` none.
From the command line: `train --track tensorboard,mlflow --metrics-port 9400 --alert notify-send`. They are told of the
rows of `metrics.jsonl` and pass on their numbers under the same names. On resuming, each goes on where it was.
"""

from ssm_hpn.trackers.alert import Alert
from ssm_hpn.trackers.mlflow import MLflow
from ssm_hpn.trackers.prometheus import Prometheus
from ssm_hpn.trackers.tensorboard import TensorBoard
from ssm_hpn.trackers.wandb import WandB

__all__ = ["Alert", "MLflow", "Prometheus", "TensorBoard", "WandB"]
