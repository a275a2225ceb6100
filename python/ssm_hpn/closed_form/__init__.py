"""Heads that are fitted in closed form on a wide matrix of features: ridge to class prototypes, and to numbers.

`ClassHead` and `NumberHead` are in `heads`. Below them: `simplex` (prototypes), `blocks` and `columns` (features in
strips, standardised), `spectrum` (ridge and leave-one-out error from eigenvalues), `gram` (few series, exact),
`landmarks` (many series), `growing` (series in parts), `linear` (settings and result), `calibration` (probabilities,
reject curve), `typicality` (confidence), `saved` (arrays and JSON).
"""

from ssm_hpn.closed_form.blocks import Features
from ssm_hpn.closed_form.calibration import RejectCurve
from ssm_hpn.closed_form.heads import ClassHead, NumberHead
from ssm_hpn.closed_form.linear import RidgeSettings

__all__ = ["ClassHead", "Features", "NumberHead", "RejectCurve", "RidgeSettings"]
