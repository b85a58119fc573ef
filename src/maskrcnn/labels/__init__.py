"""Labelled images: reading, choosing, splitting, converting."""
