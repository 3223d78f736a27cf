#!/usr/bin/env python3
"""Makes forms.json: rows as other training programs document them, and what their own converters make of them, as our columns.

Usage: forms.py LLAMA_FACTORY MS_SWIFT > forms.json, from checkouts of both (made with ff6d4d1 and 3602360). Neither needs to be installed; `datasets` does.
Each case: {form, kinds, row, columns}, where `columns` are ours that the row must get. Each of `infos`: {kinds, entry, rows, columns}, where the entry is one
of a dataset_info.json and a row's columns are null where LLaMA-Factory passes over the row.
"""
import ast
import json
import sys
import types
from types import SimpleNamespace

factory, swift = sys.argv[1:]
cases, infos = [], []


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
from llamafactory.data.converter import DATASET_CONVERTERS, AlpacaDatasetConverter, SharegptDatasetConverter  # noqa: E402

with open(factory + "/src/llamafactory/data/parser.py", encoding="utf-8") as file:
    parser = [node for node in ast.parse(file.read()).body if getattr(node, "name", "") in ("DatasetAttr", "get_dataset_list")]
names = {"DATA_CONFIG": "dataset_info.json"}
exec("from dataclasses import dataclass\nfrom typing import *\n" + "\n".join(map(ast.unparse, parser)), names)


def message(m):
    """A message of LLaMA-Factory's as transformers' templates take it."""
    if m["role"] == "function":
        calls = json.loads(m["content"])
        calls = calls if isinstance(calls, list) else [calls]
        return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call} for call in calls]}
    return {"role": {"observation": "tool"}.get(m["role"], str(m["role"])), "content": m["content"]}


def of_factory(converter, form, kinds, row, **columns):
    """columns: of dataset_info.json."""
    settings = names["DatasetAttr"]("file", dataset_name="x", formatting="alpaca" if converter is AlpacaDatasetConverter else "sharegpt")
    for key in ("prompt", "query", "response", "messages"):
        setattr(settings, key, getattr(settings, key) if getattr(settings, key) in row else None)
    for key, value in columns.items():
        setattr(settings, key, value)
    case(form, kinds, row, **as_ours(settings, converter(settings, SimpleNamespace(media_dir=""))(row)))


def as_ours(settings, out):
    """Our columns of what a converter returns."""
    system = [{"role": "system", "content": out["_system"]}] if out["_system"] else []
    prompt, answers = system + [message(m) for m in out["_prompt"]], [message(m) for m in out["_response"]]
    ours = {"prompt": prompt}
    if settings.kto_tag:
        good = answers[1]["content"] == ""
        ours |= {"completion": answers[:1] if good else answers[1:], "label": good}
    elif settings.ranking:
        ours |= {"chosen": answers[:1], "rejected": answers[1:]}
    elif settings.formatting != "alpaca":
        ours = {"messages": prompt + answers, "prompt": prompt}
    elif answers:
        ours |= {"completion": answers}
    return ours


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

# LLaMA-Factory's dataset_info.json


def of_info(kinds, entry, *rows):
    """rows: as datasets.load_dataset gives them, which fills missing columns."""
    entry = {"file_name": "rows.json", **entry}
    settings = names["get_dataset_list"](["x"], {"x": entry})[0]
    converter = DATASET_CONVERTERS[settings.formatting](settings, SimpleNamespace(media_dir=""))
    columns = []
    for row in rows:
        out = converter({**{key: None for other in rows for key in other}, **row})
        if settings.formatting == "openai":  # a switch of Nemotron's, which is left out here; observations are joined for Qwen's template
            out["_system"] = out["_system"].removesuffix("detailed thinking off").removesuffix("\n")
            out["_prompt"] = [{**m, "content": text} for m in out["_prompt"] for text in
                              (m["content"].split("\n</tool_response>\n<tool_response>\n") if m["role"] == "observation" else [m["content"]])]
        columns.append(as_ours(settings, out) if out["_prompt"] else None)
    infos.append({"kinds": kinds, "entry": entry, "rows": rows, "columns": columns})


