"""scikit-learn estimators: a sequence classifier that can say "none of these", a regressor, embeddings, and features.

X is one of
    [N, T, F]    an array of N series of T steps with F channels; with `layout="channels_first"` [N, F, T]
    a list       of N arrays or frames [T, F] (or arrays [T]), whose lengths may differ; of arrays [F, T] by `layout`
    [N, T]       N univariate series of equal length, as scikit-learn's own tools hand them over
    texts        a list or an array of texts or bytes: each is the series of its bytes (`ssm_hpn.texts`)
    a frame      with a row per series: its columns are channels and its cells hold series, or its columns are steps
    a long table a frame with a row per time step, with the parameters `id` and `order` (names of its columns), or with
                 an index of two levels, the series of a row and its time

in whatever form arrays come: lists, frames of pandas, polars and Arrow, tensors, any number type (`ssm_hpn.arrays`).
NaN is a missing number (`missing`).
Labels are kept as written and answered in the same type. A label of NaN or None is none: the series is not trained on.

Two kinds of models are behind them. `features` (the default): random fixed state space filters, pooled, with a head
that is fitted in closed form; nothing is trained. `backbone`: a selective state space model, trained by gradients.

Needs the extra `sklearn`. Everything that scikit-learn offers around an estimator (pipelines, cross-validation, grid
search, cloning, pickling) works; a fitted estimator may be used by several threads at once.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError("ssm_hpn.estimators needs scikit-learn; pip install scikit-learn") from error

from ssm_hpn.estimators.classifier import SSMClassifier
from ssm_hpn.estimators.embedder import SSMEmbedder
from ssm_hpn.estimators.regressor import SSMRegressor
from ssm_hpn.estimators.transformer import StateSpaceFeatures

__all__ = ["SSMClassifier", "SSMEmbedder", "SSMRegressor", "StateSpaceFeatures"]
