#!/bin/bash
# A training on two machines with 8 GPUs each: sbatch slurm-train.sh DATA RECIPE RUN
# RUN is a folder that both share. A job that is preempted is queued again and goes on.
#SBATCH --job-name=maskrcnn-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -euo pipefail

export DATA=$1 RECIPE=$2 RUN=$3
export RESUME=
if [ -e "$RUN/config.yaml" ]; then
  RESUME=--resume
fi
ADDRESS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export ADDRESS

# SLURM_NODEID is set on each machine, so it is looked up there
# shellcheck disable=SC2016,SC2086
srun bash -c 'maskrcnn launch --processes 8 --machines 2 --rank "$SLURM_NODEID" --address "$ADDRESS" \
  train "$DATA" --recipe "$RECIPE" --run "$RUN" $RESUME'
