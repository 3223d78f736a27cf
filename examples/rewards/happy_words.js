#!/usr/bin/env node
// A judge for Troupe in JavaScript: happy words are good, sad words are bad.
//
// Written from proto/PROTOCOL.md with nothing but two packages, here or in a folder above:
//     npm install --prefix examples/rewards zeromq @msgpack/msgpack
// Start it by a line of the recipe,
//     roles: {reward: [{exec: [node, examples/rewards/happy_words.js]}]}
// or by hand against a running group:
//     TROUPE_ENDPOINT=ipc://runs/NAME/controller.sock TROUPE_GROUP=happy node examples/rewards/happy_words.js
const { Dealer } = require("zeromq");
const { encode, decode } = require("@msgpack/msgpack");

const HAPPY = new Set(`happy happily happiness joy joyful glad fun laugh laughed laughing smile smiled smiling love loved lovely hug
    hugged friend friends play played playing kind nice excited proud thank thanked wonderful great good best
    beautiful cheerful delighted sunny sing sang dance danced`.split(/\s+/));
const SAD = new Set(`sad sadly unhappy cry cried crying tears angry mad afraid scared scary hurt lonely alone lost broken bad mean
    sorry worried upset dark hate hated pain fell sick`.split(/\s+/));
const PATIENCE = 60000; // ms without a controller before we give up

/** Happy minus sad words per ten words, in [-1, 1]; a text of fewer than ten words counts as ten. */
function score(text) {
  const words = text.toLowerCase().match(/[a-z']+/g) ?? [];
  const happy = words.filter((word) => HAPPY.has(word)).length;
  const sad = words.filter((word) => SAD.has(word)).length;
  return [Math.max(-1, Math.min(1, ((happy - sad) * 10) / Math.max(words.length, 10))), happy, sad];
}

/** The method `score`: a list of samples in, a score for each and named extras out. */
function judge(body) {
  const rows = body.samples.map((sample) => score(sample.response));
  return {
    scores: rows.map((row) => row[0]),
    extras: { happy_words: rows.map((row) => row[1]), sad_words: rows.map((row) => row[2]) },
  };
}

const me = {
  role: "reward",
  name: process.env.TROUPE_NAME ?? `happy-words-${process.pid}`,
  group: process.env.TROUPE_GROUP ?? "reward",
  instance: `${process.pid}-${Date.now()}`,
  protocol: [1, 0],
  capabilities: { methods: ["score"] },
};
const socket = new Dealer({ linger: 200 });
const answers = new Map(); // id -> reply, kept until `done`: a repeated request gets the same answer
let session = null; // null: not registered
let heard = Date.now();

// A socket sends one message at a time: each waits for the one before.
let sent = Promise.resolve();
const send = (type, fields) => (sent = sent.then(() => socket.send(encode({ type, ...fields }))));

function answer({ id, method, body }) {
  if (!answers.has(id)) {
    try {
      if (method !== "score") throw new Error(`method '${method}' is not served here`);
      answers.set(id, ["reply", { id, body: judge(body) }]);
    } catch (error) { // the controller hears it, and the log has the place
      console.error(error);
      answers.set(id, ["error", { id, body: { code: "argument", text: String(error) } }]);
    }
  }
  send(...answers.get(id));
}

function handle(message) {
  const { type, id, body = {} } = message;
  if (type === "request") {
    answer(message);
  } else if (type === "done") {
    answers.delete(id);
  } else if (type === "welcome") {
    if (body.session !== session) answers.clear();
    session = body.session;
    beat(body.heartbeat_ms);
  } else if (type === "error" && body.code === "unregistered") {
    session = null;
    beat(200);
  } else if (type === "refused") {
    console.error(`happy_words: the controller refused us: ${body.text}`);
    process.exit(1);
  }
  return type !== "bye";
}

/** Registers, or says that we live, now and every `pause` ms. */
let timer = null;
function beat(pause) {
  clearInterval(timer);
  const tick = () => {
    if (Date.now() - heard > PATIENCE) {
      console.error("happy_words: no controller was heard for 60 seconds");
      process.exit(1);
    }
    if (session === null) send("register", { body: me });
    else send("heartbeat");
  };
  timer = setInterval(tick, pause);
  tick();
}

async function main() {
  socket.connect(process.env.TROUPE_ENDPOINT);
  beat(200);
  for await (const [frame] of socket) {
    if (!handle(decode(frame))) break;
    heard = Date.now(); // judging takes as long as it takes
  }
  process.exit(0);
}

/** Leaves after what is being sent, as a worker should. */
async function leave() {
  await send("bye");
  process.exit(0);
}
process.on("SIGTERM", leave);
process.on("SIGINT", leave);
main();
