#!/usr/bin/env bash
# Trains on several machines. On each of them, with its own NODE_RANK from 0:
#   NODES=4 NODE_RANK=0 MASTER_ADDR=HOST scripts/launch/torchrun_nodes.sh experiment=phase1_480p data.path=CLIPS
#
# HOST is the machine with NODE_RANK=0. All see the same run.root and data.path. MASTER_PORT: 29500 unless set. GPUS, and
# how a run stops: torchrun_one_node.sh.
set -euo pipefail
: "${NODES:?the number of machines}" "${NODE_RANK:?the number of this machine, from 0}"
: "${MASTER_ADDR:?name or address of the machine with NODE_RANK=0}"
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
python="$root/.venv/bin/python"
[ -x "$python" ] || python=python
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-600}"
exec "$python" -m torch.distributed.run --nnodes "$NODES" --node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" \
    --master-port "${MASTER_PORT:-29500}" --nproc-per-node "${GPUS:-gpu}" -m lumosx.cli.main train "$@"
