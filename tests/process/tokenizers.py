"""Our ids and texts for the nasty texts against the hashes of transformers: tokenizers.py TROUPE DIRECTORY GOLDEN [STEP]

DIRECTORY has what tests/golden/tokenizers_fetch fetches, for the names of GOLDEN (tests/golden/make_tokenizers.py). STEP: every so many chunks alone.
"""

import hashlib
import itertools
import json
import subprocess
import sys
import tempfile

sys.path.insert(0, "tests/golden")
import nasty_texts
import tokenizer_forms


def run(troupe, model, lines, *options):
    """What `troupe tokenize` prints for the lines."""
    done = subprocess.run([troupe, "tokenize", "--model", model, "--no-special", *options], input=lines, capture_output=True)
    if done.returncode != 0:
        sys.exit("FAILED: %s: %s" % (model, done.stderr.decode().strip()))
    return done.stdout


def compare(troupe, model, golden, chunks):
    """The chunks that differ, each as a sentence."""
    ids = run(troupe, model, b"".join(json.dumps(text).encode() + b"\n" for _, chunk in chunks for text in chunk)).splitlines(True)
    # No token is left out here: decoding shows special ones only without --no-special.
    texts = subprocess.run([troupe, "tokenize", "--model", model, "--decode"], input=b"".join(ids), capture_output=True, check=True).stdout
    texts = [json.loads(line).encode() for line in texts.splitlines()]
    for number, (chunk, lines) in enumerate(chunks):
        span = slice(number * nasty_texts.CHUNK, (number + 1) * nasty_texts.CHUNK)
        ours = {"ids": hashlib.sha256(b"".join(ids[span])), "texts": hashlib.sha256(b"".join(b"%d:%s" % (len(t), t) for t in texts[span]))}
        for kind, digest in ours.items():
            if digest.hexdigest()[:16] != golden[kind][chunk]:
                yield "%s of texts %d to %d differ" % (kind, chunk * nasty_texts.CHUNK, (chunk + 1) * nasty_texts.CHUNK)


def main():
    troupe, directory, path = sys.argv[1:4]
    step = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    source = nasty_texts.texts()
    chunks = [(at, list(itertools.islice(source, nasty_texts.CHUNK))) for at in range(nasty_texts.COUNT // nasty_texts.CHUNK)][::step]
    with open(path, encoding="utf-8") as file:
        golden = json.load(file)
    wrong = 0
    scratch = tempfile.TemporaryDirectory()
    models = tokenizer_forms.directories(directory, scratch.name)
    for name, wanted in golden.items():
        if name in ("tokenizers", "transformers"):  # their versions
            continue
        model = models.get(name, "%s/%s" % (directory, name))
        if tokenizer_forms.digest(model) != wanted["sha256"]:
            print("skipped: %s is not here, or another version of it" % model)
            continue
        found = list(compare(troupe, model, wanted, chunks))
        for sentence in found:
            print("FAILED: %s: %s" % (name, sentence))
        wrong += len(found)
        if not found:
            print("%s: %d texts, the same ids and texts" % (name, len(chunks) * nasty_texts.CHUNK))
    sys.exit(wrong > 0)


main()
