"""Labelled pictures: reading, checking, augmenting, batching."""
