"""HuggingFace's `generate`, counted in the request that calls it."""


def install() -> None:
    """Hooks `GenerationMixin.generate` once transformers is imported."""
