#!/usr/bin/env python3
"""Writes small children's stories from a grammar: the corpus that the embedded model learns.

    python3 examples/models/make_corpus.py build/stories.jsonl             # 20,000 rows {"text": ...}
    python3 examples/models/make_corpus.py --openings examples/data/openings.jsonl

Standard library only, and a random generator of its own, so every Python 3 writes the same bytes. Openings are
the first sentences of stories that the corpus does not hold (another seed), cut after a sentence or a word.
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", help="the corpus to write (JSONL with a text column)")
    parser.add_argument("--openings", help="the story openings to write (JSONL with prompt, hero and place)")
    parser.add_argument("--count", type=int, default=20000, help="stories in the corpus")
    parser.add_argument("--opening-count", type=int, default=320, help="openings")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.output and not arguments.openings:
        parser.error("name an output, or --openings, or both")
    if arguments.output:
        write_stories(arguments.output, arguments.count, arguments.seed)
    if arguments.openings:
        write_openings(arguments.openings, arguments.opening_count, arguments.seed)


if __name__ == "__main__":
    main()