logging.get_logger("").warning_rank0 = sys.modules["llamafactory.data.converter"].logger.warning_rank0 = lambda text: None
of_info("sft", {}, {"instruction": "i", "input": "x", "output": "o", "system": "is no column", "history": history, "messages": 1})
of_info("sft", {"columns": {"prompt": "question", "query": "context", "response": "answer", "system": "rules", "history": "before"}, "folder": "f", "subset": "s"},
        {"question": "q", "context": "", "answer": "a", "prompt": "p", "completion": "c", "text": "t"},
        {"question": "q", "context": "c", "answer": "a", "rules": "r", "before": history})
of_info("sft", {"columns": {"prompt": "prompt", "response": "text"}}, {"prompt": "p", "text": "t", "input": "is no column", "label": 3})
of_info("dpo", {"ranking": True, "columns": {"prompt": "prompt", "chosen": "good", "rejected": "bad"}},
        {"prompt": "p", "good": "g", "bad": "b", "chosen": "is no column", "instruction": "is none"})
of_info("kto", {"columns": {"prompt": "instruction", "query": "input", "response": "output", "kto_tag": "liked"}},
        {"instruction": "i", "input": "x", "output": "o", "liked": False, "label": True, "chosen": "is none", "rejected": "is none"},
        {"instruction": "i", "input": "x", "output": "o", "liked": True})
of_info("ppo", {"columns": {"prompt": "text"}}, {"text": "t", "prompt": "is no column"})
of_info("sft", {"formatting": "sharegpt"}, {"conversations": turns, "system": "is no column"}, {"conversations": turns[:1]}, {"conversations": turns[::-1]},
        {"conversations": turns + turns[1:]}, {"conversations": [{"from": "system", "value": "s"}] + tools}, {"conversations": turns[:1] + calls[:2]})
openai = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
of_info("sft", {"formatting": "sharegpt", "columns": {"messages": "messages", "system": "rules"}, "tags": openai},
        {"messages": talk, "rules": "not these"}, {"messages": talk[1:], "rules": "these"}, {"messages": talk[1:] + [{"role": "system", "content": "late"}, talk[2]]})
odd = {"role_tag": "who", "content_tag": "said", "user_tag": "Me", "assistant_tag": "It", "observation_tag": "Got", "function_tag": "Do"}
of_info("sft", {"formatting": "sharegpt", "columns": {"messages": "talk", "tools": "functions"}, "tags": odd},
        {"talk": [{"who": "Me", "said": "u"}, {"who": "Do", "said": '[{"name": "f", "arguments": {"x": 1.5}}]'}, {"who": "Got", "said": "1"}, {"who": "It", "said": "a"}],
         "functions": '[{"name": "f", "parameters": {"x": {"type": "number"}}}]'})
of_info("dpo", {"formatting": "sharegpt", "ranking": True, "columns": {"messages": "talk", "chosen": "better", "rejected": "worse"}, "tags": odd},
        {"talk": [{"who": "Me", "said": "u"}], "better": {"who": "It", "said": "b"}, "worse": {"who": "It", "said": "w"}},
        {"talk": [{"who": "Me", "said": "u"}, {"who": "It", "said": "a"}], "better": {"who": "It", "said": "b"}, "worse": {"who": "It", "said": "w"}})
of_info("kto", {"formatting": "sharegpt", "columns": {"messages": "conversations", "kto_tag": "kto_tag"}},
        {"conversations": turns, "kto_tag": True}, {"conversations": turns, "kto_tag": False})
call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
of_info("sft", {"formatting": "openai", "columns": {"messages": "messages"}, "tags": {**openai, "observation_tag": "tool", "function_tag": "tools"}},
        {"messages": talk}, {"messages": talk[1:]}, {"messages": [talk[1], {"role": "assistant", "content": "", "tool_calls": [call, call]},
                                                                  {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}, talk[2]]})

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


