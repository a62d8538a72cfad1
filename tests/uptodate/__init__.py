"""Tests of the fast answer and of the grounds that it stands on."""
