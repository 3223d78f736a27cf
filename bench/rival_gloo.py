"""torch.distributed over gloo doing what bench-weights does: a broadcast of MIB MiB from one process to another on this machine.

    rival_gloo.py MIB

Measures once for each line on standard input and answers with a line: MiB a second until both have it.
"""
import sys
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def serve(rank, mib, port, lines):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    weights = torch.zeros(mib << 18)
    go = torch.ones(1)
    while True:
        if rank == 0:
            go[0] = 1.0 if lines.readline() else 0.0
        dist.broadcast(go, 0)
        if go[0] == 0:
            break
        start = time.perf_counter()
        dist.broadcast(weights, 0)
        dist.barrier()
        if rank == 0:
            print(f"{mib / (time.perf_counter() - start):.1f}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mib = int(sys.argv[1])
    reader = mp.get_context("spawn").Process(target=serve, args=(1, mib, port, None))
    reader.start()
    serve(0, mib, port, sys.stdin)
    reader.join()
