#!/usr/bin/env bash
# `troupe render` writes what transformers' apply_chat_template writes, by every template in TRL's package. PYTHON names an interpreter
# that has transformers and trl.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PYTHON=${PYTHON:-python3}
"$PYTHON" -c 'import transformers, trl' 2>/dev/null || skip "$PYTHON has no transformers and trl"

"$PYTHON" - "$TROUPE" "$MODEL" "$SCRATCH" <<'PYTHON' || fail "texts differ from transformers'"
import glob, json, os, subprocess, sys
import trl
from transformers import AutoTokenizer

troupe, model, scratch = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)


def said(role, content, **more):
    return {"role": role, "content": content, **more}


TOOLS = [{"type": "function", "function": {"name": "weather", "description": 'Of a "city" <b>', "parameters": {
    "type": "object", "required": ["city"], "properties": {"city": {"type": "string", "description": "Citt\u00e0"},
                                                           "days": {"type": ["integer", "null"], "enum": [1, 2, None], "default": 1.5}}}}}]
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "Paris", "days": 2, "x": [1.5, None, "\u00e9\n"]}}}
SYSTEM, HELLO, AND = said("system", "You are  helpful.\n"), said("user", " Hello! \u4f60\u597d \U0001f600 <|im_end|>\n"), said("user", "And?")
THOUGHT = said("assistant", '<think>\nhmm\n</think>\n\nHi "there".  ')
REASONED = said("assistant", "Four.", reasoning_content="two and\n two ")
ASKED = [said("assistant", None, tool_calls=[CALL]), said("tool", '{"t": 3.5}', name="weather", tool_call_id="abcdefghi")]
PARTS = [said("user", [{"type": "text", "text": "one "}, {"type": "text", "text": "half"}])]
TALKS = [([HELLO], None), ([SYSTEM, HELLO], None), ([SYSTEM, HELLO, THOUGHT, AND], None), ([AND, REASONED, HELLO, REASONED], None),
         ([HELLO, THOUGHT, AND, said("assistant", "Yes.")], None), ([SYSTEM, AND], TOOLS), ([AND, *ASKED], TOOLS),
         ([SYSTEM, AND, *ASKED, said("assistant", "Rain."), AND], TOOLS), (PARTS, None), ([said("user", ""), said("assistant", "\n x \n")], None)]
KWARGS = [{}, {"enable_thinking": False}, {"enable_thinking": True, "reasoning_effort": "high", "date_string": "1 Jan 2020"}]


def rendered(template, messages, tools, kwargs, column):
    """None where transformers writes nothing, or parts as Python spells them or not at all: `render` joins them there."""
    ends = {} if column == "messages" else {"continue_final_message": True} if messages[-1]["role"] == "assistant" else {"add_generation_prompt": True}
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, chat_template=template, tokenize=False, **ends, **kwargs)
    except Exception:
        return None
    return None if messages is PARTS and ("half" not in text or "'half'" in text) else text


tried = wrong = 0
for path in sorted(glob.glob(os.path.join(os.path.dirname(trl.__file__), "chat_templates", "*.jinja"))):
    rows, texts = [], []
    template = "{% macro strftime_now(form) %}{{ form }}{% endmacro %}" + open(path, encoding="utf-8").read()  # no day may end in between
    for messages, tools in TALKS:
        for kwargs in KWARGS:
            for column in ("messages", "prompt"):
                text = rendered(template, messages, tools, kwargs, column)
                if text is not None:
                    rows.append({column: messages, "tools": tools, "chat_template_kwargs": kwargs or None})
                    texts.append(text)
    with open(f"{scratch}/rows.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    with open(f"{scratch}/template.jinja", "w", encoding="utf-8") as file:
        file.write(template)
    ran = subprocess.run([troupe, "render", "--json", "--model", model, "--template", f"{scratch}/template.jinja", f"{scratch}/rows.jsonl"],
                         capture_output=True, text=True, encoding="utf-8")
    found = [next(iter(json.loads(line).values())) for line in ran.stdout.split("\n") if line]
    if found != texts:
        wrong += 1
        at = next((i for i, (a, b) in enumerate(zip(found, texts)) if a != b), len(found))
        print(os.path.basename(path), rows[at], "\n  wanted", repr(texts[at]), "\n  found ", repr(found[at]) if at < len(found) else ran.stderr[-400:])
    tried += len(texts)
print(f"{tried} texts")
sys.exit(wrong > 0 or tried < 1000)
PYTHON
