"""Golden data files: the same rows in each format, as pandas, pyarrow and datasets write them, and as they read them.

    pip install datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1
    python tests/golden/data.py          # writes tests/golden/data/; with pyarrow of another version, pages may differ

rows.json, csv_*.json and parquet_*.json are the rows, as these libraries read them.
"""

import json
import pathlib
import tempfile

import pandas as pd
import pyarrow as pa
from datasets import load_dataset

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


CSV = {
    "csv_types.csv": (
        "whole,space,sign,zeros,real,exponent,natural,gap,infinite,hex,under,mixed,truth,TRUTH,gaptruth,nothing,words,long,digits\n"
        "1, 2,+3,007,1.0,1e3,18446744073709551615,1,inf,0x10,1_000,1,True,true,TRUE,,yes,18446744073709551615,0.1\n"
        "-2,3\t,-4,08,.5,5.,1,,-Infinity,1,2,x,False,false,,NA,no,-1,123456789.123456789\n"
        "9223372036854775807,4,5,-09,2,1E-2,0,3,1e400,2,3,2.50,FALSE,True,False,null,maybe,0,2.2250738585072014e-308\n"
    ),
    "csv_missing.csv": "prompt,completion,quoted,spaced\nNA,x,\"NA\", NA\nnull,None,\"x\",nan \nx,nan,\"\",-nan\n1.#QNAN,<NA>,n/a,y\n",
    "csv_quotes.csv": (
        ',text,"a ""name""","b\nc",a,a\r\n'
        '0,"x ""y"" z","multi\nline, and ""\r\n",1,2,3\r\n'
        "   \r\n"
        "\r\n"
        '1,ab"c"d,"q"tail,,"",4\r\n'
        '2,"q""","q"" ,""r"""s", "x ,\n'
        '3,short\n4,"","漢 ü",1,2,3'
    ),
    "csv_returns.csv": "\ufeffa,b\r1,x\r\r2,y\r",
    "csv_tabs.tsv": 'a\tb\tc\nx, y\t"1\t2"\t3\n\t\t\n"tab\t"\t\t4.5\n',
}


def near(value):
    """What JSON has for a value that it does not have."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return 1e308 if value > 0 else -1e308
    if isinstance(value, int) and value >= 1 << 63:
        return float(value)
    return value


def write_csv():
    for name, text in CSV.items():
        path = HERE / name
        path.write_bytes(text.encode())
        options = {"sep": "\t"} if path.suffix == ".tsv" else {}
        with tempfile.TemporaryDirectory() as cache:
            # float_precision: pandas' own reading of numbers is off by a bit now and then.
            rows = load_dataset("csv", data_files=str(path), split="train", cache_dir=cache, float_precision="round_trip", **options)
            rows = [{column: near(value) for column, value in row.items()} for row in rows]
        path.with_suffix(".json").write_text(json.dumps(rows, indent=1))


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
    texts = [{"prompt": row["prompt"][0]["content"], "completion": row["completion"][0]["content"]} for row in rows]
    (HERE / "train_texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    pd.DataFrame(texts).to_csv(HERE / "train_texts.csv", index=False)
    pd.DataFrame(texts).to_csv(HERE / "train_texts.tsv", sep="\t")
    with pa.CompressedOutputStream(str(HERE / "train.jsonl.zst"), "zstd") as out:
        out.write((HERE / "train.jsonl").read_bytes())


write_json()
write_csv()
write_training()
