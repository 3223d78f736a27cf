"""Golden packs: which texts TRL 1.9.0's pack_dataset (strategy "bfd") puts together.

    python tests/golden/pack.py          # writes tests/golden/pack.json

Each text is its own index, repeated; packs are read back from the packed ids.
"""

import json
import pathlib
import random

import trl
from datasets import Dataset
from trl import pack_dataset

assert trl.__version__ == "1.9.0", trl.__version__
random.seed(3)
golden = {}
for name, count, capacity in (("small", 12, 10), ("large", 150, 64), ("whole", 5, 3)):
    lengths = [capacity if name == "whole" else random.randint(1, capacity) for _ in range(count)]
    packed = pack_dataset(Dataset.from_dict({"input_ids": [[i] * n for i, n in enumerate(lengths)]}), capacity, "bfd")
    packs = [list(dict.fromkeys(row)) for row in packed["input_ids"]]
    golden[name] = {
        "capacity": capacity,
        "lengths": lengths,
        "order": [i for pack in packs for i in pack],
        "sizes": [len(pack) for pack in packs],
    }
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
