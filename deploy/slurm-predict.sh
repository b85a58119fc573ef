#!/bin/bash
# 16 processes predict the images of a list together: sbatch slurm-predict.sh MODEL LIST OUT
# LIST has an address a line; OUT is a folder that all machines share. A job that is preempted is queued again
# and does what is missing.
#SBATCH --job-name=maskrcnn-predict
#SBATCH --array=1-16
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

MODEL=$1
LIST=$2
OUT=$3

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
maskrcnn predict "$MODEL" - --out "$OUT" --shard "$SLURM_ARRAY_TASK_ID/16" --max-failures 1% < "$LIST"
