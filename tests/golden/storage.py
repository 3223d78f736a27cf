"""The forms in which people have a model's files: what torch reads of each, for every model of tests/golden/models.

    python tests/golden/storage.py           # writes tests/golden/storage.json
    python tests/golden/storage.py FORMS     # besides, transformers' directories, FORMS/NAME.FORM
    python tests/golden/storage.py --check SAVED

tests/common/model/test_storage.c makes the forms of the committed weights by itself, all times FACTOR, so that float32 has more bits
than bfloat16. storage.json has the checksums of what transformers saves and torch reads of the same: CRC-32 of every tensor's name and
values as float32, in order of name. With TROUPE_STORED=FORMS that test reads transformers' own directories, shards among them. With
TROUPE_SAVED=SAVED it leaves there what it saves of each, which --check loads in transformers.

Of a form: `read`, that checksum; `kept`, the tensors that transformers nevertheless keeps in float32; `saved`, the checksum of what we
save, which has all in one dtype but the routers' biases.
"""

import json
import pathlib
import sys
import tempfile
import zlib

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

HERE = pathlib.Path(__file__).parent
FACTOR = 0.99871623
FORMS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load(directory, dtype):
    architecture = AutoConfig.from_pretrained(directory).architectures[0]
    auto = AutoModelForSequenceClassification if architecture.endswith("SequenceClassification") else AutoModelForCausalLM
    model, info = auto.from_pretrained(directory, dtype=dtype, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], (directory, kind, info[kind])
    return model


def tensors_of(directory):
    return {name: tensor for file in directory.glob("model*.safetensors") for name, tensor in load_file(file).items()}


def checksum(tensors):
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].float().contiguous().numpy().tobytes(), zlib.crc32(name.encode(), crc))
    return crc


def read(directory):
    """Of what torch reads."""
    with tempfile.TemporaryDirectory() as folder:
        load(directory, torch.float32).save_pretrained(folder)
        return checksum(tensors_of(pathlib.Path(folder)))


def facts(directory, dtype):
    tensors = tensors_of(directory)
    kept = {name for name in tensors if tensors[name].dtype != dtype}
    saved = {name: tensor if name.endswith("correction_bias") else tensor.to(dtype) for name, tensor in tensors.items()}
    assert read(directory) == checksum(tensors), (directory, "torch reads something else than the file has")
    return {"read": checksum(tensors), "saved": checksum(saved), "kept": {name: 1 for name in sorted(kept)}}


def forms(directory, folder):
    model = load(directory, torch.float32)
    model.config.quantization_config = None  # MXFP4 was made numbers
    del model.config.quantization_config
    for tensor in [*model.parameters(), *(buffer for name, buffer in model.named_buffers() if name.endswith("correction_bias"))]:
        tensor.data = tensor.data * torch.tensor(FACTOR)
    paths = {form: folder / f"{directory.name}.{form}" for form in [*FORMS, "sharded"]}
    model.save_pretrained(paths["float32"])
    for form in ("float16", "bfloat16"):
        load(paths["float32"], FORMS[form]).save_pretrained(paths[form])
    load(paths["float16"], "auto").save_pretrained(paths["sharded"], max_shard_size="6KB")
    found = {form: facts(paths[form], dtype) for form, dtype in FORMS.items()}
    assert facts(paths["sharded"], torch.float16) == found["float16"] and len(list(paths["sharded"].glob("model-*"))) > 1
    return found


def check(saved):
    expected = json.loads((HERE / "storage.json").read_text())
    for name in expected:
        for form, facts in expected[name].items():
            directory = saved / f"{name}.{form}"
            model = load(directory, "auto")
            assert model.dtype == FORMS[form] and read(directory) == facts["saved"], directory
        print(f"{name}: loads")


def main():
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--check"]:
        check(pathlib.Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(sys.argv[1] if sys.argv[1:] else scratch)
        found = {path.name: forms(path, folder) for path in sorted((HERE / "models").iterdir())}
    (HERE / "storage.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
