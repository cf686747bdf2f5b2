"""Packing, losses, the loop, and the methods that pass it a step."""
