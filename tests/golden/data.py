"""Golden data files: the same rows in each format, as pandas, pyarrow and datasets write them, and as they read them.

    pip install datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1
    python tests/golden/data.py          # writes tests/golden/data/; with pyarrow of another version, pages may differ

rows.json, csv_*.json and parquet_*.json are the rows, as these libraries read them.
"""

import datetime
import decimal
import json
import pathlib
import tempfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset

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


def plain(value):
    """A value of Arrow as JSON has it: docs/formats.md."""
    if isinstance(value, bytes):
        return value.decode(errors="replace").replace("\0", "\ufffd")
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        if value and isinstance(value[0], tuple):  # a map
            return [{"key": k, "value": plain(v)} for k, v in value]
        return [plain(item) for item in value]
    if isinstance(value, float):
        return None if value != value else near(float(value))
    return near(value)


def nested_table():
    """Columns as people have them: conversations, verl's and maps; with nulls and empty lists at every level."""
    message = pa.struct([("role", pa.string()), ("content", pa.large_string()), ("tools", pa.list_(pa.string()))])
    reward = pa.struct([pa.field("ground_truth", pa.string(), nullable=False), ("style", pa.string())])
    extra = pa.struct([("index", pa.int64()), ("split", pa.dictionary(pa.int32(), pa.string())), ("deep", pa.struct([("x", pa.float32())]))])
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("prompt", pa.list_(message)),
            ("text", pa.string()),
            ("label", pa.bool_()),
            ("score", pa.float64()),
            ("reward_model", reward),
            ("extra_info", extra),
            ("lists", pa.list_(pa.list_(pa.int32()))),
            pa.field("sure", pa.list_(pa.field("element", pa.int16(), nullable=False)), nullable=False),
            ("map", pa.map_(pa.string(), pa.list_(pa.int64()))),
            ("numbers", pa.map_(pa.int32(), pa.string())),
            ("nothing", pa.null()),
        ]
    )
    rows = []
    for i in range(50):
        some = lambda n, value: None if i % n == n - 1 else value  # noqa: B023
        messages = [{"role": ("user", "assistant")[j % 2], "content": some(11, f"turn {j} of {i} ü"), "tools": some(3, ["a", None][: j % 3])} for j in range(i % 4)]
        rows.append(
            {
                "id": i * i - 30,
                "prompt": some(7, messages + [None] * (i % 5 == 4)),
                "text": some(6, f"text of row {i // 3}" + " and more" * (i % 9)),
                "label": some(5, i % 3 == 0),
                "score": some(4, i / 7),
                "reward_model": some(8, {"ground_truth": str(i), "style": some(3, "rule")}),
                "extra_info": some(9, {"index": i, "split": some(2, "train"), "deep": some(3, {"x": some(4, i / 3)})}),
                "lists": some(10, [[], None, [i, None], [1, 2, 3]][: i % 5]),
                "sure": list(range(i % 3)),
                "map": some(12, [("a", [i]), ("b", None), ("c", [])][: i % 4]),
                "numbers": [(i, "x")] * (i % 2),
                "nothing": None,
            }
        )
    return pa.Table.from_pylist(rows, schema)


