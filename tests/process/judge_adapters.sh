#!/usr/bin/env bash
# The judges of examples/rewards that run other programs' rewards: TRL's functions, verl's compute_score, reward servers over HTTP, and
# a language model.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
PYTHON=/usr/bin/python3
"$PYTHON" -c 'import zmq, msgpack' 2>/dev/null || skip "$PYTHON lacks pyzmq or msgpack"

# scores WANTED ROWS ENTRY: the scores of a file of rows, as JSON.
scores()
{
    "$TROUPE" judge --brief "$3" --rows "$SCRATCH/$2.jsonl" --out "$SCRATCH/scored.jsonl" >"$SCRATCH/out" 2>&1 || fail "$3: $(cat "$SCRATCH/out")"
    got=$("$PYTHON" -c 'import json, sys; print(json.dumps([json.loads(line)["score"] for line in open(sys.argv[1])]))' "$SCRATCH/scored.jsonl")
    [ "$got" = "$1" ] || fail "$3: the scores are $got, not $1"
}

says()
{
    grep -qF -- "$1" "$SCRATCH/out" || fail "'$1' is not said: $(cat "$SCRATCH/out")"
}

cat >"$SCRATCH/texts.jsonl" <<'ROWS'
{"prompt": "1+1=", "completion": "2", "answer": "2", "task": "sum"}
{"prompt": "Say hi", "completion": "hi", "answer": null, "task": "talk"}
{"prompt": "2+2=", "completion": "5", "answer": "4", "task": "sum"}
ROWS
cat >"$SCRATCH/talks.jsonl" <<'ROWS'
{"prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "1+1"}], "completion": "<think>\nx\n</think>\n2"}
{"prompt": [{"role": "user", "content": "1+1"}], "completion": "2"}
ROWS
cat >"$SCRATCH/rewards.py" <<'REWARDS'
import asyncio, re

def exact(prompts, completions, answer, task, log_extra=None, log_metric=None, **kwargs):
    assert prompts[0] == "1+1=" and task == ["sum", "talk", "sum"], (prompts, task)
    assert kwargs["completion_ids"] == [[ord(c) for c in text] for text in completions] and kwargs["trainer_state"] is None
    log_extra("length", [len(text) for text in completions])
    log_extra("text", completions)
    log_metric("sums", task.count("sum"))
    return [None if right is None else float(text == right) for text, right in zip(completions, answer)]

async def slow(completions, **kwargs):
    async def one(text):
        await asyncio.sleep(0.01)
        return len(text)
    return await asyncio.gather(*(one(text) for text in completions))

def think_format_reward(completions, **kwargs):  # as TRL has it
    contents = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(r"^<think>(?!.*<think>)(.*?)</think>.*$", content, re.DOTALL | re.MULTILINE) else 0.0 for content in contents]

def get_messages(offset):
    def messages(prompts, completions, **kwargs):
        return [offset + len(p) + 10 * len(c) for p, c in zip(prompts, completions)]
    return messages

def compute_score(data_source, solution_str, ground_truth, extra_info=None, factor=1.0):
    assert data_source == "sums" and extra_info == {"index": 7}
    right = solution_str == ground_truth
    return {"score": factor * right, "acc": right, "pred": solution_str} if solution_str != "plain" else 0.5
REWARDS
trl="exec: [$PYTHON, $PWD/examples/rewards/trl_rewards.py, $SCRATCH/rewards.py"
scores '[1.0, null, 0.0]' texts "$trl:exact]"
says 'length: [1.0, 2.0, 1.0]'
says 'sums: [2.0, 2.0, 2.0]'
scores '[1.0, 2.0, 1.0]' texts "$trl:slow]"
scores '[1.0, 0.0]' talks "$trl:think_format_reward]"
scores '[112.0, 111.0]' talks "$trl:get_messages, '{\"offset\": 100}']"
say "TRL's reward functions run unchanged"

