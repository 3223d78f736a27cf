"""Golden conversations: what transformers' apply_chat_template makes of them, as text, ids and assistant masks.

    python tests/golden/chat.py          # writes tests/golden/chat.json, prints the hashes of common/text/chat_detect.c

The templates write what the public ones write, and mark what the assistant says as TRL's training templates do. The tokenizer is that of
examples/models/stories with the special tokens that the templates need.
"""

import json
import pathlib
import re
import tempfile

import xxhash
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).resolve().parent
STORIES = HERE.parents[1] / "examples/models/stories"
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
# Each as it is published, and again with the marks: S and E stand for {% generation %} and {% endgeneration %}.
PUBLISHED = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}" + ALTERNATE +
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'system' %}{{ '<<SYS>>\\n' + content.strip() + '\\n<</SYS>>\\n\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}" + ALTERNATE +
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
}
MARKED = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'}}{% if message['role'] == 'assistant' %}"
    "S{{ message['content'] + '<|im_end|>' + '\\n'}}E{% else %}{{ message['content'] + '<|im_end|>' + '\\n'}}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama2": PUBLISHED["llama2"].replace("{{ ' '  + content.strip() + ' ' + eos_token }}", "S{{ ' '  + content.strip() + ' ' + eos_token }}E"),
    "llama3": "{% for message in messages %}{% if loop.index0 == 0 %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}{% if message['role'] == 'assistant' %}"
    "S{{ message['content'] | trim + '<|eot_id|>' }}E{% else %}{{ message['content'] | trim + '<|eot_id|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": PUBLISHED["mistral"].replace("{{ message['content'] + eos_token}}", "S{{ message['content'] + eos_token}}E"),
    "zephyr": "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' }}{% if message['role'] == 'assistant' %}"
    "S{{ message['content'] + eos_token + '\\n' }}E{% else %}{{ message['content'] + eos_token + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    "plain": "{% for message in messages %}{% if message['role'] == 'assistant' %}{{ '\\n\\nAssistant:' }}"
    "S{{ ' ' + message['content'] + eos_token }}E{% elif message['role'] == 'user' %}{{ '\\n\\nHuman: ' + message['content'] }}"
    "{% else %}{{ '\\n\\nSystem: ' + message['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}",
}
TURNS = [
    ("user", "Once upon a time?"),
    ("assistant", "There was a cat."),
    ("user", "  And then,\nwhat happened? "),
    ("assistant", " The cat\u00e9 was happy! \n"),
]


def conversation(turns, system=None):
    messages = [{"role": role, "content": content} for role, content in turns]
    return ([{"role": "system", "content": system}] if system else []) + messages


def marked(text):
    return re.sub(r"\bS(?=\{\{)", "{% generation %}", text).replace("}}E", "}}{% endgeneration %}")


def tokenizer():
    loaded = AutoTokenizer.from_pretrained(STORIES)
    loaded.add_special_tokens({"additional_special_tokens": SPECIAL})
    return loaded


def main():
    bare = tokenizer()
    golden = {"special": [{"content": token, "id": bare.convert_tokens_to_ids(token)} for token in SPECIAL], "published": PUBLISHED, "cases": []}
    for name, template in MARKED.items():
        template = marked(template)
        systems = [None] if name == "mistral" else [None, "Be kind."]
        for system in systems:
            for count, generation in ((1, True), (2, False), (3, True), (4, False)):
                messages = conversation(TURNS[:count], system)
                kwargs = {"chat_template": template, "add_generation_prompt": generation}
                text = bare.apply_chat_template(messages, tokenize=False, **kwargs)
                if name in PUBLISHED:
                    public = bare.apply_chat_template(messages, tokenize=False, chat_template=PUBLISHED[name], add_generation_prompt=generation)
                    assert public == text, (name, public, text)
                made = bare.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True, **kwargs)
                ids, mask = made["input_ids"], made["assistant_masks"]
                if name == "plain":  # an ordinary text: the tokenizer's begin token comes before it
                    assert bare(text)["input_ids"] == [bare.bos_token_id] + ids
                    ids, mask = [bare.bos_token_id] + ids, [0] + mask
                golden["cases"].append(
                    {"format": name, "messages": messages, "generation": generation, "text": text, "ids": ids, "mask": mask}
                )
    (HERE / "chat.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    preface = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    for name, template in (*PUBLISHED.items(), ("chatml, with a default", preface + PUBLISHED["chatml"])):
        print(name, "0x" + xxhash.xxh3_64_hexdigest(re.sub(r"[ \t\n\r]", "", template).encode()))


main()
