"""Small models whose every number is known: a token's logits, or its value, depend on the token before it and on nothing else.

Attention and MLP add nothing (o_proj and down_proj are 0), so the last hidden state is the RMS norm of the token's embedding, and a table of
random numbers stands for the model. A run on such a model can be recomputed in Python to rounding.
"""
import functools
import json
import math
import os
import random
import shutil
from operator import mul

from harness import SCRATCH, measured, once, read_tensors, write_tensors

STORIES = os.environ["MODEL"]
VOCABULARY, WIDTH, INNER, HEADS, KEYS, SIZE = 1024, 96, 32, 6, 3, 16
EPSILON = 1e-5
EOS = 0


def _normal(seed, count, deviation):
    source = random.Random(seed)
    return [source.gauss(0.0, deviation) for _ in range(count)]


@functools.lru_cache(None)
def embeddings():
    return _normal(1, VOCABULARY * WIDTH, 1.0)


@functools.lru_cache(None)
def head(name):
    """The rows that turn a hidden state into logits (policy, reference) or a score (critic, judge)."""
    if name == "reference":
        return [a + b for a, b in zip(head("policy"), _normal(3, VOCABULARY * WIDTH, 0.02))]
    if name == "zero":
        return [0.0] * WIDTH
    if name == "ending":  # half of the tokens end the response
        return [5 * x for x in head("policy")[:WIDTH]] + head("policy")[WIDTH:]
    return _normal(2, VOCABULARY * WIDTH, 0.15) if name == "policy" else _normal(4, WIDTH, 0.05)


def table_model(name):
    """The directory of a model; name: policy, reference, ending (a policy), critic, or zero (a critic that says 0)."""
    return once(("model", name), lambda: _make(name))


