"""What the other libraries have in common where we do otherwise."""

from __future__ import annotations

# of `model.test`: detections stay as the heads have them, and one score ranks boxes and masks
AS_FOUND = {"box_vote": None, "box_from_mask": 0.0, "mask_rank": "score"}
