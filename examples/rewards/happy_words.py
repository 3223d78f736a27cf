#!/usr/bin/env python3
"""A judge for Troupe: happy words are good, sad words are bad.

Written from proto/PROTOCOL.md with nothing but pyzmq and msgpack. Start it by a line of the recipe,
    roles: {reward: [{exec: [python3, examples/rewards/happy_words.py]}]}
or by hand against a running group:
    python3 examples/rewards/happy_words.py --connect ipc://runs/NAME/controller.sock
"""
import argparse
import os
import re
import signal
import sys
import time
import traceback

try:
    import msgpack
    import zmq
except ModuleNotFoundError as missing:  # another Python may stand first in PATH: the distribution's has its packages
    SYSTEM = "/usr/bin/python3"
    if sys.executable == SYSTEM or not os.path.exists(SYSTEM):
        sys.exit(f"happy_words: {missing}: install python3-zmq and python3-msgpack")
    os.execv(SYSTEM, [SYSTEM, *sys.argv])

HAPPY = set("""happy happily happiness joy joyful glad fun laugh laughed laughing smile smiled smiling love loved
    lovely hug hugged friend friends play played playing kind nice excited proud thank thanked wonderful great good
    best beautiful cheerful delighted sunny sing sang dance danced""".split())
SAD = set("""sad sadly unhappy cry cried crying tears angry mad afraid scared scary hurt lonely alone lost broken
    bad mean sorry worried upset dark hate hated pain fell sick""".split())
PATIENCE = 60.0  # seconds without a controller before we give up


def score(text):
    """Happy minus sad words per ten words, in [-1, 1]; a text of fewer than ten words counts as ten."""
    words = re.findall(r"[a-z']+", text.lower())
    happy = sum(word in HAPPY for word in words)
    sad = sum(word in SAD for word in words)
    value = (happy - sad) * 10.0 / max(len(words), 10)
    return max(-1.0, min(1.0, value)), happy, sad


def judge(body):
    """The `score` method: a list of samples in, a score for each and named extras out."""
    rows = [score(sample["response"]) for sample in body["samples"]]
    return {"scores": [row[0] for row in rows],
            "extras": {"happy_words": [row[1] for row in rows], "sad_words": [row[2] for row in rows]}}


class Worker:
    def __init__(self, endpoint, name, group, keys):
        self.me = {"role": "reward", "name": name, "group": group, "instance": f"{os.getpid()}-{time.time()}",
                   "protocol": [1, 0], "credit": 4, "capabilities": {"methods": ["score"]}}
        self.session, self.registered = None, False
        self.heartbeat = 1.0
        self.answers = {}  # id -> reply, kept until `done`: a repeated request gets the same answer
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 200
        if keys:  # a directory made by `troupe keys`
            from zmq.auth import load_certificate
            self.socket.curve_publickey, self.socket.curve_secretkey = load_certificate(
                os.path.join(keys, "worker.cert_secret"))
            self.socket.curve_serverkey, _ = load_certificate(os.path.join(keys, "controller.cert"))
        self.socket.connect(endpoint)

    def send(self, kind, **fields):
        try:
            self.socket.send(msgpack.packb({"type": kind, **fields}), zmq.DONTWAIT)
        except zmq.Again:
            pass  # the queue is full: whatever is lost is asked for again

    def answer(self, message):
        number = message["id"]
        if number not in self.answers:
            self.send("ack", id=number)
            try:
                if message.get("method") != "score":
                    raise ValueError(f"method {message.get('method')!r} is not served here")
                self.answers[number] = {"kind": "reply", "body": judge(message["body"])}
            except Exception as error:  # whatever goes wrong, the controller hears it, and our log has the place
                traceback.print_exc()
                text = f"{type(error).__name__}: {error}"
                self.answers[number] = {"kind": "error", "body": {"code": "argument", "text": text}}
        self.send(id=number, **self.answers[number])

    def handle(self, message):
        kind, body = message.get("type"), message.get("body", {})
        if kind == "request":
            self.answer(message)
        elif kind == "done":
            self.answers.pop(message.get("id"), None)
        elif kind == "welcome":
            if body["session"] != self.session:
                self.answers.clear()
            self.session, self.registered, self.heartbeat = body["session"], True, body["heartbeat_ms"] / 1000
        elif kind == "error" and body.get("code") == "unregistered":
            self.registered = False
        elif kind == "refused":
            sys.exit(f"happy_words: the controller refused us: {body.get('text')}")
        return kind != "bye"

    def run(self):
        heard, due = time.monotonic(), 0.0
        while time.monotonic() - heard < PATIENCE:
            if time.monotonic() >= due:
                if not self.registered:
                    self.send("register", body=self.me)
                    due = time.monotonic() + 0.2
                else:
                    self.send("heartbeat")
                    due = time.monotonic() + self.heartbeat
            if not self.socket.poll(max(0.0, due - time.monotonic()) * 1000):
                continue
            if not self.handle(msgpack.unpackb(self.socket.recv_multipart()[0])):
                return
            heard = time.monotonic()  # judging takes as long as it takes
        sys.exit(f"happy_words: no controller was heard for {PATIENCE:.0f} seconds")


def leave(*_):
    raise SystemExit(0)


def main():
    parser = argparse.ArgumentParser(description="A judge that likes happy words.")
    parser.add_argument("--connect", default=os.environ.get("TROUPE_ENDPOINT"), help="address of the controller")
    parser.add_argument("--name", default=os.environ.get("TROUPE_NAME", f"happy-words-{os.getpid()}"))
    parser.add_argument("--group", default=os.environ.get("TROUPE_GROUP", "reward"), help="which judge of the recipe")
    parser.add_argument("--keys", default=os.environ.get("TROUPE_KEYS"), help="directory of CURVE keys")
    options = parser.parse_args()
    if not options.connect:
        parser.error("no controller: give --connect or set TROUPE_ENDPOINT")
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    worker = Worker(options.connect, options.name, options.group, options.keys)
    try:
        worker.run()
    finally:
        worker.send("bye")
        worker.socket.close()
        zmq.Context.instance().term()


if __name__ == "__main__":
    main()
