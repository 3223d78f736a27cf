"""Each key of a recipe, set to another value once: what it changes is asserted against a closed form.

The keys come from `troupe schema`, which the program writes from its own tables: a key without a row fails, and so does a row without a key or
with the default as its value. Rows are in tests/process/keys/rows_*.py, one a key; common.sh's variables are in the environment.
    keys.py [PATTERN]    only the rows whose key matches
"""
import concurrent.futures
import json
import os
import re
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "keys"))
import rows_generating  # noqa: E402,F401
import rows_grpo  # noqa: E402,F401
import rows_judging  # noqa: E402,F401
import rows_learning  # noqa: E402,F401
import rows_running  # noqa: E402,F401
from harness import Skip, troupe  # noqa: E402
from table import ROWS, Trial, leaves  # noqa: E402


def wrong_rows(keys):
    """Sentences about keys without rows, rows without keys, and rows whose value is the default."""
    for key in sorted(keys.keys() - ROWS.keys()):
        yield f"{key}: no row sets it to another value; add one to tests/process/keys/"
    for key in sorted(ROWS.keys() - keys.keys()):
        yield f"{key}: a row for a key that no table has"
    for key in sorted(ROWS.keys() & keys.keys()):
        if "default" in keys[key] and same_value(ROWS[key].value, keys[key]["default"]):
            yield f"{key}: the row's value is the default"


def same_value(a, b):
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def tried(row):
    """What became of a row: None, a Skip, or a sentence."""
    started, trial = time.monotonic(), Trial(row)
    try:
        row.test(trial)
        if not trial.used:
            return f"{row.key}: the row never ran its value", started
    except Skip as reason:
        return reason, started
    except AssertionError as error:
        where = [frame for frame in traceback.extract_tb(error.__traceback__) if "rows_" in frame.filename]
        return f"{row.key}: {error} ({os.path.basename(where[-1].filename)}:{where[-1].lineno})", started
    except Exception:  # a mistake of the row
        return f"{row.key}: {traceback.format_exc(limit=-4)}", started
    return None, started


def main():
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else ".")
    keys = dict(leaves(json.loads(troupe("schema"))["properties"]))
    failures = list(wrong_rows(keys))
    for failure in failures:
        print(f"   FAILED {failure}")
    groups = {}
    for row in ROWS.values():
        if pattern.search(row.key):
            groups.setdefault(".".join(row.key.split(".")[: 2 if row.key.startswith("roles.") else 1]) if "." in row.key else "the run", []).append(row)
    with concurrent.futures.ThreadPoolExecutor(max(2, os.cpu_count() or 2)) as pool:
        jobs = {name: [(row, pool.submit(tried, row)) for row in rows] for name, rows in groups.items()}
        for name, rows in jobs.items():
            skipped, before = 0, time.monotonic()
            for row, job in rows:
                outcome, _ = job.result()
                if isinstance(outcome, Skip):
                    skipped += 1
                    print(f"   {row.key}: skipped: {outcome}", flush=True)
                elif outcome:
                    failures.append(outcome)
                    print(f"   FAILED {outcome}", flush=True)
            print(f"-- {name}: {len(rows)} keys, {skipped} skipped ({time.monotonic() - before:.0f} s)", flush=True)
    print(f"{len(keys)} keys, {len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
