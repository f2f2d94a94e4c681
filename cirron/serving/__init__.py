"""Requests to a model: the decorator, the streams that it hands out, and their tokens."""
