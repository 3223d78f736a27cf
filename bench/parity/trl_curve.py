"""A training run of TRL on the CPU, in fp32, or with the setting "device": "cuda" in bf16, step by step, for comparison with Troupe's:

    trl_curve.py ALGORITHM MODEL ROWS.jsonl OUT.jsonl SETTINGS     # sft, reward, dpo or kto; curves.py has the settings, and
                                                                   # its committed curves are of TRL 1.9.0

The rows are taken in the file's order. OUT gets one line of metrics a step, under TRL's names. The last line printed is JSON: the
seconds of each step, and the process's peak memory.
"""

import json
import resource
import sys
import tempfile
import time

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback


class Notes(TrainerCallback):
    def __init__(self, path):
        self.file = open(path, "w")
        self.ends = []

    def on_step_end(self, *_, **__):
        self.ends.append(time.perf_counter())

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" in logs:
            json.dump({"step": state.global_step, **logs}, self.file)
            self.file.write("\n")
            self.file.flush()


def main(algorithm, model, rows, out, settings):
    torch.manual_seed(0)
    torch.set_num_threads(2)
    config_class, trainer_class = {
        "sft": (trl.SFTConfig, trl.SFTTrainer),
        "reward": (trl.RewardConfig, trl.RewardTrainer),
        "dpo": (trl.DPOConfig, trl.DPOTrainer),
        "kto": (trl.KTOConfig, trl.KTOTrainer),
    }[algorithm]
    s = json.loads(settings)
    on_gpu = s.get("device") == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("skipped: PyTorch finds no GPU")
    args = config_class(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=s["batch"],
        max_steps=s["steps"],
        learning_rate=s["learning_rate"],
        max_length=s["max_length"],
        lr_scheduler_type="linear",
        train_sampling_strategy="sequential",
        logging_steps=1,
        report_to="none",
        use_cpu=not on_gpu,
        bf16=on_gpu,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.unk_token
    if algorithm == "reward":
        learner = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=dtype)
        learner.config.pad_token_id = tokenizer.pad_token_id
    else:
        learner = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
    notes = Notes(out)
    dataset = Dataset.from_list([json.loads(line) for line in open(rows, encoding="utf-8")])
    trainer = trainer_class(
        model=learner, args=args, train_dataset=dataset, processing_class=tokenizer, callbacks=[notes]
    )
    trainer.train()
    seconds = [b - a for a, b in zip(notes.ends, notes.ends[1:])]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
