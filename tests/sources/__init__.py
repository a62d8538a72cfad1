"""Tests of what brings things here."""
