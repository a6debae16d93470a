"""Raw videos in, clip records out: the paper's data construction (sections 3.2, A.1 to A.4)."""
