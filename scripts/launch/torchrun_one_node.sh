#!/usr/bin/env bash
# Trains on one machine: scripts/launch/torchrun_one_node.sh experiment=phase1_480p data.path=CLIPS
#
# GPUS: processes, by default one for each GPU; GPUS=2 trains on a CPU as well. On SIGTERM the run saves its state, and
# the same command goes on with it; RUN/resumable tells that it stopped so, because torchrun hides the exit code 143.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}" # seconds to save; torchrun's own are 30
exec "$python" -m torch.distributed.run --standalone --nproc-per-node "${GPUS:-gpu}" -m lumosx.cli.main train "$@"
