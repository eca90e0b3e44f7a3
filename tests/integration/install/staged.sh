#!/usr/bin/env bash
# Installs into an empty directory, and uses what is there as a stranger would: programs, manual pages, messages.
set -euo pipefail
shopt -s nullglob

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

DESTDIR=$stage cmake --install "$RLHF_BUILD" --prefix /usr >"$stage/log" || { cat "$stage/log"; fail "install"; }
usr=$stage/usr
version=$(sed -n 's/^project(rlhfd VERSION \([0-9.]*\).*/\1/p' "$RLHF_SOURCE/CMakeLists.txt")

for main in "$RLHF_SOURCE"/daemons/*/main.c; do
    name=$(basename "$(dirname "$main")")
    program=$usr/bin/$name
    [ -x "$program" ] || fail "$name is not installed"
    "$program" --version | grep -qF "$name $version" || fail "$name --version does not say \"$name $version\""
    "$program" --help | grep -qi "usage" || fail "$name --help is of no help"
    [ "$name" = rlhfctl ] && continue
    "$program" --print-config >"$stage/$name.yaml" || fail "$name --print-config"
    page=$usr/share/man/man8/$name.8
    grep -q '^\.SH CONFIGURATION' "$page" || fail "$page has no section CONFIGURATION"
    ! command -v man >/dev/null || man --warnings -l "$page" 2>&1 >/dev/null | { ! grep .; } || fail "man complains of $page"
    # A typo in a file costs a sentence, not a night.
    printf 'zebra: 1\n' >"$stage/typo.yaml"
    if "$program" --check --config "$stage/typo.yaml" 2>"$stage/said"; then fail "$name accepts an unknown key"; fi
    grep -q "typo.yaml:1: zebra: unknown key" "$stage/said" || fail "$name says: $(cat "$stage/said")"
done

protodir=$(PKG_CONFIG_PATH=$usr/share/pkgconfig pkg-config --variable=protodir rlhfd)
[ "$(realpath "$protodir")" = "$(realpath "$usr")/share/rlhfd/proto" ] || fail "rlhfd.pc names $protodir"
[ -e "$protodir/PROTOCOL.md" ] || fail "PROTOCOL.md is not installed"
mkdir "$stage/c"
protoc-c --proto_path="$protodir" --c_out="$stage/c" "$protodir"/*.proto || fail "the installed messages do not compile"

for example in "$RLHF_SOURCE"/deploy/examples/*; do
    [ ! -f "$example" ] || [ -e "$usr/share/rlhfd/examples/$(basename "$example")" ] || fail "$(basename "$example") is not installed"
done
for file in README.md CHANGES.md LICENSE; do
    [ -s "$usr/share/doc/rlhfd/$file" ] || fail "$file is not installed"
done
echo "installed and usable: $(cd "$usr/bin" 2>/dev/null && echo * || echo no programs)"
