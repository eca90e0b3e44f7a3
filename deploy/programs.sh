# Sourced by the scripts here, in the repository's root: builds the programs unless RLHF_BIN names a folder of built ones (as the tests do),
# and finds them in it.

build_programs() {
    [ -z "${RLHF_BIN:-}" ] || return 0
    printf "\n== What is needed (deploy/packages.txt)\n"
    deploy/install-packages.sh build run
    printf "\n== Building (preset release)\n"
    cmake --preset release --log-level=WARNING
    cmake --build build/release -j "$(nproc)"
    RLHF_BIN=$PWD/build/release
}

find_program() {
    local at
    for at in "$RLHF_BIN/$1" "$RLHF_BIN/daemons/$1" "$RLHF_BIN/deploy/quickstart/$1"; do
        [ -x "$at" ] && { echo "$at"; return; }
    done
    echo "${0##*/}: there is no $1 in $RLHF_BIN" >&2
    return 1
}
