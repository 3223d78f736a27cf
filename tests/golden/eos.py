"""Golden end tokens: transformers' align_special_tokens on configurations whose end tokens are not the tokenizer's.

    python tests/golden/eos.py              # writes tests/golden/eos.json

A case has eos_token_id of config.json, of generation_config.json (absent: there is no such file) and of the tokenizer (null: none),
and what a Trainer's saved model stops at: its generation_config.json's eos_token_id.
"""
import json
import pathlib
import types

import transformers
from transformers import GenerationConfig, LlamaConfig
from transformers.trainer_utils import align_special_tokens

CASES = [(2, 2, 2), (0, 0, 2), (0, None, 2), ([0, 5], [0, 5], 2), (0, [0, 5], 5), (0, [0, 5], 2), (2, [0, 5], 2), ([2, 0], [0], 2), (0, 0, None),
         (None, None, 2), ([3, 4, 5], [3, 4, 5], 3)]


def saved(config_eos, generation_eos, tokenizer_eos):
    config = LlamaConfig(eos_token_id=config_eos, vocab_size=61, hidden_size=8, num_attention_heads=1)
    # transformers makes the second from the first where there is no file
    eos = config_eos if generation_eos is None else generation_eos
    model = types.SimpleNamespace(config=config, generation_config=GenerationConfig(eos_token_id=eos))
    align_special_tokens(model, types.SimpleNamespace(eos_token_id=tokenizer_eos, bos_token_id=None, pad_token_id=None))
    return model.generation_config.eos_token_id


cases = [{"config": config, "generation": generation, "tokenizer": tokenizer, "saved": saved(config, generation, tokenizer)}
         for config, generation, tokenizer in CASES]
text = json.dumps({"transformers": transformers.__version__, "cases": cases}, indent=1)
pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")
