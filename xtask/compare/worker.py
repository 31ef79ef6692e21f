"""A worker of the comparison: `worker.py PEER WORK THREADS`, or `worker.py PEER WORK THREADS cold MODEL`, which draws 16
samples from a saved model and ends."""

import importlib
import os
import sys
from pathlib import Path

# Name, module, function.
PEERS = {
    "torch": ("plain_torch", "peer"),
    "torch.compile": ("plain_torch", "compiled"),
    "nflows": ("nflows_peer", "peer"),
    "normflows": ("normflows_peer", "peer"),
    "zuko": ("zuko_peer", "peer"),
    "flowjax": ("flowjax_peer", "peer"),
    "tensorflow": ("tensorflow_peer", "peer"),
}


def main(name, work, threads, cold=None, path=None):
    # What computes reads these when it is imported.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = threads
    import protocol
    from work import WORK

    module, function = PEERS[name]
    if name in ("flowjax", "tensorflow"):
        # Their thread pools are as large as the machine; the processors that the process may use are not.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    else:
        import torch

        torch.set_num_threads(int(threads))
    try:
        peer = getattr(importlib.import_module(module), function)(WORK[work])
    except NotImplementedError as error:
        protocol.tell(error=str(error))
        return 1
    if cold:
        peer.load(protocol.tensors(Path(path)))
        protocol.tell(sampled=len(peer.sample(16)))
    else:
        protocol.serve(peer)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
