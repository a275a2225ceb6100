"""A warning to the program that called this package."""

import inspect
import warnings


def warn(message: str) -> None:
    """Warn in the line of the program that called this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("ssm_hpn."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
