"""Golden conversations: texts, ids and assistant masks of transformers' apply_chat_template, and texts and ids of answers that are cut.

    python tests/golden/chat.py             # writes tests/golden/chat.json

The templates are ours; common/text/chat_templates.c holds the same. Each writes what the public one named above it writes, and marks what the assistant generates as
TRL's training templates do: from the end of the generation prompt to the end of the turn. The two tokenizers are small ones of the
kinds that Llama models have.
"""

import json
import pathlib
import re

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

# Templates. Transformers' Jinja drops the white space that a tag's `-` faces, and the line's end after a tag.

ONLY_USER_AND_ASSISTANT = """
    {%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}{{- raise_exception('not by turns') }}{% endif %}"""

TEMPLATES = {
    # Qwen/Qwen3-4B-Instruct-2507 without tools; OpenHermes-2.5; TRL's setup_chat_format
    "chatml": """
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] + '<|im_end|>\n' }}{% endgeneration %}
    {%- else %}
        {{- message['content'] + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}""",
    # meta-llama/Llama-2-7b-chat-hf
    "llama2": """
{%- set before = '' %}
{%- if messages[0]['role'] == 'system' %}
    {%- set before = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}"""
    + ONLY_USER_AND_ASSISTANT
    + """
    {%- if message['role'] == 'user' %}
        {{- bos_token + '[INST] ' + ((before if loop.first else '') + message['content']).strip() + ' [/INST]' }}
    {%- else %}
        {%- generation %}{{- ' ' + message['content'].strip() + ' ' + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}""",
    # meta-llama/Meta-Llama-3-8B-Instruct
    "llama3": """
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] | trim + '<|eot_id|>' }}{% endgeneration %}
    {%- else %}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}""",
    # mistralai/Mistral-7B-Instruct-v0.2 as first published; Mixtral-8x7B-Instruct-v0.1
    "mistral": """
{{- bos_token }}
{%- for message in messages %}"""
    + ONLY_USER_AND_ASSISTANT
    + """
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + ' [/INST]' }}
    {%- else %}
        {%- generation %}{{- message['content'] + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}""",
    # mistralai/Mistral-7B-Instruct-v0.2 since 2024 (Mistral's tokenizer "v1")
    "mistral-v1": """
{{- bos_token }}
{%- set before = '' %}
{%- if messages[0]['role'] == 'system' %}
    {%- set before = messages[0]['content'] + '\n\n' %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}"""
    + ONLY_USER_AND_ASSISTANT
    + """
    {%- if message['role'] == 'user' %}
        {{- ' [INST] ' + (before if loop.first else '') + message['content'] + ' [/INST]' }}
    {%- else %}
        {%- generation %}{{- ' ' + message['content'] + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}""",
    # mistralai/Mistral-7B-Instruct-v0.3 without tools and system message (Mistral's tokenizer "v3")
    "mistral-v3": """
{{- bos_token }}
{%- for message in messages %}"""
    + ONLY_USER_AND_ASSISTANT
    + """
    {%- if message['role'] == 'user' %}
        {{- '[INST] ' + message['content'] + '[/INST]' }}
    {%- else %}
        {%- generation %}{{- ' ' + message['content'] | trim + eos_token }}{% endgeneration %}
    {%- endif %}
{%- endfor %}""",
    # HuggingFaceH4/zephyr-7b-beta
    "zephyr": """
{%- for message in messages %}
    {{- '<|' + message['role'] + '|>\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{- message['content'] + eos_token }}{% endgeneration %}
    {%- else %}
        {{- message['content'] + eos_token }}
    {%- endif %}
    {{- '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{% endif %}""",
    # the texts of Anthropic/hh-rlhf
    "plain": """
{%- for message in messages %}
    {%- if message['role'] == 'assistant' %}
        {{- '\n\nAssistant:' }}
        {%- generation %}{{- ' ' + message['content'] + eos_token }}{% endgeneration %}
    {%- else %}
        {{- '\n\n' + {'system': 'System', 'user': 'Human'}[message['role']] + ': ' + message['content'] }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '\n\nAssistant:' }}{% endif %}""",
}
# All that a conversation may have beside texts: tools and their calls, reasoning, contents of several parts, variables.
FULL = """
{%- if tools %}
    {{- '<tools>' }}
    {%- for tool in tools %}{{- '\\n' + (tool | tojson) }}{% endfor %}
    {{- '\\n</tools>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<' + (user_name | default('user') if message.role == 'user' else message.role) + '>' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
            {%- if message.reasoning_content %}{{- '[' + message.reasoning_content + ']' }}{% endif %}
            {%- if message.content is string %}{{- message.content }}{% endif %}
            {%- for call in message.tool_calls or [] %}
                {{- '{' ~ call.function.name ~ '(' ~ (call.function.arguments | tojson) ~ ')}' }}
            {%- endfor %}
            {{- eos_token }}
        {%- endgeneration %}
    {%- elif message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}{{- part.text }}{% endfor %}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<assistant>' }}{% endif %}"""
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds two and <two>.", "parameters": {
    "type": "object", "properties": {"a": {"type": "number", "default": 0.5}, "b": {"type": ["number", "null"], "enum": [None, 1]}}}}}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": None, "c": "\u00e9\n"}}}
