# What deploy/quickstart, deploy/check and .ci/run share. Sourced by bash with the repository root as directory.
# Progress and the output of tools go to standard output; a failure is one sentence on standard error.

say()
{
    printf '== %s\n' "$*"
}

fail()
{
    printf '%s\n' "$*" >&2
    exit 1
}

jobs_here()
{
    nproc 2>/dev/null || echo 2
}

# packages_of SECTION...: a line a package, alternatives with their bars.
packages_of()
{
    awk -v wanted=" $* " '
        { sub(/#.*/, ""); gsub(/^[ \t]+|[ \t]+$/, "") }
        /^\[.*\]$/ { on = index(wanted, " " substr($0, 2, length($0) - 2) " "); next }
        on && $0 != ""
    ' deploy/packages
}

package_installed()
{
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

package_known()
{
    [[ $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) =~ Candidate:\ [^\(] ]]
}

# choose 'a | b': the one that is installed, else the first that apt knows, else nothing.
choose()
{
    local name names
    IFS='| ' read -r -a names <<<"$1"
    for name in "${names[@]}"; do
        package_installed "$name" && echo "$name" && return
    done
    for name in "${names[@]}"; do
        package_known "$name" && echo "$name" && return
    done
    return 1
}

# missing_of SECTION...: sets MISSING (chosen names) and UNKNOWN (lines that apt has no candidate for).
missing_of()
{
    local line name
    MISSING=() UNKNOWN=()
    while read -r line; do
        if ! name=$(choose "$line"); then
            UNKNOWN+=("${line%% *}")
        elif ! package_installed "$name"; then
            MISSING+=("$name")
        fi
    done < <(packages_of "$@")
}

# as_root COMMAND...: with sudo when needed.
as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Quiet, but for its messages when it fails.
apt_get()
{
    local output
    output=$(as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@" 2>&1) && return
    printf '%s\n' "$output" | tail -n 30
    return 1
}

refresh_lists()
{
    say "refreshing the list of packages (apt-get update)"
    apt_get update || fail "apt-get update failed: its messages are above; is the network there?"
}

# install_packages SECTION...: says what is missing, installs only that, does nothing when all is there.
install_packages()
{
    local all
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        command -v cmake >/dev/null && command -v ninja >/dev/null && command -v cc >/dev/null && return
        all=$(packages_of "$@" | tr '\n' ',' | sed 's/,$//; s/,/, /g')
        fail "this system has no apt-get: install the equivalents of these Debian packages and run again: $all."
    fi
    missing_of "$@"
    [ ${#MISSING[@]} -eq 0 ] && [ ${#UNKNOWN[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        fail "packages are missing (${MISSING[*]} ${UNKNOWN[*]}) and neither root nor sudo is at hand to install them."
    fi
    if [ ${#UNKNOWN[@]} -gt 0 ]; then
        refresh_lists
        missing_of "$@"
        [ ${#UNKNOWN[@]} -eq 0 ] || fail "this distribution does not offer: ${UNKNOWN[*]}."
    fi
    say "about to install with apt-get: ${MISSING[*]}"
    apt_get install -y --no-install-recommends "${MISSING[@]}" && return
    refresh_lists # a list from long ago names versions that the mirror no longer has
    apt_get install -y --no-install-recommends "${MISSING[@]}" ||
        fail "apt-get could not install: ${MISSING[*]}."
}

# configure PRESET CMAKE_OPTION...: writes the preset's build folder; quiet unless it fails.
configure()
{
    local preset=$1 output
    shift
    output=$(cmake --preset "$preset" "$@" 2>&1) && return
    printf '%s\n' "$output"
    fail "cmake could not configure the preset '$preset': its messages are above; a build folder of another place or compiler must be removed first."
}

# build FOLDER [TARGET...]: builds what is out of date.
build()
{
    local folder=$1
    shift
    NINJA_STATUS="[%f/%t] " cmake --build "$folder" -j "$(jobs_here)" ${1:+--target "$@"} 2>&1 ||
        fail "the build in $folder/ failed: the compiler's messages are above."
}
