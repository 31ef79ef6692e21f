"""A worker of the comparison: `worker.py PEER WORK THREADS [--device cuda]`, or `worker.py PEER WORK THREADS cold MODEL
[--device cuda]`, which draws 16 samples from a saved model and ends."""

import dataclasses
import importlib
import os
import sys
from pathlib import Path

# Name, module, function.
PEERS = {
    "torch": ("plain_torch", "peer"),
    "torch.compile": ("plain_torch", "compiled"),
    "torch.graph": ("plain_torch", "graphed"),
    "nflows": ("nflows_peer", "peer"),
    "normflows": ("normflows_peer", "peer"),
    "zuko": ("zuko_peer", "peer"),
    "flowjax": ("flowjax_peer", "peer"),
    "tensorflow": ("tensorflow_peer", "peer"),
}


def main(name, work, threads, cold=None, path=None, device="cpu"):
    # What computes reads these when it is imported.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = threads
    import protocol
    from work import WORK

    peak = protocol.resident
    if device == "cuda" and not cold:
        import card

        peak = card.Memory().bytes
    work = dataclasses.replace(WORK[work], device=device)
    module, function = PEERS[name]
    if name in ("flowjax", "tensorflow"):
        # Their thread pools are as large as the machine; the processors that the process may use are not.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    else:
        import torch

        torch.set_num_threads(int(threads))
    try:
        peer = getattr(importlib.import_module(module), function)(work)
    except NotImplementedError as error:
        protocol.tell(error=str(error))
        return 1
    if cold:
        peer.load(protocol.tensors(Path(path)))
        sampled = len(peer.sample(16))
        if device != "cpu":
            peer.finish()
        protocol.tell(sampled=sampled)
    else:
        protocol.serve(peer, peak)
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case [*words, "--device", device]:
            sys.exit(main(*words, device=device))
        case words:
            sys.exit(main(*words))