FULL_CASES = [
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "two?"}], "name": None}]},
    {"messages": [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "It is four.", "reasoning": "two and two"},
                  {"role": "user", "content": "How?"}], "kwargs": {"user_name": "girl"}},
    {"messages": [{"role": "user", "content": "two and two?"}, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
                  {"role": "tool", "content": "4", "name": "add"}, {"role": "assistant", "content": "four.", "tool_calls": None}],
     "tools": [TOOL], "whole": True},
    {"messages": [{"role": "system", "content": [{"type": "text", "text": "You are"}]}, {"role": "user", "content": "Hello!"}], "tools": []},
]


NO_SYSTEM = ("mistral", "mistral-v3")
BY_TURNS = ("llama2", "mistral", "mistral-v1", "mistral-v3")
BYTES = ("chatml", "llama3", "plain")

# Conversations, as letters of the roles and the contents.

CONVERSATIONS = [
    ("u", "What is two and two?"),
    ("ua", "What is two and two?", "It is four."),
    ("su", "You are a helpful assistant.", "Hello!"),
    ("suaua", "You are a helpful assistant.", "Hello!", "Hello! How are you?", "I am fine, thank you.", "A girl."),
    ("uauau", "Hello!", "", "", " ", "How are you?"),
    ("suau", "  be brief\n", "\n\nHello!\t ", " \n Hello!\u00a0\u3000", " and? \x1f"),
    ("uau", "\u4f60\u597d \u00e9\u00fc", "\U0001f600 caf\u00e9 \u2581x", "\U0001f468\u200d\U0001f469"),
    ("sua", "", "<<SYS>>", "<think>\nHello!\n</think>\n\nIt is four."),
    ("uaua", "\nHello\n\n\n", "\n\n\nonce\n", "[INST] <|im_end|> </s>", "<s> Human: <|eot_id|>"),
]
ANY_ORDER = [
    ("aauu", "Hello!", " How are you?", "It is", "four."),
    ("usa", "Hello!", "You are a helpful assistant.", "I am fine."),
]


def messages_of(letters, *contents):
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [{"role": roles[letter], "content": content} for letter, content in zip(letters, contents, strict=True)]


def conversations_for(name):
    for letters, *contents in CONVERSATIONS + ([] if name in BY_TURNS else ANY_ORDER):
        if not (letters[0] == "s" and name in NO_SYSTEM):
            yield messages_of(letters, *contents)


# Tokenizers

CORPUS = [
    "Once upon a time there was a little girl. What is two and two? It is four. You are a helpful assistant. Hello! How are you? "
    "I am fine, thank you. [INST] [/INST] system user assistant Human: Assistant: \n\n"
] * 2


