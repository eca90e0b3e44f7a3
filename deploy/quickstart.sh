#!/usr/bin/env bash
# From nothing to a trained, judged model in one command: installs what is missing, builds, makes the tiny kingdom, runs the whole
# recipe through all four daemons with a simulated labeler beside them, prints what came of it.
set -euo pipefail

usage() {
    cat <<TEXT
Usage: deploy/quickstart.sh [OPTION...]

  --seed N      another kingdom, other random numbers (default 1)
  --dir DIR     the run's directory (default runs/quickstart)
  --port N      port of the labeling page (default 8477; 0: any free one); with --hack the judge has the next
  --yourself    no simulated labeler: compare the answers yourself in the browser, pairs instead of lists
  --count N     with --yourself: pairs in each of the two rounds (default 40)
  --hack        show reward hacking instead: one round with too small a KL coefficient, until the watch stops it
                (DIR: default runs/hack)
  --check       also check what the recipe promises of any seed; status 1 when a clause fails
  --fresh       forget an earlier run in DIR; without it, an unfinished run goes on where it was
  --help        this text
TEXT
}

main() { # one function, read whole before it runs: the file may change meanwhile
seed=1 dir= port=8477 yourself= count=40 check= fresh= hack=
need() { [ $# -ge 2 ] || { echo "quickstart.sh: $1 needs a value" >&2; exit 2; }; }
while [ $# -gt 0 ]; do
    case $1 in
    --seed) need "$@"; seed=$2; shift ;;
    --dir) need "$@"; dir=$2; shift ;;
    --port) need "$@"; port=$2; shift ;;
    --yourself) yourself=yes ;;
    --count) need "$@"; count=$2; shift ;;
    --hack) hack=yes ;;
    --check) check=--check ;;
    --fresh) fresh=yes ;;
    --help | -h) usage; exit 0 ;;
    *) echo "quickstart.sh: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
[ -n "$dir" ] || dir=runs/${hack:+hack}
[ "$dir" != runs/ ] || dir=runs/quickstart
for number in "$seed" "$port" "$count"; do
    case $number in '' | *[!0-9]*) echo "quickstart.sh: '$number' is not a number" >&2; exit 2 ;; esac
done
[[ $dir =~ ^[A-Za-z0-9._/-]+$ ]] || { echo "quickstart.sh: --dir: use letters, digits, '.', '_', '-' and '/'" >&2; exit 2; }
[[ $dir = /* ]] || dir=$PWD/$dir
dir=$(realpath -ms "$dir")
cd "$(dirname "$0")/.."
dir=${dir#"$PWD"/} # short, because sockets lie in it
[ ${#dir} -le 70 ] || { echo "quickstart.sh: --dir: $dir is too long to hold sockets (70 characters)" >&2; exit 2; }

step() { printf '\n== %s\n' "$*"; }

. deploy/programs.sh
build_programs
rlhfctl=$(find_program rlhfctl)
kingdom=$(find_program rlhf-kingdom)

[ -z "$fresh" ] || rm -rf "$dir"
mkdir -p "$dir"
if [ -e "$dir/seed" ] && [ "$(cat "$dir/seed")" != "$seed" ]; then
    echo "quickstart.sh: $dir holds a run of seed $(cat "$dir/seed"); give another --dir, or --fresh to forget it" >&2
    exit 2
fi
if [ ! -e "$dir/seed" ]; then
    step "The kingdom of seed $seed"
    "$kingdom" make --seed "$seed" --out "$dir/world"
    echo "$seed" >"$dir/seed"
fi
write_run() { # FILE SED-EXPRESSION...
    sed -e "s|runs/quickstart|$dir|g" -e "s|seed: 1}|seed: $seed}|" -e "s|127.0.0.1:8477|127.0.0.1:$port|" "${@:2}" "$1" >"$dir/run.yaml"
}
labeler="'$kingdom' label --world '$dir/world/world.json' --address-file '$dir/labels.http' --stats '$dir/labels.json'"

if [ -n "$hack" ]; then
    step "One round with a KL coefficient of 0.05, the judge looking on"
    rm -f "$dir/judge.http"
    "$kingdom" judge --world "$dir/world/world.json" --address-file "$dir/judge.http" --port $((port ? port + 1 : 0)) &
    judge=$!
    trap 'kill $judge 2>/dev/null || true' EXIT
    for ((n = 0; n < 100; n++)); do [ -s "$dir/judge.http" ] && break; read -rt 0.1 <> <(:) || true; done
    write_run "${QUICKSTART_YAML:-deploy/quickstart/hack.yaml}" -e "s|http://127.0.0.1:8478|$(cat "$dir/judge.http")|"
    "$rlhfctl" up "$dir/run.yaml" --with "$labeler" || echo "(It ended as it should when the watch stopped it.)"
    step "What came of it"
    "$kingdom" hack --run "$dir" $check
    exit
fi
people=() # a person judges two answers at a time, and not thousands of them
[ -z "$yourself" ] || people=(-e '/policies: \[[^,]*\]/,/sampling:/ s/samples: .*/samples: 2/'
    -e '/policies: \[.*,.*\]/,/sampling:/ s/samples: .*/samples: 1/'
    -e "/- collect:/,/sampling:/ {/^ *count:/d; s/samples: .*/&\n      count: $count/}")
write_run "${QUICKSTART_YAML:-deploy/quickstart/quickstart.yaml}" "${people[@]}"

step "The recipe: pretraining, SFT, two rounds of comparisons, reward model, PPO"
if [ -n "$yourself" ]; then
    [ "$port" != 0 ] && page=http://127.0.0.1:$port/ || page="the address in $dir/labels.http"
    echo "Open $page when the comparisons stages come, and judge: $count pairs, and after a while $count more."
    "$rlhfctl" up "$dir/run.yaml"
else
    "$rlhfctl" up "$dir/run.yaml" --with "$labeler"
fi

step "What came of it"
"$kingdom" report --world "$dir/world/world.json" --run "$dir" $check
[ "$port" != 0 ] && page=http://127.0.0.1:$port || page="the address that it logs"
cat <<TEXT

Checkpoints (Hugging Face directories): $dir/checkpoints/{pretrained,sft,reward-1,ppo-1,reward-2,ppo,ppo-ptx}
Talk to one:     ${rlhfctl#"$PWD"/} generate --model $dir/checkpoints/ppo-ptx 'Q: Name the dish of Orla.\nA:'
Labeling page:   $(find_program label-collector | sed "s|^$PWD/||") \\
                     --config $dir/etc/label-collector.yaml    and open $page
Judge in place of the simulated labeler: deploy/quickstart.sh --dir runs/mine --yourself
TEXT
exit
}
main "$@"
