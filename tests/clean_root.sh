#!/usr/bin/env bash
# Proves the two commands on a bare machine: in a fresh minimal root of each suite, with git and nothing else,
# deploy/quickstart and then deploy/check must pass on a clone of what is committed here.
#
#   tests/clean_root.sh [SUITE...]      default: bookworm noble
#
# The mirror of a suite comes from this machine's apt sources, and apt's proxies and certificates go along. A suite whose
# distribution this machine's apt does not know is passed over. Exits 77 with a sentence when no suite can be tried:
# it takes root, debootstrap, namespaces, and 3 GB in ${TMPDIR:-/tmp}, and it leaves nothing there.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

SPACE_MB=3000
ISOLATE=(unshare --mount --pid --ipc --fork --kill-child --propagation private)

say()
{
    printf '== clean root: %s\n' "$*"
}

skip()
{
    echo "clean root skipped: $*"
    exit 77
}

# Prints `URI SUITE KEYRING` for each entry of binary packages that has a component `main`, as distributions do and
# vendors seldom, of both formats of apt's sources; KEYRING may be `-`.
apt_sources()
{
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] && sed -nE 's/#.*//; s/^[[:space:]]*deb[[:space:]]+//p' "$file" | awk '{
            key = "-"
            if (match($0, /^\[[^]]*\]/)) {
                options = substr($0, 2, RLENGTH - 2)
                $0 = substr($0, RLENGTH + 1)
                if (match(options, /signed-by=[^ ]+/)) key = substr(options, RSTART + 10, RLENGTH - 10)
            }
            if ($0 ~ / main( |$)/) print $1, $2, key
        }'
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] && grep -v '^#' "$file" | awk '
            function flush(   i, j, n, m, u, s) {
                n = split(field["uris"], u); m = split(field["suites"], s)
                if (field["types"] ~ /(^| )deb( |$)/ && field["components"] ~ /(^| )main( |$)/ && tolower(field["enabled"]) != "no")
                    for (i = 1; i <= n; i++) for (j = 1; j <= m; j++)
                        print u[i], s[j], (field["signed-by"] ~ /^\//) ? field["signed-by"] : "-"
                split("", field)
            }
            NF == 0 { flush(); next }
            /^[ \t]/ { field[name] = field[name] " " $0; next }
            { name = tolower($1); sub(/:.*/, "", name); sub(/^[^:]*:[ \t]*/, ""); field[name] = $0 }
            END { flush() }'
    done
}

distribution_of()
{
    case ${1%%-*} in
    buster | bullseye | bookworm | trixie | forky | sid | stable | oldstable | testing | unstable) echo debian ;;
    focal | jammy | noble | plucky | questing | resolute | devel) echo ubuntu ;;
    esac
}

