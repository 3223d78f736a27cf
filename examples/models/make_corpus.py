#!/usr/bin/env python3
"""Writes small children's stories from a grammar: the corpus that the embedded model learns.

    python3 examples/models/make_corpus.py build/stories.jsonl             # 20,000 rows {"text": ...}
    python3 examples/models/make_corpus.py --openings examples/data/openings.jsonl
    python3 examples/models/make_corpus.py --pairs examples/data/pairs.jsonl --held-out examples/data/held-out-pairs.jsonl

Standard library only, and a random generator of its own, so every Python 3 writes the same bytes. Openings are
the first sentences of stories that the corpus does not hold (another seed), cut after a sentence or a word. A pair is a
story, of a seed of its own, up to its turn; the chosen completion turns out well, the rejected one does not.
"""

import argparse
import json

from story_grammar import Random, Story


def write_stories(path, count, seed):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for index in range(count):
            text = Story(Random(seed, index)).text()
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def write_openings(path, count, seed):
    seen = set()
    index = 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        while len(seen) < count:
            random = Random(seed + 1, index)
            index += 1
            story = Story(random)
            prompt = story.opening()
            if prompt in seen:
                continue
            seen.add(prompt)
            row = {"prompt": prompt, "hero": story.hero.name, "place": story.place.name}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_pairs(path, first, count, seed):
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for index in range(first, first + count):
            ends = []
            for good in (True, False):  # the stories differ in their last two sentences only
                story = Story(Random(seed + 2, index))
                story.good = good
                ends.append(story.sentences())
            prompt = " ".join(ends[0][:-2])
            row = {"prompt": prompt, "chosen": " " + " ".join(ends[0][-2:]), "rejected": " " + " ".join(ends[1][-2:])}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", help="the corpus to write (JSONL with a text column)")
    parser.add_argument("--openings", help="the story openings to write (JSONL with prompt, hero and place)")
    parser.add_argument("--pairs", help="the pairs to write (JSONL with prompt, chosen and rejected)")
    parser.add_argument("--held-out", help="more of them, to measure with")
    parser.add_argument("--count", type=int, default=20000, help="stories in the corpus")
    parser.add_argument("--opening-count", type=int, default=320, help="openings")
    parser.add_argument("--pair-count", type=int, default=320, help="pairs, and a fifth as many held out")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not (arguments.output or arguments.openings or arguments.pairs or arguments.held_out):
        parser.error("name an output, --openings, --pairs or --held-out")
    if arguments.output:
        write_stories(arguments.output, arguments.count, arguments.seed)
    if arguments.openings:
        write_openings(arguments.openings, arguments.opening_count, arguments.seed)
    if arguments.pairs:
        write_pairs(arguments.pairs, 0, arguments.pair_count, arguments.seed)
    if arguments.held_out:
        write_pairs(arguments.held_out, arguments.pair_count, arguments.pair_count // 5, arguments.seed)


if __name__ == "__main__":
    main()