def _make(name):
    scores = name in ("critic", "zero")
    path = os.path.join(SCRATCH, "model-" + name)
    os.mkdir(path)
    for file in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(STORIES, file), path)
    with open(os.path.join(STORIES, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config.update(num_hidden_layers=1, intermediate_size=INNER, tie_word_embeddings=False)
    if scores:
        config.update(architectures=["LlamaForSequenceClassification"], num_labels=1, id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0})
    with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    ones, layer = [1.0] * WIDTH, "model.layers.0."
    tensors = {"model.embed_tokens.weight": ([VOCABULARY, WIDTH], embeddings()), "model.norm.weight": ([WIDTH], ones),
               layer + "input_layernorm.weight": ([WIDTH], ones), layer + "post_attention_layernorm.weight": ([WIDTH], ones)}
    for part, rows, columns, deviation in (
            ("self_attn.q_proj", HEADS * SIZE, WIDTH, 0.05), ("self_attn.k_proj", KEYS * SIZE, WIDTH, 0.05),
            ("self_attn.v_proj", KEYS * SIZE, WIDTH, 0.05), ("self_attn.o_proj", WIDTH, HEADS * SIZE, 0),
            ("mlp.gate_proj", INNER, WIDTH, 0.05), ("mlp.up_proj", INNER, WIDTH, 0.05), ("mlp.down_proj", WIDTH, INNER, 0)):
        tensors[f"{layer}{part}.weight"] = ([rows, columns], _normal(len(part), rows * columns, deviation))
    tensors["score.weight" if scores else "lm_head.weight"] = ([1 if scores else VOCABULARY, WIDTH], head(name))
    write_tensors(os.path.join(path, "model.safetensors"), tensors)
    return path


def shaped_tensors(path):
    """As write_tensors takes them."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        shapes = {name: e["shape"] for name, e in json.loads(file.read(size)).items() if name != "__metadata__"}
    return {name: (shapes[name], values) for name, values in read_tensors(path).items()}


def policy_in_bf16():
    """The table `policy`, its weights cut to bf16."""

    def make():
        path = os.path.join(SCRATCH, "policy-bf16")
        shutil.copytree(table_model("policy"), path)
        file = os.path.join(path, "model.safetensors")
        write_tensors(file, shaped_tensors(file), "BF16")
        return path

    return once(("policy", "bf16"), make)


def zero_head_adapter():
    """An adapter of a table model whose scalar head says 0, and which adds nothing else."""

    def make():
        path = os.path.join(SCRATCH, "adapter-zero")
        os.mkdir(path)
        config = {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 1, "lora_alpha": 1, "target_modules": ["o_proj"], "modules_to_save": ["score"]}
        with open(os.path.join(path, "adapter_config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        module = "base_model.model.model.layers.0.self_attn.o_proj."
        write_tensors(os.path.join(path, "adapter_model.safetensors"),
                      {module + "lora_A.weight": ([1, HEADS * SIZE], [0.0] * HEADS * SIZE), module + "lora_B.weight": ([WIDTH, 1], [0.0] * WIDTH),
                       "base_model.model.score.weight": ([1, WIDTH], head("zero"))})
        return path

    return once(("adapter", "zero"), make)


EXPERTS, CHOSEN = 4, 2


@functools.lru_cache(None)
def router():
    return _normal(5, EXPERTS * WIDTH, 0.1)


def mixture():
    """The table `policy` with a router and experts for its MLP, which add nothing either."""

    def make():
        path = os.path.join(SCRATCH, "mixture")
        shutil.copytree(table_model("policy"), path)
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
        config.update(model_type="mixtral", architectures=["MixtralForCausalLM"], num_local_experts=EXPERTS, num_experts_per_tok=CHOSEN)
        with open(os.path.join(path, "config.json"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        file, block = os.path.join(path, "model.safetensors"), "model.layers.0.block_sparse_moe."
        tensors = {name: tensor for name, tensor in shaped_tensors(file).items() if ".mlp." not in name}
        tensors[block + "gate.weight"] = [EXPERTS, WIDTH], router()
        for expert in range(EXPERTS):
            for part, rows, columns, deviation in (("w1", INNER, WIDTH, 0.05), ("w3", INNER, WIDTH, 0.05), ("w2", WIDTH, INNER, 0)):
                tensors[f"{block}experts.{expert}.{part}.weight"] = [rows, columns], _normal(expert, rows * columns, deviation)
        write_tensors(file, tensors)
        return path

    return once(("mixture",), make)


def scaled_stories(factor):
    """The example's model with its last norm scaled: as if at another temperature, so that its KL to the original is not 0."""

    def make():
        path = os.path.join(SCRATCH, f"stories-{factor}")
        shutil.copytree(STORIES, path)
        tensors = shaped_tensors(os.path.join(STORIES, "model.safetensors"))
        shape, values = tensors["model.norm.weight"]
        tensors["model.norm.weight"] = shape, [factor * value for value in values]
        write_tensors(os.path.join(path, "model.safetensors"), tensors)
        return path

    return once(("stories", factor), make)


@functools.lru_cache(None)
def hidden(token):
    row = embeddings()[token * WIDTH : (token + 1) * WIDTH]
    scale = 1.0 / math.sqrt(sum(x * x for x in row) / WIDTH + EPSILON)
    return [x * scale for x in row]


@functools.lru_cache(None)
def logits(model, token):
    state, rows = hidden(token), head(model)
    return [sum(map(mul, rows[i : i + WIDTH], state)) for i in range(0, VOCABULARY * WIDTH, WIDTH)]


@functools.lru_cache(None)
def log_probs(model, token):
    """Of each token that may come after this one."""
    row = logits(model, token)
    top = max(row)
    norm = top + math.log(sum(math.exp(x - top) for x in row))
    return [x - norm for x in row]


def value(model, token):
    return sum(map(mul, head(model), hidden(token)))


def ids(text):
    return measured(STORIES, "", text)["ids"] if text else []


def token_log_probs(model, before, tokens):
    """Log-probabilities of tokens that come after the token `before`."""
    return [log_probs(model, a)[b] for a, b in zip([before, *tokens], tokens)]