def typed_table():
    """A column of each type, with its bounds."""
    day = datetime.datetime(1969, 12, 31, 23, 59, 58, 123456)
    times = [day, datetime.datetime(2024, 2, 29, 1, 2, 3), None, datetime.datetime(1, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59, 999000)]
    near_times = [day, times[1], None, datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)]
    columns = {f"int{n}": pa.array([-(1 << n - 1), (1 << n - 1) - 1, None, 0, 1], getattr(pa, f"int{n}")()) for n in (8, 16, 32, 64)}
    columns |= {f"uint{n}": pa.array([0, (1 << n) - 1, None, 1, 2], getattr(pa, f"uint{n}")()) for n in (8, 16, 32, 64)}
    reals = [float("nan"), float("-inf"), None, -0.5, 1 / 3]
    columns |= {
        "half": pa.array(np.array([0.1, -65504, 6e-8, float("inf"), -0.0], np.float16)),
        "float": pa.array(reals, pa.float32()),
        "double": pa.array(reals, pa.float64()),
        "decimal32": pa.array([decimal.Decimal(x) for x in ("1.10", "-999.99", "0", "12.34", "-0.01")], pa.decimal128(5, 2)),
        "decimal64": pa.array([decimal.Decimal(x) for x in ("1.1", "-99999999999.9", "0", "12.3", "-0.1")], pa.decimal128(12, 1)),
        "decimal128": pa.array([decimal.Decimal(x) for x in ("0.1", "-12345678901234567890123.4567890123", None, "7", "1e-10") if x] + [None], pa.decimal128(38, 10)),
        "decimal256": pa.array([None, decimal.Decimal("-1" + "0" * 60 + ".5"), decimal.Decimal("3.3"), None, decimal.Decimal(7)], pa.decimal256(70, 3)),
        "date": pa.array([t and t.date() for t in times], pa.date32()),
        "seconds": pa.array([t and t.replace(microsecond=0) for t in times], pa.timestamp("s")),
        "millis": pa.array([t and t.replace(microsecond=t.microsecond // 1000 * 1000) for t in times], pa.timestamp("ms")),
        "micros": pa.array(times, pa.timestamp("us", tz="UTC")),
        "nanos": pa.array(near_times, pa.timestamp("ns")),
        "string": ["", "a", None, "\N{SNOWMAN}", "x" * 100],
        "binary": pa.array([b"", b"text", None, b"\xff\x00z", b"\xe2\x98\x83"], pa.binary()),
        "fixed": pa.array([b"abc", b"\0\1\2", None, b"\xc3\xbcx", b"zzz"], pa.binary(3)),
        "category": pa.array(["x", "y", None, "x", "x"]).dictionary_encode(),
        "bool": [True, False, None, True, True],
    }
    return pa.table(columns)


DELTAS = {"id": "DELTA_BINARY_PACKED", "text": "DELTA_BYTE_ARRAY", "score": "BYTE_STREAM_SPLIT", "label": "RLE", "prompt.list.element.content": "DELTA_LENGTH_BYTE_ARRAY"}
PARQUET = {
    "snappy": {"row_group_size": 20},
    "zstd_v2": {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 17, "write_page_checksum": True},
    "gzip_plain": {"compression": "gzip", "use_dictionary": False, "write_page_checksum": True},
    "brotli_pages": {"compression": "brotli", "data_page_size": 64, "write_batch_size": 4},
    "lz4_v2_pages": {"compression": "lz4", "data_page_version": "2.0", "data_page_size": 64, "write_batch_size": 3, "use_dictionary": ["text"]},
    "plain_old": {"compression": "none", "version": "1.0", "use_compliant_nested_type": False},
    "delta": {"compression": "none", "use_dictionary": False, "column_encoding": DELTAS},
    "delta_v2": {"compression": "zstd", "use_dictionary": False, "column_encoding": DELTAS, "data_page_version": "2.0", "data_page_size": 128, "write_batch_size": 10},
    "small_dictionary": {"compression": "snappy", "dictionary_pagesize_limit": 100, "write_batch_size": 5},
}


def write_parquet():
    table = nested_table()
    (HERE / "parquet_nested.json").write_text(json.dumps([plain(row | {"map": dict(row["map"]) if row["map"] is not None else None}) for row in table.to_pylist()], separators=(",", ":")))
    for name, options in PARQUET.items():
        pq.write_table(table, HERE / f"parquet_{name}.parquet", store_schema=False, **options)
    table = typed_table()
    (HERE / "parquet_types.json").write_text(json.dumps([plain(row) for row in table.to_pylist()], indent=1))
    pq.write_table(table, HERE / "parquet_types.parquet")
    pq.write_table(table.select(["nanos"]), HERE / "parquet_int96.parquet", use_deprecated_int96_timestamps=True)
    (HERE / "parquet_int96.json").write_text(json.dumps([{"nanos": plain(t)} for t in table["nanos"].to_pylist()]))
    pq.write_table(table, HERE / "parquet_types_v2.parquet", data_page_version="2.0", use_dictionary=False, compression="none", store_decimal_as_integer=True)


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
    Dataset.from_list(rows).to_parquet(HERE / "train.parquet")
    texts = [{"prompt": row["prompt"][0]["content"], "completion": row["completion"][0]["content"]} for row in rows]
    (HERE / "train_texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    pd.DataFrame(texts).to_csv(HERE / "train_texts.csv", index=False)
    pd.DataFrame(texts).to_csv(HERE / "train_texts.tsv", sep="\t")
    with pa.CompressedOutputStream(str(HERE / "train.jsonl.zst"), "zstd") as out:
        out.write((HERE / "train.jsonl").read_bytes())


write_json()
write_csv()
write_parquet()
write_training()