with open(swift + "/swift/agent_template/base.py", encoding="utf-8") as file:
    parsers = [node for node in ast.walk(ast.parse(file.read())) if getattr(node, "name", "") in ("_parse_tool_call", "_parse_json")]
base = ast.parse("class BaseAgentTemplate: pass").body[0]
base.body = parsers
exec(ast.unparse(base), core)


def framed(messages):
    """Calls and responses as transformers' templates take them: calls one after the other, and behind what the assistant says, are one message."""
    out = []
    for m in messages:
        role, content = {"tool_response": "tool"}.get(m["role"], m["role"]), m["content"]
        if role in ("tool_call", "tool") and not isinstance(content, str):
            content = json.dumps(content, ensure_ascii=False)  # StdTemplateInputs.from_dict
        if role != "tool_call":
            out.append({"role": role, "content": content})
            continue
        if not out or out[-1]["role"] != "assistant":
            out.append({"role": "assistant", "content": ""})
        call = core["BaseAgentTemplate"]._parse_tool_call(content)
        out[-1].setdefault("tool_calls", []).append({"type": "function", "function": call})
    return out


def of_swift(preprocessor, form, kinds, row):
    given = json.loads(json.dumps(row))
    for column in ("conversation", "conversations"):  # as its `columns` do
        if column in given:
            given["messages"] = given.pop(column)
    out = core[preprocessor]().preprocess(given)
    messages = framed(out["messages"])
    split = len(messages) - (messages[-1]["role"] == "assistant")
    ours = {"prompt": messages[:split]}
    if kinds == "dpo":
        rejected = out["rejected_response"]
        ours |= {"chosen": messages[split:], "rejected": [{"role": "assistant", "content": rejected}] if isinstance(rejected, str) else rejected}
    elif kinds == "kto" or (kinds == "sft" and preprocessor == "ResponsePreprocessor"):
        ours["completion"] = messages[split:]
    elif kinds == "sft":
        ours["messages"] = messages
    if form == "TRL":
        del ours["prompt"]
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

aqi = [{"role": "user", "content": "How is the air?"}, {"role": "assistant", "content": "Let me look."},
       {"role": "tool_call", "content": '{"name": "aqi", "arguments": {"city": "Beijing"}}'},
       {"role": "tool_call", "content": {"name": "aqi", "parameters": '{"city": "Shanghai"}'}},
       {"role": "tool_response", "content": '{"aqi": "10"}'}, {"role": "tool", "content": {"aqi": 72.5, "ort": "größer"}},
       {"role": "assistant", "content": "Good, and fair."}, {"role": "user", "content": "And now?"}, {"role": "tool_call", "content": '{"name": "aqi", "arguments": {}}'},
       {"role": "tool_response", "content": "1"}, {"role": "assistant", "content": "Good."}]
of_swift("MessagesPreprocessor", "TRL", "sft", {"messages": aqi})
of_swift("MessagesPreprocessor", "messages up to the last answer", "ppo", {"messages": aqi})
of_swift("MessagesPreprocessor", "messages up to the last answer", "ppo", {"messages": aqi[:5]})

# OpenRLHF's preprocess_data takes input_key and output_key as they are (sft_dataset.py, prompts_dataset.py); verl's prompts are ours.
case("input and output", "sft", {"input": "Human: Hi\nAssistant: ", "output": "Hello"}, prompt="Human: Hi\nAssistant: ", completion="Hello")
case("input and output", "sft", {"input": talk}, messages=talk)
case("input and output", "ppo", {"input": "Hi", "datasource": "d"}, prompt="Hi")
verl = {"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "What is 2 + 2?"}], "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"split": "train", "index": 0}}
case("TRL", "ppo", verl, **verl)
print('{"cases": [\n' + ",\n".join(json.dumps(each) for each in cases) + '\n], "infos": [\n' + ",\n".join(json.dumps(each) for each in infos) + "\n]}")
