#!/bin/sh
# An environment that has everything of ours and torchvision too: peer.sh OURS NEW TOOL
set -eu
ours=$1 new=$2 tool=$3
test -f "$tool" || { echo "peer.sh: $tool is not here; set PEER to the script that installs torchvision for the CPU" >&2; exit 2; }
python3 -m venv "$new"
"$ours/bin/python" -c 'import os, site, sys; print(site.getsitepackages()[0]); print(os.path.abspath("src"))' \
  > "$("$new/bin/python" -c 'import site; print(site.getsitepackages()[0])')/ours.pth"
bash "$tool" "$new"
# what evaluation.py is measured beside; without it that column is left out
"$new/bin/python" -m pip install -q --no-deps faster-coco-eval==1.8.0 || echo "peer.sh: no faster-coco-eval" >&2
