"""Tests of the step kinds, whole: from a manifest to a disk that other programs judge."""
