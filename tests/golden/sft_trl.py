"""Golden metrics of two epochs of TRL's SFTTrainer on 7 rows in batches of 3, with weight decay: trl==1.12.0, in float32 on the CPU.

    python tests/golden/sft_trl.py          # writes tests/golden/sft_trl.json

The third batch of each epoch has one row. tests/process/sft.sh runs Troupe on the same rows, and compares the metrics of each step, and
the root mean square of parameters at the end: of a norm, which does not decay, and of matrices, which do.
"""

import json
import pathlib
import tempfile

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

assert trl.__version__ == "1.12.0", trl.__version__
ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "examples/models/stories"
METRICS = ["loss", "grad_norm", "epoch", "num_tokens", "mean_token_accuracy"]
PARAMETERS = ["model.norm.weight", "model.layers.0.input_layernorm.weight", "model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight"]
SETTINGS = {"steps": 6, "batch": 3, "learning_rate": 2e-3, "weight_decay": 5.0}
ROWS = [
    {"text": "Once upon a time there was a cat."},
    {"text": "The dog ran home and slept."},
    {"text": "Tom was happy. He had a red ball and a big blue kite."},
    {"text": "Mia sat."},
    {"text": "The bird was sad. It could not fly to the tree."},
    {"text": "Sam and his mom went to the park to play."},
    {"text": "One day a frog found a shiny stone near the pond."},
]


def main():
    torch.set_num_threads(1)  # the same numbers wherever it runs
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as scratch:
        args = SFTConfig(
            output_dir=scratch,
            max_steps=SETTINGS["steps"],
            per_device_train_batch_size=SETTINGS["batch"],
            learning_rate=SETTINGS["learning_rate"],
            weight_decay=SETTINGS["weight_decay"],
            lr_scheduler_type="constant",
            train_sampling_strategy="sequential",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(MODEL)
        trainer = SFTTrainer(model=model, args=args, train_dataset=Dataset.from_list(ROWS), processing_class=tokenizer)
        trainer.train()
    golden = {
        "settings": SETTINGS,
        "rows": ROWS,
        "metrics": [{name: row[name] for name in METRICS} for row in trainer.state.log_history if "loss" in row],
        "size": {name: model.get_parameter(name).detach().double().square().mean().sqrt().item() for name in PARAMETERS},
    }
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
