"""Tests of the up-to-date check and of the record that it compares."""
