"""Training: the typed configuration, the loop, the averaged weights, resume and export."""
