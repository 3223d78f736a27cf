"""TRL's PPOTrainer on the work of the ppo_step case. THREADS: of the CPU, in fp32; or `cuda`, in bf16; or `cpu`, all that it has:

    rival_trl.py POLICY REWARD PROMPTS THREADS BATCH RESPONSE EPOCHS STEPS

Prints one line of JSON: seconds of each step (the first warms up), and the process's peak memory.
"""
import json
import resource
import sys
import tempfile
import time

import torch
from datasets import Dataset
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback)
from trl.experimental.ppo import PPOConfig, PPOTrainer

policy_path, reward_path, prompts_path = sys.argv[1:4]
threads = sys.argv[4]
batch, response, epochs, steps = map(int, sys.argv[5:])
on_gpu = threads == "cuda"
dtype = torch.bfloat16 if on_gpu else torch.float32
if on_gpu and not torch.cuda.is_available():
    raise SystemExit("skipped: PyTorch finds no GPU")


class Watch(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self):
        self.ends = []

    def on_step_end(self, *_, **__):
        self.ends.append(time.perf_counter())


def scalar(path):
    return AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=dtype)


def policy():
    return AutoModelForCausalLM.from_pretrained(policy_path, dtype=dtype)


def prompts(tokenizer):
    with open(prompts_path, encoding="utf-8") as file:
        texts = [json.loads(line)["prompt"] for line in file]
    return Dataset.from_dict({"input_ids": [tokenizer(text)["input_ids"] for text in texts]})


if threads.isdigit():
    torch.set_num_threads(int(threads))
tokenizer = AutoTokenizer.from_pretrained(policy_path, padding_side="left")
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
value_model, reward_model = scalar(policy_path), scalar(reward_path)
for model in (value_model, reward_model):
    model.config.pad_token_id = tokenizer.pad_token_id
dataset = prompts(tokenizer)
watch = Watch()
with tempfile.TemporaryDirectory() as output:
    config = PPOConfig(
        output_dir=output, use_cpu=not on_gpu, bf16=on_gpu, gradient_checkpointing=False, report_to="none",
        save_strategy="no", disable_tqdm=True, learning_rate=3e-6, per_device_train_batch_size=batch,
        gradient_accumulation_steps=1, local_rollout_forward_batch_size=batch, num_mini_batches=1,
        num_ppo_epochs=epochs, total_episodes=batch * steps, response_length=response, temperature=0.7,
        kl_coef=0.05, stop_token=None, num_sample_generations=0, seed=1)
    trainer = PPOTrainer(args=config, processing_class=tokenizer, model=policy(), ref_model=policy(),
                         reward_model=reward_model, value_model=value_model, train_dataset=dataset,
                         eval_dataset=dataset, callbacks=[watch])
    trainer.train()
seconds = [after - before for before, after in zip(watch.ends, watch.ends[1:])]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mib": peak}))
