#!/usr/bin/env bash
# Table I: frozen vision-only models with linear layers for DF-D and DF-C. The table shows the worst of three seeds.
#   [ROWS="CLIP-L/14 DINOv2-S"] [DFA_GPT=FOLDER] recipes/dfa-bench/table-1.sh DATASET [RUNS]
# Results in RUNS are not computed again. ROWS: run only these rows. DFA_GPT: the output folder of a bench of DFA-GPT.
set -euo pipefail
data=$1 runs=${2:-runs/dfa-bench/table-1} results=()

row() { # NAME MODEL
    [[ -z ${ROWS:-} || " $ROWS " == *" $1 "* ]] || return 0
    for seed in 0 1 2; do
        local out="$runs/${1//\//-}/$seed"
        [[ -f $out/results.json ]] || dfa-instruct probe "$2" --data "$data" --seed "$seed" --output "$out"
        results+=("$1=$out")
    done
}

# Models of the paper
row ResNet101 microsoft/resnet-101
row DeiT-B/16 facebook/deit-base-patch16-224
row DeiT-L/14 timm/deit3_large_patch16_224.fb_in1k # DeiT III-L/16, because there is no DeiT-L/14; needs timm
row CLIP-B/16 openai/clip-vit-base-patch16
row CLIP-L/14 openai/clip-vit-large-patch14

# Newer models
row DINOv2-S facebook/dinov2-small
row DINOv2-L facebook/dinov2-large
row SigLIP2-L/16 google/siglip2-large-patch16-256

[[ -z ${DFA_GPT:-} ]] || results+=("DFA-GPT=$DFA_GPT")
dfa-instruct table 1 "${results[@]}"
