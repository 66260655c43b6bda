#!/bin/sh
# Says which of the tools that have to be there are missing or too old. Everything else that is needed
# (etcd, Kubernetes, Helm, Feldera's Python SDK and fda) is built or installed by what needs it, into
# ${XDG_CACHE_HOME:-~/.cache}/sluice.

missing=0

# need NAME OLDEST FOUND WHERE
need() {
    if [ -z "$3" ]; then
        echo "$1 is missing: $1 $2 or newer is needed. $4" >&2
        missing=1
    elif [ "$(printf '%s\n%s\n' "$2" "$3" | sort -t. -k1,1n -k2,2n | head -n 1)" != "$2" ]; then
        echo "$1 $3 is too old: $2 or newer is needed. $4" >&2
        missing=1
    fi
}

# The first thing like 1.93 in what a command prints.
version() {
    "$@" 2>/dev/null | sed -n 's/^[^0-9]*\([0-9][0-9]*\.[0-9][0-9]*\).*/\1/p' | head -n 1
}

need cargo 1.93 "$(version cargo --version)" "See https://rustup.rs; with rustup: rustup update stable"
need go 1.26 "$(version go env GOVERSION)" "See https://go.dev/dl. It builds etcd and Kubernetes, once."
need python3 3.11 "$(version python3 --version)" "Feldera's own Python SDK tests the stand-in engine, and schemathesis the REST endpoint."
if ! command -v "${CC:-cc}" >/dev/null; then
    echo "a C compiler is missing (${CC:-cc}): on Debian and Ubuntu, apt-get install build-essential" >&2
    missing=1
fi
exit $missing
