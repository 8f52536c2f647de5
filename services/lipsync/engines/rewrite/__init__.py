"""The `rewrite` lip-sync engine: the person's own recorded mouths, chosen by the voice and set into every frame."""

from services.lipsync.engines.rewrite.engine import RewriteEngine

__all__ = ["RewriteEngine"]
