#!/usr/bin/env python3
"""Makes forms.json: rows as other training programs document them, and what their own converters make of them, as our columns.

Usage: forms.py LLAMA_FACTORY MS_SWIFT > forms.json, from checkouts of both (made with ff6d4d1 and 3602360). Neither needs to be installed; `datasets` does.
Each case: {form, kinds, row, columns}, where `columns` are ours that the row must get.
"""
import ast
import json
import sys
import types
from types import SimpleNamespace

factory, swift = sys.argv[1:]
cases = []


def case(form, kinds, row, **columns):
    cases.append({"form": form, "kinds": kinds, "row": row, "columns": columns})


def package(name, path):
    module = types.ModuleType(name)
    module.__path__ = [path]
    sys.modules[name] = module


# LLaMA-Factory

for name in ("", ".data", ".extras"):
    package("llamafactory" + name, factory + "/src/llamafactory" + name.replace(".", "/"))
logging = types.ModuleType("llamafactory.extras.logging")
logging.get_logger = lambda name: SimpleNamespace(warning_rank0=lambda text: sys.exit(text), warning_rank0_once=print)
sys.modules["llamafactory.extras.logging"] = sys.modules["llamafactory.extras"].logging = logging
from llamafactory.data.converter import AlpacaDatasetConverter, SharegptDatasetConverter  # noqa: E402

with open(factory + "/src/llamafactory/data/parser.py", encoding="utf-8") as file:
    attr = next(node for node in ast.parse(file.read()).body if getattr(node, "name", "") == "DatasetAttr")
names = {}
exec("from dataclasses import dataclass\nfrom typing import *\n" + ast.unparse(attr), names)


def message(m):
    """A message of LLaMA-Factory's as transformers' templates take it."""
    if m["role"] == "function":
        calls = json.loads(m["content"])
        calls = calls if isinstance(calls, list) else [calls]
        return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call} for call in calls]}
    return {"role": {"observation": "tool"}.get(m["role"], str(m["role"])), "content": m["content"]}


def of_factory(converter, form, kinds, row, **columns):
    """columns: of dataset_info.json."""
    settings = names["DatasetAttr"]("file", dataset_name="x")
    for key in ("prompt", "query", "response", "messages"):
        setattr(settings, key, getattr(settings, key) if getattr(settings, key) in row else None)
    for key, value in columns.items():
        setattr(settings, key, value)
    out = converter(settings, SimpleNamespace(media_dir=""))(row)
    system = [{"role": "system", "content": out["_system"]}] if out["_system"] else []
    prompt, answers = system + [message(m) for m in out["_prompt"]], [message(m) for m in out["_response"]]
    ours = {"prompt": prompt}
    if settings.kto_tag:
        good = answers[1]["content"] == ""
        ours |= {"completion": answers[:1] if good else answers[1:], "label": good}
    elif settings.ranking:
        ours |= {"chosen": answers[:1], "rejected": answers[1:]}
    elif converter is SharegptDatasetConverter:
        ours = {"messages": prompt + answers, "prompt": prompt}
    elif answers:
        ours |= {"completion": answers}
    case(form, kinds, row, **ours)


ALPACA, SHAREGPT = "alpaca", "ShareGPT's conversations"
history = [["human instruction in the first round", "model response in the first round"], ["in the second round", "second response"]]
of_factory(AlpacaDatasetConverter, ALPACA, "sft", {"instruction": "human instruction", "input": "human input", "output": "model response"})
of_factory(AlpacaDatasetConverter, ALPACA, "sft", {"instruction": "human instruction", "input": "", "output": "model response"})
of_factory(AlpacaDatasetConverter, ALPACA, "sft", {"instruction": "human instruction", "output": "model response"})
of_factory(AlpacaDatasetConverter, ALPACA, "sft", {"instruction": "i", "input": "x", "output": "o", "system": "system prompt", "history": history},
           system="system", history="history")
of_factory(AlpacaDatasetConverter, ALPACA, "dpo", {"instruction": "i", "input": "x", "chosen": "chosen answer", "rejected": "rejected answer"},
           ranking=True, chosen="chosen", rejected="rejected")
for tag in (True, False):
    of_factory(AlpacaDatasetConverter, ALPACA, "kto", {"instruction": "i", "input": "x", "output": "o", "kto_tag": tag}, kto_tag="kto_tag")
of_factory(AlpacaDatasetConverter, ALPACA, "ppo", {"instruction": "i", "input": "x"})

turns = [{"from": "human", "value": "human instruction"}, {"from": "gpt", "value": "model response"}]
of_factory(SharegptDatasetConverter, SHAREGPT, "sft", {"conversations": turns * 2})
of_factory(SharegptDatasetConverter, SHAREGPT, "sft", {"conversations": turns, "system": "system prompt"}, system="system")
of_factory(SharegptDatasetConverter, SHAREGPT, "ppo", {"conversations": [{"from": "system", "value": "its own"}] + turns, "system": "not this"}, system="system")
tools = [{"from": "human", "value": "Hi, can you tell me the price?"}, {"from": "function_call", "value": '{"name": "price", "arguments": {"item": "tea", "count": 2}}'},
         {"from": "observation", "value": '{"price": 4.5}'}, {"from": "gpt", "value": "It is 4.5."}]