# mirror_of SUITE: `URI KEYRING` of an entry of the same distribution, the suite's own first; not a security mirror.
mirror_of()
{
    local uri suite key kind found=
    kind=$(distribution_of "$1")
    while read -r uri suite key; do
        [ "$(distribution_of "$suite")" = "$kind" ] || continue
        [[ $suite == *-* ]] && continue
        [[ $uri == http*://* ]] || continue
        [ "$suite" = "$1" ] && echo "$uri $key" && return
        found=${found:-"$uri $key"}
    done < <(apt_sources)
    [ -n "$found" ] && echo "$found"
}

keyring_of()
{
    local candidate
    for candidate in "$2" "/usr/share/keyrings/$(distribution_of "$1")-archive-keyring.gpg" /etc/apt/trusted.gpg; do
        [ -f "$candidate" ] && echo "$candidate" && return
    done
    return 1
}

# apt's settings of the network, and the certificates that https mirrors here are checked with.
pass_apt_settings()
{
    local root=$1
    apt-config dump |
        grep -E '^Acquire::((http|https|ftp)::(Proxy|No-Cache|Pipeline-Depth|Timeout)|Retries|ForceIPv[46]|Check-(Valid-Until|Date)|Languages)' \
            >"$root/etc/apt/apt.conf.d/90host"
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        mkdir -p "$root/etc/ssl"
        cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/host-certificates.crt"
        echo 'Acquire::https::CaInfo "/etc/ssl/host-certificates.crt";' >>"$root/etc/apt/apt.conf.d/90host"
    fi
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
}

mount_system()
{
    local root=$1 node
    mount -t proc proc "$root/proc" && mount -t tmpfs -o mode=755 tmpfs "$root/dev" || return
    for node in null zero full random urandom tty; do
        touch "$root/dev/$node" && mount --bind "/dev/$node" "$root/dev/$node" || return
    done
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
}

inside()
{
    local root=$1 name settings=()
    shift
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [ -z "${!name:-}" ] || settings+=("$name=${!name}")
    done
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        ${settings[@]+"${settings[@]}"} chroot "$root" bash -c "cd /root/troupe 2>/dev/null; $*" </dev/null
}

make_root()
{
    local root=$1 suite=$2 uri=$3 key=$4 components=main script=
    [ "$(distribution_of "$suite")" = ubuntu ] && components=main,universe
    [ -f "/usr/share/debootstrap/scripts/$suite" ] || script=/usr/share/debootstrap/scripts/gutsy # all of Ubuntu's
    say "debootstrap of $suite"
    debootstrap --variant=minbase --keyring="$key" --components="$components" "$suite" "$root" "$uri" $script \
        >"$root.log" 2>&1 || {
        tail -n 20 "$root.log"
        echo "clean root: debootstrap of $suite failed." >&2
        return 1
    }
    pass_apt_settings "$root"
    mount_system "$root" || return
    inside "$root" 'apt-get -q update && apt-get -q install -y --no-install-recommends git ca-certificates' \
        >"$root.log" 2>&1 || {
        tail -n 20 "$root.log"
        echo "clean root: git could not be installed in $suite." >&2
        return 1
    }
    git clone -q --no-hardlinks . "$root/root/troupe"
}

# timed NAME ROOT COMMAND: the command's output, then how long it took.
timed()
{
    local name=$1 root=$2 began=$SECONDS
    shift 2
    say "$name"
    inside "$root" "$*" || {
        echo "clean root: $name failed." >&2
        return 1
    }
    say "$name passed in $((SECONDS - began)) s"
}

# What asks nothing of a machine that the rest does not ask.
LONG='ppo_same_bytes|preferences|online|sft|ranks|gpu_test|judges|collective|devices|daemons|model_test|tensor_test'

# What is done is not done twice: the second time nothing is installed and nothing is compiled.
idle_second_time()
{
    local output
    output=$(inside "$1" '. deploy/common.sh && install_packages build run ranks test && build build') || return
    [ "$(grep -vc -e 'no work to do' -e 'Re-checking globbed' <<<"$output")" -eq 0 ] && return
    printf '%s\n' "$output"
    echo "clean root: the second run installed or built again." >&2
    return 1
}

# try SUITE URI KEYRING FOLDER, in namespaces of its own: mounts and processes end with it.
try_suite()
{
    local root=$4/root
    mkdir "$root"
    make_root "$root" "$1" "$2" "$3" &&
        timed deploy/quickstart "$root" deploy/quickstart &&
        timed deploy/check "$root" "env 'TROUPE_TEST_LEFT_OUT=$LONG' deploy/check" &&
        idle_second_time "$root"
}

if [ "${1:-}" = --inside ]; then
    shift
    try_suite "$@"
    exit
fi

[ "$(id -u)" -eq 0 ] || skip "only root may make one."
command -v debootstrap >/dev/null || skip "debootstrap is not installed."
"${ISOLATE[@]}" true 2>/dev/null || skip "this machine allows no namespaces."

scratch=$(mktemp -d)
child=
clean_up()
{
    [ -z "$child" ] || kill "$child" 2>/dev/null
    [ -z "$child" ] || wait "$child" 2>/dev/null
    rm -rf --one-file-system "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

tried=0 failed=0
[ $# -gt 0 ] || set -- bookworm noble
for suite in "$@"; do
    free=$(df --output=avail -m "$scratch" | tail -n 1)
    [ "$free" -ge "$SPACE_MB" ] || skip "$free MB are free and $SPACE_MB are needed."
    if ! read -r uri key < <(mirror_of "$suite"); then
        say "$suite passed over: apt on this machine knows no mirror of its distribution"
        continue
    fi
    if ! key=$(keyring_of "$suite" "$key"); then
        say "$suite passed over: there is no keyring for it on this machine"
        continue
    fi
    tried=$((tried + 1))
    mkdir "$scratch/$suite"
    "${ISOLATE[@]}" "$PWD/tests/clean_root.sh" --inside "$suite" "$uri" "$key" "$scratch/$suite" &
    child=$!
    wait "$child" || failed=$((failed + 1))
    child=
    rm -rf --one-file-system "${scratch:?}/$suite"
done
[ "$tried" -gt 0 ] || skip "no suite could be tried."
[ "$failed" -eq 0 ]
