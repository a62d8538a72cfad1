"""The tests; each one's name is its sentence."""

from pathlib import Path

PROJECT = Path(__file__).parents[1]