cat >"$SCRATCH/verl.jsonl" <<'ROWS'
{"prompt": "1+1", "completion": "2", "data_source": "sums", "reward_model": {"style": "rule", "ground_truth": "2"}, "extra_info": {"index": 7}}
{"prompt": "1+1", "completion": "3", "data_source": "sums", "reward_model": {"style": "rule", "ground_truth": "2"}, "extra_info": {"index": 7}}
{"prompt": "1+1", "completion": "plain", "data_source": "sums", "reward_model": {"style": "rule", "ground_truth": "2"}, "extra_info": {"index": 7}}
{"prompt": "1+1", "completion": "2", "data_source": "sums", "reward_model": {"style": "rule"}, "extra_info": {"index": 7}}
ROWS
scores '[1.0, 0.0, 0.5, null]' verl "exec: [$PYTHON, $PWD/examples/rewards/verl_rewards.py, $SCRATCH/rewards.py:compute_score]"
says 'acc: [1.0, 0.0, null, null]'
say "verl's compute_score runs unchanged"

# A server that speaks both forms, checks what it is asked, fails the first time it is asked something, and never answers 404 better.
cat >"$SCRATCH/server.py" <<'SERVER'
import http.server, json, sys, threading

seen, lock = set(), threading.Lock()
ROWS = {"1+1=2": ("1+1=", "2", 0.25), "Say hihi": ("Say hi", None, -1), "2+2=5": ("2+2=", "4", None)}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(text)
        with lock:
            first = text not in seen
            seen.add(text)
        if self.path == "/none":
            return self.reply(404, {})
        if first:
            return self.reply(503 if self.path == "/get_reward" else 429, {"detail": "busy"})
        if self.path == "/v1/chat/completions":
            assert self.headers["Authorization"] == "Bearer secret" and body["model"] == "judge" and body["temperature"] == 0, body
            said = {"Is 2 the answer to 1+1= {x} (2)?": "Score: 3? No, it is right. Score: **9.5**", "Is hi the answer to Say hi {x} (None)?": "I cannot say."}
            return self.reply(200, {"choices": [{"message": {"role": "assistant", "content": said.get(body["messages"][0]["content"], "Score: -1")}}]})
        query = (body.get("query") or body["messages"])[0]
        prompt, label, score = ROWS[query]
        if self.path == "/get_reward":
            assert body == {"query": [query], "prompts": [prompt], "labels": [label]}, body
            return self.reply(200, {"rewards": [score], "scores": [score], "extra_logs": {"size": [len(query)]}})
        assert self.headers["Content-Type"] == "application/json" and body == {"model": "model", "messages": [query]}, body
        return self.reply(200, {"id": "1", "object": "score.evaluation", "model": "model", "scores": [score]})

    def reply(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(sys.argv[1] + ".part", "w") as file:
    file.write(str(server.server_port))
import os
os.rename(sys.argv[1] + ".part", sys.argv[1])
server.serve_forever()
SERVER
"$PYTHON" "$SCRATCH/server.py" "$SCRATCH/port" &
wait_for "the reward server is not there" test -s "$SCRATCH/port"
url=http://127.0.0.1:$(cat "$SCRATCH/port")
http="exec: [$PYTHON, $PWD/examples/rewards/http_rewards.py"
scores '[0.25, -1.0, null]' texts "$http, '$url/get_reward', openrlhf]"
says 'size: [5.0, 8.0, 5.0]'
scores '[0.25, -1.0, null]' texts "$http, '$url/v1/score/evaluation', llamafactory]"
"$TROUPE" judge --brief "$http, '$url/none', openrlhf]" --rows "$SCRATCH/texts.jsonl" >"$SCRATCH/out" 2>&1 && fail "a server without the place passes"
says 'HTTP Error 404: Not Found (asked 1 times)'
"$TROUPE" judge --brief "$http, 'http://127.0.0.1:1/', openrlhf, '2']" --rows "$SCRATCH/texts.jsonl" >"$SCRATCH/out" 2>&1 && fail "no server passes"
says '(asked 2 times)'
printf 'Is {response} the answer to {prompt} {x} ({answer})?' >"$SCRATCH/question.txt"
export OPENAI_API_KEY=secret
scores '[9.5, null, -1.0]' texts "exec: [$PYTHON, $PWD/examples/rewards/llm_judge.py, '$url/v1', judge, $SCRATCH/question.txt]"
says 'unread: [0.0, 1.0, 0.0]'
say "reward servers of OpenRLHF and LLaMA-Factory and a language model are asked, and asked again"
