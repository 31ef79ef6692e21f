"""How much of an NVIDIA card's memory this process has, as the driver tells everybody; bench_worker asks in the same way."""

import os
import subprocess


def ask(query):
    """Rows of numbers; a card that cannot be asked says nothing."""
    # CUDA's first card is the first of those that it may see.
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = ["nvidia-smi", f"--id={card}", query, "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:
        said = ""
    return numbers(said)


def numbers(said):
    rows = [line.split(",") for line in said.splitlines()]
    return [[int(cell) for cell in row] for row in rows if all(cell.strip().isdigit() for cell in row)]


class Memory:
    """Made before anything is computed on the card: containers hide whose memory it is, so what was in use is kept."""

    def __init__(self):
        self.before = self.used()

    def used(self):
        return next((mib for (mib,) in ask("--query-gpu=memory.used")), None)

    def bytes(self):
        """With CUDA's context and what the allocator keeps; None where nobody knows."""
        own = [mib for pid, mib in ask("--query-compute-apps=pid,used_memory") if pid == os.getpid()]
        if own:
            return own[0] * 2**20
        now = self.used()
        return None if now is None or self.before is None else max(now - self.before, 0) * 2**20
