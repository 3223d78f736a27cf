"""What this machine and this build can try of the keys' table: GPUs (emulated), ranks by MPI, and what `troupe check` plans for them."""
import os
import shutil
import subprocess

from harness import TROUPE, Skip, write_recipe

PROGRAMS = os.path.dirname(TROUPE)


def gpu():
    """The environment of runs on an emulated GPU."""
    module = os.path.join(PROGRAMS, "troupe-cuda-emulated.so")
    if not os.path.exists(module):
        raise Skip("this build emulates no GPU")
    return {"TROUPE_CUDA_MODULE": os.path.abspath(module), "EMULATED_GPUS": "2"}


MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
       "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_orte_execute_quiet": "1", "PRTE_ALLOW_RUN_AS_ROOT": "1",
       "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PRTE_MCA_hwloc_default_binding_policy": "none"}


def mpi():
    if not os.path.exists(os.path.join(PROGRAMS, "troupe-mpi.so")):
        raise Skip("this build has no MPI (libopenmpi-dev)")
    if not shutil.which("mpirun"):
        raise Skip("there is no mpirun (openmpi-bin)")
    return MPI


def check_lines(path, environment):
    done = subprocess.run([TROUPE, "check", path], capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    return done.stdout.splitlines()


def plan(it):
    """What `troupe check` says of each role's memory: its numbers, in MiB, by column."""
    path, _ = write_recipe(it)
    lines = check_lines(path, {**MPI, **({} if it.get("roles.actor.device", "cpu") == "cpu" else gpu())})
    head = next(i for i, line in enumerate(lines) if line.split()[:2] == ["role", "no."])
    columns, found = lines[head].split()[3:], {}
    for line in lines[head + 1 :]:
        words = line.split()
        if not words:
            break
        cells, numbers = words[-2 * len(columns) :], []
        while cells and len(numbers) < len(columns):
            last = cells.pop()
            if last == "-":
                numbers.append(0.0)
            else:
                numbers.append(float(cells.pop()) * {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}[last])
        found[words[0]] = dict(zip(columns, reversed(numbers)))
    return found
