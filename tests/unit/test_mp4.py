"""MP4 files: the same frames give the same bytes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from real_footage import frames_of

WRITE = """
import hashlib, sys
from pathlib import Path
import numpy as np
from lumosx.mp4 import write_mp4
path = Path(sys.argv[1])
write_mp4(np.load(path / "frames.npy"), path / "clip.mp4", 16, {"crf": "14"})
print(hashlib.sha256((path / "clip.mp4").read_bytes()).hexdigest())
"""


def test_the_bytes_do_not_depend_on_what_lay_in_memory(tmp_path: Path) -> None:
    """The C library fills new memory with a byte of our choice (glibc; others ignore the wish)."""
    np.save(tmp_path / "frames.npy", np.stack(frames_of(["obama"])[:40]))
    digests = {
        subprocess.run(
            [sys.executable, "-c", WRITE, str(tmp_path)],
            capture_output=True, text=True, check=True, env={**os.environ, "MALLOC_PERTURB_": str(filling)},
        ).stdout
        for filling in (0, 85, 170)
    }  # fmt: skip
    assert len(digests) == 1
    assert digests == {hashlib.sha256((tmp_path / "clip.mp4").read_bytes()).hexdigest() + "\n"}
