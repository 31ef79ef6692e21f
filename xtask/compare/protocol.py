"""What every worker of the comparison speaks, whatever it computes with: requests by line on standard input, answers as
JSON by line on standard output. `xtask/src/compare/worker.rs` is the other end.

    run WHAT SECONDS    {"ms": [..]}                    WHAT: step, log_prob, sample, log_prob_1, sample_1
    peak                {"bytes": N}                    the largest resident set so far; on a GPU the memory taken there,
                                                        or null where its driver does not tell
    load FOLDER         {"difference": d}               nats per dimension; or {"no": why}
    (end of input)      the worker ends

The first line of all is {"ready": {"parameters": N, "versions": {..}}}. A line {"error": why} is the last one.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np


def tell(**answer):
    print(json.dumps(answer), flush=True)


def serve(peer, peak):
    """Answers requests about `peer` until there are no more. A peer that can `settle` chooses how to compute before."""
    if hasattr(peer, "settle"):
        peer.settle()
    tell(ready={"parameters": peer.parameters, "versions": peer.versions})
    for line in sys.stdin:
        match line.split(maxsplit=1):
            case ["run", rest]:
                what, seconds = rest.split()
                tell(ms=repeat(call(peer, what), float(seconds)))
            case ["peak"]:
                tell(bytes=peak())
            case ["load", folder]:
                tell(**load(peer, Path(folder.rstrip("\n"))))
            case _:
                raise ValueError(f"{line.strip()!r} is no request")


def resident():
    # In KiB on Linux.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def call(peer, what):
    function = begun(peer, what)
    if peer.work.device == "cpu":
        return function

    def done():
        function()
        peer.finish()

    return done


def begun(peer, what):
    """A call; what it computes on a GPU may go on when it returns."""
    match what:
        case "step":
            return peer.step
        case "log_prob":
            x = peer.rows(1000)
            return lambda: peer.log_prob(x)
        case "log_prob_1":
            x = peer.rows(1)
            return lambda: peer.log_prob(x)
        case "sample":
            return lambda: peer.sample(1000)
        case "sample_1":
            return lambda: peer.sample(1)
    raise ValueError(f"{what!r} is nothing to measure")


def repeat(function, seconds):
    """Milliseconds of each call, for about so many seconds. The first call, that finds cold caches, does not count."""
    function()
    times = []
    start = last = time.perf_counter()
    while last - start < seconds or not times:
        function()
        now = time.perf_counter()
        times.append((now - last) * 1e3)
        last = now
    return times


def load(peer, folder):
    """Takes the weights of a saved model, and compares log-densities with those that its own program computed."""
    try:
        peer.load(tensors(folder / "model.safetensors"))
    except NotImplementedError as error:
        return {"no": str(error)}
    given = tensors(folder / "check.safetensors")
    mine = peer.log_prob(peer.array(given["x"]))
    mine = np.asarray(mine if peer.work.device == "cpu" else mine.cpu(), np.float64)
    difference = np.abs(mine - given["log_prob"]).max() / given["x"].shape[1]
    return {"difference": float(difference)}


KINDS = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


def tensors(path):
    """A safetensors file as arrays by name, read in one go: eight bytes of length, a JSON header, numbers."""
    file = path.read_bytes()
    end = 8 + int.from_bytes(file[:8], "little")
    arrays = {}
    for name, about in json.loads(file[8:end]).items():
        if name != "__metadata__":
            begin, stop = (end + offset for offset in about["data_offsets"])
            arrays[name] = np.frombuffer(bytearray(file[begin:stop]), KINDS[about["dtype"]]).reshape(about["shape"])
    return arrays
