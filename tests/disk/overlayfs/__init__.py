"""Tests of bangerbuild.disk.overlayfs: the kernel's overlayfs judges, where this test may mount."""
