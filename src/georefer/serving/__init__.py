"""A small OpenAI-compatible server of any model; the only room with async code."""

from georefer.serving.app import ServeSettings, is_loopback, running, serve

__all__ = ["ServeSettings", "is_loopback", "running", "serve"]
