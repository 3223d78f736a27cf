"""The table of tests/process/keys.py: for each key a recipe, another value, and a function that asserts the value's effect."""
import re

from data import recipe
from harness import run

ROWS = {}  # key -> Row


class Row:
    def __init__(self, key, base, value, also, test):
        self.key, self.base, self.value, self.also, self.test = key, base, value, also, test


class Trial:
    """The runs that a row compares: `base`, and `other`, in which the key has the row's value."""

    def __init__(self, row):
        self.row, self.value, self.used = row, row.value, False

    def recipe(self, value=None, **more):
        """more: other keys, with __ for the dot."""
        new = {**recipe(self.row.base), **(self.row.also() if callable(self.row.also) else self.row.also)}
        new.update({key.replace("__", "."): what for key, what in more.items()})
        if value is None:
            return new
        judge = re.fullmatch(r"roles\.reward\[\w+\]\.(.*)", self.row.key)
        if not judge:
            return {**new, self.row.key: value[0]}
        # A judge's key is one of the first judge of the list.
        first, *others = new["roles.reward"]
        first, (*folders, last) = {**first}, judge.group(1).split(".")
        place = first
        for folder in folders:
            place[folder] = {**place.get(folder, {})}
            place = place[folder]
        place[last] = value[0]
        return {**new, "roles.reward": [first, *others]}

    def at(self, value, ends_well=True, environment=None, **more):
        """The run at a value of the key."""
        self.used = self.used or value == self.value
        return run(self.recipe((value,), **more), ends_well, environment)

    def without(self, ends_well=True, environment=None, **more):
        return run(self.recipe(None, **more), ends_well, environment)

    @property
    def base(self):
        return self.without()

    @property
    def other(self):
        return self.at(self.value)


def row(key, base, value, also=None):
    """Decorates the test of a key. base: the name of a recipe in data.py; also: keys that both runs have (or a function that makes them)."""

    def add(test):
        if key in ROWS:
            raise ValueError(f"two rows for {key}")
        ROWS[key] = Row(key, base, value, also or {}, test)
        return test

    return add


def judges_keys(entries):
    """The keys of judges, such as roles.reward[model].steps, from their schemas."""
    for entry in entries:
        kind = entry["required"][0]
        for key, what in leaves(entry["properties"]):
            yield f"roles.reward[{kind}].{key}", what


def leaves(properties, prefix=""):
    """Keys and their schemas, without the folders."""
    for name, what in properties.items():
        inside = what.get("properties")
        for choice in what.get("anyOf", []):
            inside = inside or choice.get("properties")
        if inside:
            yield from leaves(inside, f"{prefix}{name}.")
        elif what.get("type") == "array" and "anyOf" in what["items"] and "properties" in what["items"]["anyOf"][0]:
            yield from judges_keys(what["items"]["anyOf"])
        else:
            yield prefix + name, what
