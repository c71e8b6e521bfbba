#!/usr/bin/env bash
# Table III: general vision-language models without training.
#   [ROWS="LLaVA-1.5-7B GPT-4V"] [DFA_GPT=FOLDER] recipes/dfa-bench/table-3.sh DATASET [RUNS]
# Results in RUNS are not computed again. ROWS: run only these rows. DFA_GPT: the output folder of a bench of DFA-GPT.
# A row with `openai:` asks a server. Its address is OPENAI_BASE_URL, by default OpenAI's; its key is OPENAI_API_KEY.
set -euo pipefail
data=$1 runs=${2:-runs/dfa-bench/table-3} results=()

row() { # NAME MODEL
    [[ -z ${ROWS:-} || " $ROWS " == *" $1 "* ]] || return 0
    local out="$runs/$1"
    [[ -f $out/results.json ]] || dfa-instruct bench "$2" --data "$data" --output "$out" --baselines
    results+=("$1=$out")
}

# Models of the paper
row LLaVA-1.5-7B llava-hf/llava-1.5-7b-hf
row LLaVA-1.5-13B llava-hf/llava-1.5-13b-hf
row InternVL-1.2 openai:OpenGVLab/InternVL-Chat-V1-2 # needs its own code, so a server must run it
row InternVL-1.5 openai:OpenGVLab/InternVL-Chat-V1-5 # the same
row GPT-4V openai:gpt-4-vision-preview

# Newer models
row Qwen2.5-VL-7B Qwen/Qwen2.5-VL-7B-Instruct
row InternVL3-8B OpenGVLab/InternVL3-8B-hf
row LLaVA-OneVision-7B llava-hf/llava-onevision-qwen2-7b-ov-hf
row SmolVLM2-2.2B HuggingFaceTB/SmolVLM2-2.2B-Instruct
row GPT-4o openai:gpt-4o

[[ -z ${DFA_GPT:-} ]] || results+=("DFA-GPT=$DFA_GPT")
dfa-instruct table 3 "${results[@]}"
