"""The clock on the wall, as files and lines of a run carry it."""

from datetime import UTC, datetime


def timestamp() -> str:
    """Now in UTC, in the form of ISO 8601 to the second.

    >>> from ssm_hpn.clock import timestamp
    >>> len(timestamp()), timestamp()[10], timestamp()[-1]
    (20, 'T', 'Z')
    """
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
