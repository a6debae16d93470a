"""What tests run in the process of decoders, which imports this module and little else."""

import resource
import time
from pathlib import Path
from typing import Any

from lumosx.curation.scan import Scan, scan

NAME = "hangs.mp4"


def scan_or_hang(path: Path, *arguments: Any) -> Scan:
    """`scan`, which does not end for a file of a certain name."""
    if path.name == NAME:
        time.sleep(1000)
    return scan(path, *arguments)


def limit_memory(more: int) -> None:
    """Gives this process so many bytes of address space more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
