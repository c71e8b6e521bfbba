#!/usr/bin/env bash
# Table II: the same training on one, several and all abilities. Each adapter is measured on its own abilities.
#   [ACCELERATE=CONFIG] recipes/dfa-bench/table-2.sh DATASET RECIPE [RUNS] [TRAINING OPTIONS...]
# RECIPE: recipes/dfa-gpt-7b/sft.yaml for the paper's model. ACCELERATE: by default recipes/accelerate_configs/cpu.yaml.
set -euo pipefail
data=$1 recipe=$2 runs=${3:-runs/dfa-bench/table-2} results=()
options=("${@:4}")
export DFA_INSTRUCT_DIR=$data

row() { # NAME "ABILITIES" "TASKS"
    local out="$runs/$1" abilities tasks
    read -ra abilities <<<"$2"
    read -ra tasks <<<"$3"
    if [[ ! -f $out/bench/results.json ]]; then
        accelerate launch --quiet --config_file "${ACCELERATE:-recipes/accelerate_configs/cpu.yaml}" \
            -m modeling_dfa_gpt.sft --config "$recipe" --abilities "${abilities[@]}" \
            --output_dir "$out/adapter" ${options[@]+"${options[@]}"}
        dfa-instruct bench "$out/adapter" --data "$data" --output "$out/bench" "${tasks[@]/#/--task=dfa_bench_}"
    fi
    results+=("$1=$out/bench")
}

row D "df_d" "dfd"
row D+C "df_d df_c" "dfd dfc"
row D+C+AD "df_d df_c ad" "dfd dfc ad"
row D+C+AD+FC "df_d df_c ad fc" "dfd dfc ad"

dfa-instruct table 2 "${results[@]}"
