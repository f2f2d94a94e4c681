"""Snapshots: the weights and last gradients of watched models at the end of an epoch."""
