"""Labelled images: reading, checking, augmenting, batching."""
