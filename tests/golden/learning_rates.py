"""Writes tests/golden/learning_rates.json: the default learning rate of the TRL trainer that each algorithm stands for.

    python tests/golden/learning_rates.py      # needs trl; written with 1.9.0

rejection_sampling is SFT on the best of a prompt's responses. OnlineDPOConfig's number is read from its file: the module needs
packages that a default does not.
"""
import importlib.util
import json
import pathlib
import re

from trl import DPOConfig, GRPOConfig, KTOConfig, RewardConfig, RLOOConfig, SFTConfig
from trl.experimental.ppo import PPOConfig

HERE = pathlib.Path(__file__).resolve().parent
CONFIGS = {"ppo": PPOConfig, "sft": SFTConfig, "reward": RewardConfig, "dpo": DPOConfig, "kto": KTOConfig, "grpo": GRPOConfig, "rloo": RLOOConfig,
           "rejection_sampling": SFTConfig}


def online_dpo():
    package = pathlib.Path(importlib.util.find_spec("trl").origin).parent
    text = (package / "experimental/online_dpo/online_dpo_config.py").read_text(encoding="utf-8")
    return float(re.search(r"learning_rate: float = field\(\s*default=([0-9.e-]+)", text)[1])


# Algorithms beside GRPO that TRL has not.
CONFIGS |= {name: GRPOConfig for name in ("reinforce_plus_plus", "reinforce_plus_plus_baseline", "opo", "flash_reinforce", "remax")}
rates = {name: config.__dataclass_fields__["learning_rate"].default for name, config in CONFIGS.items()}
(HERE / "learning_rates.json").write_text(json.dumps({**rates, "online_dpo": online_dpo()}, indent=1, sort_keys=True) + "\n")
