"""Runs the real program for tests/process/keys.py: recipes as dictionaries, runs that are cached, and what a run left behind.

A recipe is a dictionary from dotted keys to values. A run is started once for each distinct recipe, so that rows of the table share their
base runs. Tensors are read with struct and array: nothing beyond the standard library is needed.
"""
import array
import functools
import hashlib
import json
import os
import re
import struct
import subprocess
import threading
import time

TROUPE = os.environ["TROUPE"]
SCRATCH = os.environ["SCRATCH"]
DEADLINE = float(os.environ.get("DEADLINE", "120"))
TIMES = re.compile(r"^(eps$|(time|idle|tokens_per_second)/)")


def close(found, expected, relative=1e-5, absolute=1e-9, what="the value"):
    if not abs(found - expected) <= max(relative * max(abs(found), abs(expected)), absolute):
        raise AssertionError(f"{what} is {found!r}, expected {expected!r}")


def same(found, expected, what="the value"):
    if found != expected:
        raise AssertionError(f"{what} is {found!r}, expected {expected!r}")


def check(holds, what):
    if not holds:
        raise AssertionError(what)


class Skip(Exception):
    """A row that cannot be tried on this machine, and why."""


def read_tensors(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    kinds = {"F32": "f", "I64": "q", "BF16": "H", "F16": "H"}
    return {name: array.array(kinds[e["dtype"]], data[e["data_offsets"][0] : e["data_offsets"][1]]) for name, e in header.items()}


def write_tensors(path, tensors, dtype="F32"):
    """tensors: name -> (shape, array of floats). dtype: or BF16, to which floats are cut."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name in sorted(tensors):
        shape, values = tensors[name]
        piece = array.array("f", values).tobytes()
        if dtype == "BF16":
            piece = array.array("H", array.array("H", piece)[1::2]).tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class Run:
    """What a finished run left: its exit code, output, metrics, samples and tensors."""

    def __init__(self, directory, code, out):
        self.directory, self.code, self.out = directory, code, out

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def text(self, *parts):
        with open(self.path(*parts), encoding="utf-8") as file:
            return file.read()

    def exists(self, *parts):
        return os.path.exists(self.path(*parts))

    @functools.cached_property
    def rows(self):
        return [json.loads(line) for line in self.text("metrics.jsonl").splitlines()]

    @property
    def first(self):
        return self.rows[0]

    @property
    def samples(self):
        return [json.loads(line) for line in self.text("samples.jsonl").splitlines()]

    @property
    def timeless(self):
        return [{name: value for name, value in row.items() if not TIMES.match(name)} for row in self.rows]

    @property
    def checkpoints(self):
        return sorted(name for name in os.listdir(self.path("checkpoints")) if name.startswith("step-"))

    def optimizer(self, role=""):
        return read_tensors(self.path("checkpoints", self.checkpoints[-1], role, "optimizer.safetensors"))

    def weights(self, *parts):
        return read_tensors(self.path(*parts, "model.safetensors"))

    def adapter(self, *parts):
        """The adapter's tensors, by their names without PEFT's prefix."""
        return {name.removeprefix("base_model.model."): values for name, values in read_tensors(self.path(*parts, "adapter_model.safetensors")).items()}

    @property
    def hashes(self):
        found = {}
        for top in ("final", "checkpoints"):
            for folder, _, names in os.walk(self.path(top)):
                for name in names:
                    if name.endswith(".safetensors"):
                        with open(os.path.join(folder, name), "rb") as file:
                            place = os.path.relpath(os.path.join(folder, name), self.directory)
                            found[place] = hashlib.sha256(file.read()).hexdigest()
        return found


_lock, _runs, _names = threading.Lock(), {}, iter(range(1, 10000))
_once = {}


def once(key, make):
    """make(), for each key once, whichever thread asks first."""
    with _lock:
        if key not in _once:
            _once[key] = threading.Lock(), []
        lock, box = _once[key]
    with lock:
        if not box:
            box.append(make())
        return box[0]


def nested(recipe):
    tree = {}
    for key, value in recipe.items():
        *folders, last = key.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return tree


def write_recipe(recipe):
    with _lock:
        name = f"run-{next(_names):03d}"
    recipe = {"name": name, "output": SCRATCH, **recipe}
    path = os.path.join(SCRATCH, name + ".yaml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(nested(recipe), file)  # JSON is YAML
    return path, os.path.join(recipe["output"], recipe["name"])


def run(recipe, ends_well=True, environment=None):
    """The run of this recipe, started the first time that it is asked for. A failure is an error unless ends_well is false."""

    def start():
        path, directory = write_recipe(recipe)
        done = subprocess.run([TROUPE, "run", path], capture_output=True, text=True, timeout=DEADLINE, check=False,
                              env={**os.environ, **(environment or {})})
        return Run(directory, done.returncode, done.stdout + done.stderr)

    found = once(("run", json.dumps([recipe, environment], sort_keys=True)), start)
    if ends_well and found.code != 0:
        raise AssertionError("the run failed: " + " / ".join(found.out.strip().splitlines()[-3:]))
    return found


def peak(recipe):
    """KiB of memory that the largest process of a run has had."""
    with subprocess.Popen([TROUPE, "run", write_recipe(recipe)[0]], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    check(process.returncode == 0, "the run failed")
    return usage.ru_maxrss


class Job:
    """A run in the background, ended when the block is left."""

    def __init__(self, recipe, program=TROUPE):
        path, self.directory = write_recipe(recipe)
        self.out = self.directory + ".out"
        with open(self.out, "w", encoding="utf-8") as out:
            self.process = subprocess.Popen([program, "run", path], stdout=out, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(1)  # for its step
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait(DEADLINE)

    def text(self):
        with open(self.out, encoding="utf-8") as file:
            return file.read()

    def wait_for(self, what, holds):
        end = time.monotonic() + DEADLINE / 4
        while not holds():
            check(self.process.poll() is None, f"the run ended too early: {self.text()!r}")
            check(time.monotonic() < end, what)
            time.sleep(0.03)

    def line_with(self, words):
        """The line of its output with these words, as soon as it is there."""
        self.wait_for(f"no line says '{words}'", lambda: words in self.text().rpartition("\n")[0])
        return next(line for line in self.text().splitlines() if words in line)


def attended(recipe, join):
    """The run of a recipe that needs a worker started by hand: join(job) gives the worker's command."""
    with Job(recipe) as job:
        worker = subprocess.Popen(join(job), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            code = job.process.wait(DEADLINE / 4)
            worker.wait(DEADLINE / 4)
        finally:
            worker.kill()
            worker.wait()
    check(code == 0, f"the run failed: {job.text()!r}")
    return Run(job.directory, code, job.text())


def troupe(*arguments, environment=None):
    done = subprocess.run([TROUPE, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        raise AssertionError(f"troupe {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def measured(model, prompt, response, temperature=1):
    """`troupe logprobs`: ids, tokens and log-probabilities of a response."""
    arguments = ("logprobs", "--model", model, "--prompt", prompt, "--response", response, "--temperature", str(temperature))
    return once(arguments, lambda: json.loads(troupe(*arguments)))


def mean(values):
    values = list(values)
    return sum(values) / len(values)
