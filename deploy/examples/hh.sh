#!/usr/bin/env bash
# Trains on real human comparisons: hh.sh DATA [DIR [SUITES]], where DATA holds train.jsonl.gz and valid.jsonl.gz (or the same without
# .gz) with lines {"chosen": "\n\nHuman: ...\n\nAssistant: ...", "rejected": ...}, DIR (default runs/hh) is the run's directory, and SUITES a
# folder with TruthfulQA and CrowS-Pairs as published, by which the models before and after RLHF are examined.
set -euo pipefail
main() {
    [ $# -ge 1 ] && [ "$1" != --help ] || { sed -n '2,5s/^# //p' "$0"; [ $# -ge 1 ] && exit 0 || exit 2; }
    data=$(realpath "$1")
    dir=${2:-runs/hh}
    suites=${3:+$(realpath "$3")}
    [[ $dir = /* ]] || dir=$PWD/$dir
    cd "$(dirname "$0")/../.."
    dir=${dir#"$PWD"/}
    . deploy/programs.sh
    build_programs
    ctl=$(find_program rlhfctl)

    mkdir -p "$dir/data"
    for part in train valid; do
        if [ -e "$data/$part.jsonl.gz" ]; then
            gunzip -c "$data/$part.jsonl.gz" >"$dir/data/$part.jsonl"
        elif [ -e "$data/$part.jsonl" ]; then
            cp "$data/$part.jsonl" "$dir/data/$part.jsonl"
        else
            echo "hh.sh: $data holds neither $part.jsonl.gz nor $part.jsonl" >&2
            exit 1
        fi
    done
    # Documents are the preferred dialogues: {"chosen": X, ...} becomes {"text": X}.
    to_text='s/^\{ *"chosen": *("([^"\\]|\\.)*").*/{"text": \1}/'
    sed -E "$to_text" "$dir/data/train.jsonl" >"$dir/data/text.jsonl"
    sed -E "$to_text" "$dir/data/valid.jsonl" >"$dir/data/valid_text.jsonl"
    # The run waits for as many comparisons as the label-collector will take: lines at fault and repetitions are left out.
    comparisons=$("$ctl" label check "$dir/data/train.jsonl" | cut -d" " -f1)
    sed -e "s|runs/hh|$dir|g" -e "s|want: 1845|want: $comparisons|" deploy/examples/hh.yaml >"$dir/run.yaml"

    echo "$comparisons comparisons go to the label-collector over HTTP while the model is pretrained."
    "$ctl" up "$dir/run.yaml" --with "'$ctl' label import --address-file '$dir/labels.http' --round hh '$dir/data/train.jsonl'"

    echo
    echo "Reward model on held-out comparisons: $dir/evaluations/reward/metrics.json"
    cat "$dir/evaluations/reward/metrics.json"
    echo
    echo "SFT and PPO on held-out prompts: $dir/evaluations/report/metrics.json"
    cat "$dir/evaluations/report/metrics.json"
    echo
    if [ -n "$suites" ]; then
        for before in pretrained sft; do
            echo "PPO beside $before:"
            "$ctl" eval --model "$dir/checkpoints/ppo" --against "$dir/checkpoints/$before" --data "$suites" --suite truthfulqa --suite crows_pairs \
                --suite perplexity="$dir/data/valid_text.jsonl" --json "$dir/evaluations/suites-$before.json"
        done
    fi
    exit # the file may change while it runs
}
main "$@"
