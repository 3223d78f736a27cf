"""Golden data files: the same rows in each format, as pandas, pyarrow and datasets write them, and as they read them.

    pip install datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1
    python tests/golden/data.py          # writes tests/golden/data/; with pyarrow of another version, pages may differ

rows.json, csv_*.json and parquet_*.json are the rows, as these libraries read them.
"""

import json
import pathlib

import pyarrow as pa

HERE = pathlib.Path(__file__).with_suffix("")
HERE.mkdir(exist_ok=True)


def rows_of_json():
    """Rows with what a splitter of arrays may stumble on in texts."""
    yield {"prompt": 'quotes " and \\" and \\', "completion": "brackets ]}{[ , and ],", "label": True}
    yield {"prompt": [{"role": "user", "content": "line\nbreak"}], "completion": [{"role": "assistant", "content": "ü 漢 😀"}], "label": False}
    yield {"prompt": "", "completion": "\\\\", "label": None, "extra": {"a": [[], {}, [[1, 2.5]]], "b": "\\u00e9 ends in a backslash \\"}}
    for i in range(3):
        yield {"prompt": f"p{i}", "completion": "x" * i, "label": i % 2 == 0}


def write_json():
    rows = list(rows_of_json())
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / "rows.json").write_text(json.dumps(rows, separators=(",", ":")))  # one line, escapes
    (HERE / "rows_indented.json").write_text("\n" + json.dumps(rows, ensure_ascii=False, indent=4) + "\n\n")
    (HERE / "rows_crlf.json").write_text("\ufeff" + json.dumps(rows, indent="\t").replace("\n", "\r\n"))
    (HERE / "rows.jsonl").write_text(lines)
    for codec, suffix in (("zstd", "zst"), ("gzip", "gz")):
        with pa.CompressedOutputStream(str(HERE / f"rows.jsonl.{suffix}"), codec) as out:
            out.write(lines.encode())
    with pa.CompressedOutputStream(str(HERE / "rows.json.zst"), "zstd") as out:
        out.write(json.dumps(rows).encode())


def write_training():
    """Conversations to train on, by tests/process/formats.sh: the same rows in each format."""
    rows = [
        {
            "prompt": [{"role": "user", "content": f'Tell a story, "{name}", about {thing},\nplease.'}],
            "completion": [{"role": "assistant", "content": f"Once there was {thing}. {name} saw it and was happy."}],
        }
        for name in ("Lily", "Tom", "Zoë")
        for thing in ("a dog", "the sun", "a big tree", "an old car")
    ]
    (HERE / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (HERE / "train_array.json").write_text(json.dumps(rows, ensure_ascii=False, indent=2))
    with pa.CompressedOutputStream(str(HERE / "train.jsonl.zst"), "zstd") as out:
        out.write((HERE / "train.jsonl").read_bytes())


write_json()
write_training()
