// The chat templates that come with Troupe, for models that have none, and for data of another form
// than the model's. Each renders as the public template it stands for: tests/golden/chat.py holds
// them too and shows it. Marks are around what assistants generate, as TRL's training templates
// have them: models are saved without (tr_chat_saved).
#include <string.h>

#include "common/text/chat.h"

typedef struct named {
    const char *name, *text;
} named_t;

static const named_t TEMPLATES[] = {
    {"chatml", "{%- for message in messages %}\n"
               "    {{- '<|im_start|>' + message['role'] + '\n"
               "' }}\n"
               "    {%- if message['role'] == 'assistant' %}\n"
               "        {%- generation %}{{- message['content'] + '<|im_end|>\n"
               "' }}{% endgeneration %}\n"
               "    {%- else %}\n"
               "        {{- message['content'] + '<|im_end|>\n"
               "' }}\n"
               "    {%- endif %}\n"
               "{%- endfor %}\n"
               "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n"
               "' }}{% endif %}"},
    {"llama2", "{%- set before = '' %}\n"
               "{%- if messages[0]['role'] == 'system' %}\n"
               "    {%- set before = '<<SYS>>\n"
               "' + messages[0]['content'] + '\n"
               "<</SYS>>\n"
               "\n"
               "' %}\n"
               "    {%- set messages = messages[1:] %}\n"
               "{%- endif %}\n"
               "{%- for message in messages %}\n"
               "    {%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}{{-"
               " raise_exception('not by turns') }}{% endif %}\n"
               "    {%- if message['role'] == 'user' %}\n"
               "        {{- bos_token + '[INST] ' + ((before if loop.first else '') +"
               " message['content']).strip() + ' [/INST]' }}\n"
               "    {%- else %}\n"
               "        {%- generation %}{{- ' ' + message['content'].strip() + ' ' +"
               " eos_token }}{% endgeneration %}\n"
               "    {%- endif %}\n"
               "{%- endfor %}"},
    {"llama3", "{{- bos_token }}\n"
               "{%- for message in messages %}\n"
               "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n"
               "\n"
               "' }}\n"
               "    {%- if message['role'] == 'assistant' %}\n"
               "        {%- generation %}{{- message['content'] | trim + '<|eot_id|>' }}{%"
               " endgeneration %}\n"
               "    {%- else %}\n"
               "        {{- message['content'] | trim + '<|eot_id|>' }}\n"
               "    {%- endif %}\n"
               "{%- endfor %}\n"
               "{%- if add_generation_prompt %}{{-"
               " '<|start_header_id|>assistant<|end_header_id|>\n"
               "\n"
               "' }}{% endif %}"},
    {"mistral", "{{- bos_token }}\n"
                "{%- for message in messages %}\n"
                "    {%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}{{-"
                " raise_exception('not by turns') }}{% endif %}\n"
                "    {%- if message['role'] == 'user' %}\n"
                "        {{- '[INST] ' + message['content'] + ' [/INST]' }}\n"
                "    {%- else %}\n"
                "        {%- generation %}{{- message['content'] + eos_token }}{%"
                " endgeneration %}\n"
                "    {%- endif %}\n"
                "{%- endfor %}"},
    {"mistral-v1", "{{- bos_token }}\n"
                   "{%- set before = '' %}\n"
                   "{%- if messages[0]['role'] == 'system' %}\n"
                   "    {%- set before = messages[0]['content'] + '\n"
                   "\n"
                   "' %}\n"
                   "    {%- set messages = messages[1:] %}\n"
                   "{%- endif %}\n"
                   "{%- for message in messages %}\n"
                   "    {%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}{{-"
                   " raise_exception('not by turns') }}{% endif %}\n"
                   "    {%- if message['role'] == 'user' %}\n"
                   "        {{- ' [INST] ' + (before if loop.first else '') + message['content']"
                   " + ' [/INST]' }}\n"
                   "    {%- else %}\n"
                   "        {%- generation %}{{- ' ' + message['content'] + eos_token }}{%"
                   " endgeneration %}\n"
                   "    {%- endif %}\n"
                   "{%- endfor %}"},
    {"mistral-v3", "{{- bos_token }}\n"
                   "{%- for message in messages %}\n"
                   "    {%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}{{-"
                   " raise_exception('not by turns') }}{% endif %}\n"
                   "    {%- if message['role'] == 'user' %}\n"
                   "        {{- '[INST] ' + message['content'] + '[/INST]' }}\n"
                   "    {%- else %}\n"
                   "        {%- generation %}{{- ' ' + message['content'] | trim + eos_token }}{%"
                   " endgeneration %}\n"
                   "    {%- endif %}\n"
                   "{%- endfor %}"},
    {"zephyr", "{%- for message in messages %}\n"
               "    {{- '<|' + message['role'] + '|>\n"
               "' }}\n"
               "    {%- if message['role'] == 'assistant' %}\n"
               "        {%- generation %}{{- message['content'] + eos_token }}{%"
               " endgeneration %}\n"
               "    {%- else %}\n"
               "        {{- message['content'] + eos_token }}\n"
               "    {%- endif %}\n"
               "    {{- '\n"
               "' }}\n"
               "{%- endfor %}\n"
               "{%- if add_generation_prompt %}{{- '<|assistant|>\n"
               "' }}{% endif %}"},
    {"plain", "{%- for message in messages %}\n"
              "    {%- if message['role'] == 'assistant' %}\n"
              "        {{- '\n"
              "\n"
              "Assistant:' }}\n"
              "        {%- generation %}{{- ' ' + message['content'] + eos_token }}{%"
              " endgeneration %}\n"
              "    {%- else %}\n"
              "        {{- '\n"
              "\n"
              "' + {'system': 'System', 'user': 'Human'}[message['role']] + ': ' +"
              " message['content'] }}\n"
              "    {%- endif %}\n"
              "{%- endfor %}\n"
              "{%- if add_generation_prompt %}{{- '\n"
              "\n"
              "Assistant:' }}{% endif %}"},
};

enum { COUNT = sizeof TEMPLATES / sizeof *TEMPLATES };

const char *tr_chat_name(size_t index)
{
    return index < COUNT ? TEMPLATES[index].name : NULL;
}

const char *tr_chat_template(const char *name)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (strcmp(TEMPLATES[i].name, name) == 0) {
            return TEMPLATES[i].text;
        }
    }
    return NULL;
}

bool tr_chat_is_name(const char *name)
{
    return tr_chat_template(name) != NULL;
}
