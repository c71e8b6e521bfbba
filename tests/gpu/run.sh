#!/usr/bin/env bash
# Trains, measures and questions models of random weights on one GPU of 80 GB, and prints their speed and memory. Needs
# nothing but this package, torchvision and bitsandbytes:
#   tests/gpu/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
for family in llava qwen2_5_vl; do
    python tests/gpu/check.py "$family"
done