of_factory(SharegptDatasetConverter, SHAREGPT, "sft", {"conversations": tools, "tools": "[]"}, tools="tools")
calls = [tools[0], {"from": "function_call", "value": '[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": null}}]'}]
of_factory(SharegptDatasetConverter, SHAREGPT, "ppo", {"conversations": calls})
of_factory(SharegptDatasetConverter, SHAREGPT, "dpo",
           {"conversations": turns + turns[:1], "chosen": {"from": "gpt", "value": "chosen answer"}, "rejected": {"from": "gpt", "value": "rejected answer"}},
           ranking=True, chosen="chosen", rejected="rejected")
for tag in (True, False):
    of_factory(SharegptDatasetConverter, SHAREGPT, "kto", {"conversations": turns, "kto_tag": tag}, kto_tag="kto_tag")

# ms-swift

for name in ("swift", "swift.template", "swift.template.template_inputs", "swift.utils", "modelscope", "modelscope.hub", "modelscope.hub.utils",
             "modelscope.hub.utils.utils"):
    package(name, "/nowhere")
with open(swift + "/swift/template/utils.py", encoding="utf-8") as file:
    found = next(node for node in ast.parse(file.read()).body if getattr(node, "name", "") == "history_to_messages")
names = {}
exec("from typing import *\nHistory = Messages = Any\n" + ast.unparse(found), names)
sys.modules["swift.template"].history_to_messages = names["history_to_messages"]
sys.modules["swift.template.template_inputs"].normalize_openai_tool_calls = lambda messages: messages
sys.modules["modelscope.hub.utils.utils"].get_cache_dir = None
for name in ("get_logger", "is_dist", "is_master", "safe_ddp_context"):
    setattr(sys.modules["swift.utils"], name, lambda *a: SimpleNamespace(info=print, warning=print))
with open(swift + "/swift/dataset/preprocessor/core.py", encoding="utf-8") as file:
    tree = ast.parse(file.read())
core = {}
wanted = {"RowPreprocessor", "ResponsePreprocessor", "AlpacaPreprocessor", "MessagesPreprocessor"}
for node in tree.body:
    if isinstance(node, ast.ClassDef) and node.name == "RowPreprocessor":
        # how its rows are read from files does not matter here
        node.body = [item for item in node.body if not isinstance(item, ast.Assign)]
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign)) or getattr(node, "name", "") in wanted:
        try:
            exec(ast.unparse(node), core)
        except ImportError as error:
            sys.exit(str(error))


def of_swift(preprocessor, form, kinds, row):
    given = json.loads(json.dumps(row))
    for column in ("conversation", "conversations"):  # as its `columns` do
        if column in given:
            given["messages"] = given.pop(column)
    out = core[preprocessor]().preprocess(given)
    messages = [{"role": m["role"], "content": m["content"]} for m in out["messages"]]
    split = len(messages) - (messages[-1]["role"] == "assistant")
    ours = {"prompt": messages[:split]}
    if kinds == "dpo":
        rejected = out["rejected_response"]
        ours |= {"chosen": messages[split:], "rejected": [{"role": "assistant", "content": rejected}] if isinstance(rejected, str) else rejected}
    elif kinds == "kto" or (kinds == "sft" and preprocessor == "ResponsePreprocessor"):
        ours["completion"] = messages[split:]
    elif kinds == "sft":
        ours["messages"] = messages
    case(form, kinds, row, **ours)


QUERY = "query and response"
pair = [["<query1>", "<response1>"]]
of_swift("ResponsePreprocessor", QUERY, "sft", {"system": "<system>", "query": "<query2>", "response": "<response2>", "history": pair})
of_swift("ResponsePreprocessor", QUERY, "sft", {"query": "<query2>", "response": "<response2>", "history": []})
of_swift("ResponsePreprocessor", QUERY, "dpo", {"query": "<query>", "response": "<good>", "rejected_response": "<bad>"})
of_swift("ResponsePreprocessor", QUERY, "kto", {"query": "<query>", "response": "<good>", "label": False})
of_swift("MessagesPreprocessor", "ms-swift's conversation", "sft",
         {"system": "<system>", "conversation": [{"human": "<query1>", "assistant": "<response1>"}, {"human": "<query2>", "assistant": "<response2>"}]})
of_swift("MessagesPreprocessor", SHAREGPT, "sft", {"conversations": [{"from": "user", "value": "a"}, {"from": "bot", "value": "b"}]})
talk = [{"role": "system", "content": "You are a useful and harmless assistant"}, {"role": "user", "content": "Tell me tomorrow's weather"},
        {"role": "assistant", "content": "Tomorrow's weather will be sunny"}]
of_swift("MessagesPreprocessor", "messages and rejected_response", "dpo", {"messages": talk, "rejected_response": "I don't know"})
of_swift("MessagesPreprocessor", "messages and label", "kto", {"messages": talk, "label": True})
of_swift("MessagesPreprocessor", "messages up to the last answer", "ppo", {"messages": talk[:2]})
of_swift("MessagesPreprocessor", "messages up to the last answer", "ppo", {"messages": talk})

# OpenRLHF's preprocess_data takes input_key and output_key as they are (sft_dataset.py, prompts_dataset.py); verl's prompts are ours.
case("input and output", "sft", {"input": "Human: Hi\nAssistant: ", "output": "Hello"}, prompt="Human: Hi\nAssistant: ", completion="Hello")
case("input and output", "sft", {"input": talk}, messages=talk)
case("input and output", "ppo", {"input": "Hi", "datasource": "d"}, prompt="Hi")
verl = {"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "What is 2 + 2?"}], "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"split": "train", "index": 0}}
case("TRL", "ppo", verl, **verl)
print('{"cases": [\n' + ",\n".join(json.dumps(each) for each in cases) + "\n]}")
