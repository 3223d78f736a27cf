# What the scripts of tests/process share: runs of the real programs in a scratch directory. Sourced by bash.
# A script exits 0 when all held, 77 with a sentence when it cannot be tried here.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
unset TEST_MACHINE
BUILD=${TROUPE_BUILD:-build}
TROUPE=$BUILD/bin/troupe
MODEL=$PWD/examples/models/stories # absolute, as are all paths here: recipes lie elsewhere
DEADLINE=${TROUPE_WAIT:-120} # seconds that anything may take
SCRATCH=$(mktemp -d)
export OMP_WAIT_POLICY=passive

clean_up()
{
    local pid
    for pid in $(jobs -p); do
        kill "$pid" 2>/dev/null || continue
        # A run finishes its step first, unless a second signal comes.
        read -rt 0.5 <> <(:) || kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    [ -z "${TEST_MACHINE:-}" ] || ip netns del "$TEST_MACHINE" 2>/dev/null
    rm -rf "$SCRATCH"
}
trap clean_up EXIT

# Of a slow build (TROUPE_TEST_BRIEF), the model of the first layer alone.
shallow_model()
{
    python3 - "$MODEL" "$SCRATCH/shallow" <<'PYTHON'
import json, os, shutil, struct, sys
shutil.copytree(sys.argv[1], sys.argv[2])
with open(os.path.join(sys.argv[2], "config.json"), "r+") as file:
    config = json.load(file)
    config["num_hidden_layers"] = 1
    file.seek(0)
    file.truncate()
    json.dump(config, file)
with open(os.path.join(sys.argv[2], "model.safetensors"), "r+b") as file:
    size = struct.unpack("<Q", file.read(8))[0]
    entries = {name: e for name, e in json.loads(file.read(size)).items() if "layers." not in name or "layers.0." in name}
    bytes_of = file.read()
    kept, data = {}, b""
    for name, e in entries.items():
        if name != "__metadata__":
            piece = bytes_of[e["data_offsets"][0] : e["data_offsets"][1]]
            e["data_offsets"] = [len(data), len(data) + len(piece)]
            data += piece
        kept[name] = e
    header = json.dumps(kept, separators=(",", ":")).encode()  # as Troupe writes it
    header += b" " * (-len(header) % 8)
    file.seek(0)
    file.truncate()
    file.write(struct.pack("<Q", len(header)) + header + data)
PYTHON
    MODEL=$SCRATCH/shallow
}

say()
{
    printf -- '-- %s\n' "$*"
}

fail()
{
    printf 'FAILED: %s\n' "$*"
    exit 1
}

skip()
{
    echo "skipped: $*"
    exit 77
}

# need_mpi: skips where ranks cannot be tried; sets mpirun to run as many as asked for, by whomever, in quiet.
need_mpi()
{
    [ -e "$BUILD/bin/troupe-mpi.so" ] || skip "this build has no MPI (libopenmpi-dev)"
    [ -n "$(type -P mpirun)" ] || skip "there is no mpirun (openmpi-bin)"
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
    export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_orte_execute_quiet=1 PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
}

# elsewhere COMMAND...: on the other machine, in place of this shell.
elsewhere()
{
    exec ip netns exec "$TEST_MACHINE" unshare --mount --uts sh -c \
        'hostname "$TEST_MACHINE" && mount -t tmpfs -o size=64m none /dev/shm && exec "$@"' sh "$@"
}

# imitate_machine: a second machine, with a network, shared memory and a name of its own; processor and files are this one's. Sets HERE
# and THERE, the addresses. Fails without root or iproute2.
imitate_machine()
{
    export TEST_MACHINE=troupe-$$
    HERE=10.231.$(($$ % 250)).1
    THERE=${HERE%1}2
    {
        ip netns add "$TEST_MACHINE" && ip link add "tr$$" type veth peer name there netns "$TEST_MACHINE" && ip addr add "$HERE/24" dev "tr$$" &&
            ip link set "tr$$" up && ip -n "$TEST_MACHINE" addr add "$THERE/24" dev there && ip -n "$TEST_MACHINE" link set there up &&
            ip -n "$TEST_MACHINE" link set lo up && (elsewhere true)
    } 2>/dev/null
}

# wait_for SENTENCE COMMAND...: until the command succeeds; fails with the sentence after the deadline.
wait_for()
{
    local sentence=$1 end=$((SECONDS + DEADLINE))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "$sentence within $DEADLINE s"
        read -rt 0.05 <> <(:) || true
    done
}

# has_steps RUN N: N lines of metrics are there.
has_steps()
{
    [ -f "$1/metrics.jsonl" ] && [ "$(wc -l <"$1/metrics.jsonl")" -ge "$2" ]
}

# pid_of RUN WORKER: the process that serves the run under this name. Quick: what it is asked for may soon be over.
pid_of()
{
    local files file
    files=$(grep -lszx "TROUPE_NAME=$2" /proc/[0-9]*/environ)
    [ -n "$files" ] || return 1
    # shellcheck disable=SC2086 # one word a file
    file=$(grep -lszxF "TROUPE_ENDPOINT=$(<"$1/endpoint")" $files | head -n 1)
    [ -n "$file" ] && basename "$(dirname "$file")"
}

# timeless RUN: its metrics without what measures time.
timeless()
{
    sed -E 's/, "(eps|(time|idle|tokens_per_second)\/[a-z]*)": [^,}]*//g' "$1/metrics.jsonl"
}

# hashes RUN: the checksums of all that a run learnt.
hashes()
{
    (cd "$1" && find final checkpoints -name '*.safetensors' | sort | xargs sha256sum)
}

# same A B SENTENCE: two runs ended with the same bytes. One that was stopped has another checkpoint, of that step, and may have
# removed an older one for it: those that both have are compared, and final/.
same()
{
    local a b both
    both=$( (cd "$2" && find final checkpoints -name '*.safetensors') | sort)
    a=$(hashes "$1" | grep -wF "$both")
    b=$(hashes "$2" | grep -wF "$(cut -d' ' -f3- <<<"$a")")
    grep -q ' final/' <<<"$a" || fail "$1 and $2 did not both end"
    [ "$a" = "$b" ] || fail "$3: other bytes than the first run
$a
$b"
    say "$3: the same bytes"
}

# shape NAME: the directory of a model that has the golden model's config.json, and the vocabulary and tokenizer of the one that ships.
shape()
{
    mkdir "$SCRATCH/$1"
    cp "$MODEL"/tokenizer* "$SCRATCH/$1"
    python3 - "tests/golden/models/$1/config.json" "$MODEL/config.json" "$SCRATCH/$1/config.json" <<'PYTHON'
import json, sys
golden, ours = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:3])
for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"):
    golden[key] = ours[key]
with open(sys.argv[3], "w", encoding="utf-8") as file:
    json.dump(golden, file)
PYTHON
}

if [ -n "${TROUPE_TEST_BRIEF:-}" ] && [ -f "$MODEL/model.safetensors" ]; then
    shallow_model || fail "no model of one layer"
fi
