"""How much memory a process has taken, and how much one image may take."""

import resource
from pathlib import Path

MOST_BYTES = 1_000_000_000
"""No image and no ZIP file may take more, whatever is in it."""


def peak_bytes() -> int:
    """Return the most memory this process had resident, without what the process that began it had (``ru_maxrss``)."""
    status = Path("/proc/self/status")
    if not status.exists():  # not on Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
