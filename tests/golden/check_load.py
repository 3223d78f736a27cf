"""What Troupe saves loads in transformers as the same model. Not part of the test run: it needs torch and transformers.
Run it by hand after a change to common/hf/ or common/model/config*:

    mkdir /tmp/saved
    TROUPE_SAVED=/tmp/saved build/tests/common_hf_test_directory --filter 'directory/every_golden*'
    python tests/golden/check_load.py /tmp/saved

The C test reads every directory of tests/golden/models and saves it as F32; here it loads by AutoModel*, with no
key missing or to spare, and has the original's configuration, weights, and the golden logits or values.
"""

import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

MODELS = pathlib.Path(__file__).parent / "models"
MAY_DIFFER = {"dtype", "_name_or_path", "transformers_version"}


def load(directory, dtype):
    config = AutoConfig.from_pretrained(directory)
    scalar = config.architectures[0].endswith("ForSequenceClassification")
    auto = AutoModelForSequenceClassification if scalar else AutoModelForCausalLM
    model, info = auto.from_pretrained(directory, dtype=dtype, attn_implementation="eager", experts_implementation="eager",
                                       output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[kind], (directory, kind, info[kind])
    return config, model.eval(), scalar


def rows(model, scalar, golden):
    starts = golden["starts"].tolist()
    out = []
    with torch.no_grad():
        for begin, end in zip(starts, starts[1:]):
            ids = golden["ids"][begin:end].long().unsqueeze(0)
            hidden = model.base_model(ids, use_cache=False).last_hidden_state[0]
            out.append(model.score(hidden)[:, 0] if scalar else model(ids, use_cache=False).logits[0])
    return torch.cat(out)


def check(original, saved):
    expected, model, scalar = load(original, torch.float32)
    config, again, _ = load(saved, "auto")
    ours, theirs = config.to_dict(), expected.to_dict()
    if original.name == "llama_own_head":  # what is saved says that the head is the model's own
        assert theirs.pop("tie_word_embeddings") and not ours.pop("tie_word_embeddings")
    assert "quantization_config" not in ours  # what is saved of MXFP4 is what transformers makes of it
    theirs.pop("quantization_config", None)
    for field in (theirs.keys() | ours.keys()) - MAY_DIFFER:
        assert ours.get(field) == theirs.get(field), (saved, field, ours.get(field), theirs.get(field))
    assert config.dtype == torch.float32, (saved, config.dtype)
    wanted, found = model.state_dict(), again.state_dict()
    assert wanted.keys() == found.keys()
    for name in wanted:
        assert found[name].dtype == torch.float32 and torch.equal(found[name], wanted[name]), (saved, name)
    golden = load_file(original / "golden.safetensors")
    torch.testing.assert_close(rows(again, scalar, golden), golden["values" if scalar else "logits"], rtol=1e-5, atol=1e-5)


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.set_num_threads(1)
    for original in sorted(MODELS.iterdir()):
        check(original, folder / original.name)
        print(f"{original.name}: loads")


if __name__ == "__main__":
    main()
