"""Threads of an estimator: those that its caller gives, and its share in a worker of joblib.

joblib (`GridSearchCV(n_jobs=2)`) runs several fits at once. A fit that took every core in each of them would take more
threads than there are cores, which is slower than one thread for each.
"""

import os
import threading
from typing import Final

from joblib.parallel import get_active_backend

MOST_THREADS: Final = 4096
"""As in the core."""


def worker_share() -> int | None:
    """Threads that joblib leaves to this worker: None outside of its workers, and where SSM_HPN_THREADS is set.

    In a process of loky joblib writes cores / n_jobs into OMP_NUM_THREADS. Other workers, threads and forked processes,
    are not told how many they are: 1.

    >>> import joblib
    >>> joblib.Parallel(n_jobs=2, backend="threading")(joblib.delayed(worker_share)() for _ in range(2))
    [1, 1]
    """
    backend, _ = get_active_backend()
    if not getattr(backend, "nesting_level", 0) or os.environ.get("SSM_HPN_THREADS"):
        return None
    share = os.environ.get("OMP_NUM_THREADS", "")
    in_process = threading.current_thread() is threading.main_thread()
    return min(int(share), MOST_THREADS) if in_process and share.isdecimal() and int(share) > 0 else 1
