#!/bin/sh
# Installs the Debian packages of the named sections of deploy/packages.txt that are missing; quick when none is.
#   deploy/install-packages.sh build run test
set -eu
list=$(dirname "$0")/packages.txt

wanted=$(awk -v sections=" $* " '
    /^\[/ { on = index(sections, " " substr($1, 2, length($1) - 2) " ") > 0; next }
    on && NF && $1 !~ /^#/ { print $1 }' "$list")
[ -n "$wanted" ] || { echo "usage: $0 SECTION... (a section of $list: build, run, test)" >&2; exit 2; }

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "This is not a Debian machine. Install the like of these, then run cmake yourself:" $wanted >&2
    exit 1
fi

missing=
for package in $wanted; do
    case $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

echo "Installing:$missing (reasons: $list)"
as_root=
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Not root, and there is no sudo: ask for these packages:$missing" >&2; exit 1; }
    as_root=sudo
fi
apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
# Package lists may be missing or old: ask for news when they are not enough.
# shellcheck disable=SC2086
apt install --no-install-recommends $missing || { apt update && apt install --no-install-recommends $missing; }