def bytes_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|begin_of_text|>", "<|end_of_text|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=specials))
    turns = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in turns])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=specials[0], eos_token=specials[1])


def pieces_tokenizer():
    specials = ["<unk>", "<s>", "</s>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=90, special_tokens=specials))
    model = json.loads(trained.to_str())["model"]
    tokens = specials + [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += [token for token in model["vocab"] if token not in specials and "\n" not in token]
    merges = [tuple(pair) for pair in model["merges"] if "\n" not in "".join(pair)]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = trained.normalizer
    strip = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(strip)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


# Golden numbers


def case_of(tokenizer, template, messages, prompt):
    options = {"chat_template": template, "add_generation_prompt": prompt}
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True, **options)
    return {
        "messages": messages,
        "add_generation_prompt": prompt,
        "text": tokenizer.apply_chat_template(messages, tokenize=False, **options),
        "ids": encoded["input_ids"],
        "mask": encoded["assistant_masks"],
    }


def saved_form(template):
    """As models are saved with it: without the marks, which not every reader of templates knows."""
    return re.sub(r"\{%-? generation %\}|\{% endgeneration %\}", "", template).lstrip("\n")


def cut_case_of(tokenizer, template, messages):
    """An answer that goes on: its turn does not end."""
    options = {"chat_template": template, "continue_final_message": True}
    text = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    return {"messages": messages, "text": text, "ids": tokenizer.apply_chat_template(messages, **options)["input_ids"]}


def full_case_of(tokenizer, case):
    options = {"chat_template": FULL, "tools": case.get("tools"), "add_generation_prompt": not case.get("whole"), **case.get("kwargs", {})}
    encoded = tokenizer.apply_chat_template(case["messages"], return_dict=True, return_assistant_tokens_mask=True, **options)
    text = tokenizer.apply_chat_template(case["messages"], tokenize=False, **options)
    return {**case, "text": text, "ids": encoded["input_ids"], "mask": encoded["assistant_masks"]}


def write_golden():
    tokenizers = {"bytes": bytes_tokenizer(), "pieces": pieces_tokenizer()}
    golden = {"tokenizers": {}, "formats": {}}
    for name, tokenizer in tokenizers.items():
        tokens = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
        golden["tokenizers"][name] = {"tokenizer": json.loads(tokenizer.backend_tokenizer.to_str()), "config": tokens}
    for name, template in TEMPLATES.items():
        kind = "bytes" if name in BYTES else "pieces"
        cases = [
            case_of(tokenizers[kind], template, messages, prompt)
            for i, messages in enumerate(conversations_for(name))
            for prompt in ((False, True) if i < 3 else (messages[-1]["role"] != "assistant",))
        ]
        cut = [cut_case_of(tokenizers[kind], template, messages) for messages in conversations_for(name)
               if messages[-1]["role"] == "assistant" and messages[-1]["content"].strip()]
        golden["formats"][name] = {"template": template, "tokenizer": kind, "cases": cases, "cut": cut,
                                   "saved": saved_form(template)}
        assert renders_as(tokenizers[kind], name, saved_form(template)), name
    golden["full"] = {"template": FULL, "tokenizer": "bytes", "cases": [full_case_of(tokenizers["bytes"], case) for case in FULL_CASES]}
    text = json.dumps(golden, separators=(",", ":"))
    pathlib.Path(__file__).with_suffix(".json").write_text(text + "\n")


# Templates that write the same


def rendered(tokenizer, template, messages, prompt):
    """None where the template fails, in whatever way."""
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template, add_generation_prompt=prompt)
    except Exception:
        return None


def renders_as(tokenizer, name, template):
    """Are the texts the same for every conversation that the format takes?"""
    return all(
        rendered(tokenizer, template, messages, prompt) == rendered(tokenizer, TEMPLATES[name], messages, prompt)
        for messages in conversations_for(name)
        for prompt in (False, True)
    )


if __name__ == "__main__":
    write_golden()
